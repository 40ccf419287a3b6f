"""The topologies that runs start with, from what the user gave or from the run to resume; the name of a new run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any

from topokit.descriptions import DENSE, split_pattern
from topokit.errors import InvalidSpecError
from topokit.families.radix_net import RadixNet
from topokit.formats import load_all
from topokit.layered import Layered
from topokit.placement.filling import Topologies, named, opened
from topokit.placement.weights import Weight
from topokit.recipes import family_of
from topokit.reprs import counted
from topokit.spec import Spec
from topokit.transforms import crop
from topokit_train.config import TrainConfig
from topokit_train.datasets import FUNCTION, Dataset, split_name
from topokit_train.described import as_mapping
from topokit_train.functions import is_function
from topokit_train.models import DEFAULT, OF_WIDTHS
from topokit_train.models.networks import ModelSource
from topokit_train.pruning.config import PruneConfig
from topokit_train.runs.checkpoints import load
from topokit_train.runs.folder import RunFolder, begun
from topokit_train.runs.progress import phase, say

DEFAULT_TOPOLOGY = "default"
"""In place of a topology: that of the resumed run, the default topology of lenet-300-100, or none (dense)."""


def is_default(topology: Topologies | None) -> bool:
    """Return whether the user gave no topology, and not even "dense"."""
    return isinstance(topology, str) and topology == DEFAULT_TOPOLOGY


def default_topology() -> Layered:
    """Return the default topology: 784-300-100, 90 % sparse, 3 paths from each input to each output."""
    return crop(RadixNet(radices=((10, 10),), kron=(8, 3, 1)), (784, 300, 100))


def starting_topologies(
    topology: Topologies | None,
    config: TrainConfig,
    source: ModelSource,
    read: Callable[[], Dataset],
    folders: Sequence[RunFolder],
    resume: bool,
) -> tuple[tuple[Layered, ...], bool]:
    """The topologies at the start of the runs, and whether they were given rather than read from a run to resume."""
    if is_default(topology):
        before = [path for folder in folders if resume and (path := begun(folder.path)).exists()]
        if before:
            return load_all(before[0]) if load(before[0]).fingerprints else (), False
        if source.name != DEFAULT or isinstance(config, PruneConfig):
            if not isinstance(config, PruneConfig) and source.name != OF_WIDTHS:
                own = "keeps the layers that it has, as no other topology is given"
                say(f"{source.name}{': dense, as no topology is given' if source.builtin else f' {own}'}")
            return (), True
        topology = default_topology()
    phase("building the topology")
    nets = resolve(topology, lambda: source.weights(read()))
    # a Spec would compute its edges again for every checkpoint
    return tuple(net.build() if isinstance(net, Spec) else net for net in nets), True


def resolve(topology: Topologies | None, weights: Callable[[], Mapping[str, Weight]]) -> tuple[Layered, ...]:
    """Return the topologies that a user gave, in their order; none for a dense model.

    Args:
        topology: a topology, a description, a string 'PATTERN: DESCRIPTION' or a file; a sequence of these; "dense"; or
            a mapping of patterns to topologies, descriptions, layers or masks.
        weights: a function that returns the weights of the dense model; only patterns need it.

    Raises:
        InvalidSpecError: a description is wrong, or a pattern fits no parameter.
    """
    if isinstance(topology, Mapping):
        return named(topology, weights())
    several = isinstance(topology, Sequence) and not isinstance(topology, str)
    given: Sequence[Any] = [] if topology is None else topology if several else [topology]  # type: ignore[assignment]
    if DENSE in [one for one in given if isinstance(one, str)]:
        if len(given) > 1:
            raise InvalidSpecError("dense is a model without topologies: give no other `topology`")
        return ()
    pairs = [split_pattern(one) if isinstance(one, str) else (None, one) for one in given]
    if any(pattern is not None for pattern, _ in pairs):
        return named(as_mapping(pairs), weights())
    return tuple(net for _, one in pairs for net in opened(one))


def require_inputs(nets: Sequence[Layered], dataset: Dataset) -> None:
    """Refuse the default topology for data with another number of inputs: the user did not choose it."""
    inputs = prod(dataset.input_shape)
    if nets and inputs != nets[0].widths[0]:
        raise InvalidSpecError(
            f"the default topology has {counted(nets[0].widths[0], 'input')}, and {dataset.name} {inputs}: give "
            "`topology` "
            f"'bernoulli widths={inputs},300,100 density=.1 seed=0', another one or dense"
        )


def run_name(config: TrainConfig, topology: Topologies | None) -> str:
    """Return the name of a new run: model, data and a word for its topology."""
    model = config.model.rpartition(":")[2] if is_function(config.model) else config.model
    function = split_name(config.dataset)[0] == FUNCTION
    dataset = config.dataset.rpartition(":")[2] if function else config.dataset
    dataset = dataset.replace(":", "-").rpartition("/")[2]
    if is_default(topology):
        topology = default_topology() if model == DEFAULT else None
    if topology is None and is_function(config.model):
        topology = "own"  # a user's model may have sparse layers of its own
    name = f"{model}-{dataset}-{config.method if isinstance(config, PruneConfig) else _about(topology)}"
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name)


def _about(topology: Any) -> str:
    """A word for a run's name."""
    if isinstance(topology, PathLike):
        return Path(topology).stem
    if topology is None or isinstance(topology, str):
        return Path((topology or "dense").split(maxsplit=1)[0]).stem
    if isinstance(topology, Layered):
        return family_of(topology.recipe) or "sparse"
    if isinstance(topology, Mapping) or not isinstance(topology, Sequence):
        return "sparse"
    return "-".join(dict.fromkeys(map(_about, topology))) or "dense"
