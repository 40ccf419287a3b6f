"""prune: a training run that prunes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from topokit.errors import InvalidSpecError
from topokit_train.pruning.config import PruneConfig
from topokit_train.pruning.results import PruneResult
from topokit_train.results import Results
from topokit_train.runs.train import train, train_seeds


def prune(
    config: PruneConfig | None = None, seeds: str | Sequence[int] | None = None, **others: Any
) -> PruneResult | Results:
    """Train a dense network, prune its smallest weights, and save the remaining edges as topologies.

    It is `train` with a PruneConfig, or `train_seeds` with several seeds.

    Args:
        config: the settings; the default ones if omitted.
        seeds: of several networks, such as "0-4" or [0, 1].
        others: arguments of `train` other than the topology.

    Raises:
        InvalidSpecError: settings of another kind; else as `train`.
    """
    if config is not None and not isinstance(config, PruneConfig):
        raise InvalidSpecError(f"prune takes a PruneConfig, not {type(config).__name__}: write PruneConfig(to=0.9)")
    if seeds is not None:
        return train_seeds(config or PruneConfig(), None, seeds, **others)
    result = train(config or PruneConfig(), **others)
    assert isinstance(result, PruneResult)
    return result
