"""From descriptions to the topologies of a named model: texts, and texts for parameters, 'PATTERN: DESCRIPTION'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from topokit.descriptions import DENSE, Description, parse, split_pattern
from topokit.errors import InvalidSpecError
from topokit.layered import Layered
from topokit.placement import Weight, named
from topokit_train.config import TrainConfig
from topokit_train.datasets import load_dataset
from topokit_train.models import slots

Mapped = Mapping[str, Description]
"""Pattern of parameter names -> the description of the topology that each parameter gets."""


def wire(texts: Sequence[str], config: TrainConfig) -> tuple[Layered, ...]:
    """Return the topologies of a run that texts describe, in their order.

    Args:
        texts: descriptions; or each 'PATTERN: DESCRIPTION'; or "dense" alone.
        config: the run's settings; its model and dataset say which parameters there are.

    Raises:
        InvalidSpecError: what is wrong with a text, or which parameters the patterns do not fit.
    """
    if DENSE in texts:
        if len(texts) > 1:
            raise InvalidSpecError("dense is a model without topologies: give no other `topology`")
        return ()
    pairs = [split_pattern(text) for text in texts]
    if all(pattern is None for pattern, _ in pairs):
        return tuple(net for _, text in pairs for net in parse(text).open_all())
    return named(as_mapping(pairs), parameters_of(config))


def as_mapping(pairs: Sequence[tuple[str | None, str]], folder: str = "", *, seed: int | None = None) -> Mapped:
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
    """Return the weights of a run's dense model. Reads the dataset."""
    dataset = load_dataset(config.dataset, config.data_dir)
    table = slots(config.model, image=dataset.input_shape, classes=dataset.outputs)
    return {name: Weight(shape) for name, shape in table.items()}
