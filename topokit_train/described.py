"""Descriptions by patterns of parameter names, and the parameters that the patterns match. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from topokit.descriptions import Description, parse
from topokit.errors import InvalidSpecError
from topokit.placement.weights import Weight
from topokit_train.config import TrainConfig
from topokit_train.datasets import load_dataset

Mapped = Mapping[str, Description]
"""Pattern of parameter names -> the description of the topology that each parameter gets."""


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
