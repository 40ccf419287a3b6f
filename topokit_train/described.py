"""resolve: the topologies of a run, from topologies, descriptions and 'PATTERN: DESCRIPTION'."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from topokit.descriptions import DENSE, Description, parse, split_pattern
from topokit.errors import InvalidSpecError
from topokit.layered import Layered
from topokit.placement import Topologies, Weight, named, opened
from topokit_train.config import TrainConfig
from topokit_train.datasets import load_dataset

DEFAULT_TOPOLOGY = "default"
"""The topology of lenet-300-100, none for other models, and for a resumed run its own."""

Mapped = Mapping[str, Description]
"""Pattern of parameter names -> the description of the topology that each parameter gets."""


def resolve(topology: Topologies | None, weights: Callable[[], Mapping[str, Weight]]) -> tuple[Layered, ...]:
    """Return the topologies that a user describes, in their order; none for a dense model.

    Args:
        topology: topologies; texts, which are descriptions, or each 'PATTERN: DESCRIPTION', or "dense" alone; files; or
            a mapping of patterns to topologies, descriptions, layers or masks.
        weights: returns the weights of the dense model, which patterns need.

    Raises:
        InvalidSpecError: what is wrong with a text, or which parameters the patterns do not fit.
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


def as_mapping(pairs: Sequence[tuple[str | None, Any]], folder: str = "", *, seed: int | None = None) -> Mapped:
    """Return the descriptions by their patterns, in order.

    Raises:
        InvalidSpecError: one without a pattern, or a pattern given twice.
    """
    mapped: dict[str, Description] = {}
    for pattern, text in pairs:
        if pattern is None:
            raise InvalidSpecError(f"{text!r} names no parameters, but others do: write 'PATTERN: DESCRIPTION' for all")
        if pattern in mapped:
            raise InvalidSpecError(f"the pattern {pattern} is given twice: give it once")
        mapped[pattern] = parse(text, folder) if seed is None else parse(text, folder).seeded(seed)
    return mapped


def parameters_of(config: TrainConfig) -> dict[str, Weight]:
    """Return the weights of a run's dense model. Reads the dataset and, of a user's model, calls the function."""
    from topokit_train.models.networks import model_source

    return model_source(config.model).weights(load_dataset(config.dataset, config.data_dir))
