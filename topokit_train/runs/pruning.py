"""prune: a training run that prunes."""

from __future__ import annotations

from typing import Any

from topokit.errors import InvalidSpecError
from topokit_train.pruning.config import PruneConfig
from topokit_train.pruning.results import PruneResult
from topokit_train.runs.train import train


def prune(config: PruneConfig | None = None, **others: Any) -> PruneResult:
    """Train a dense network, prune its smallest weights, and save the remaining edges as topologies.

    It is `train` with a PruneConfig; `train_seeds` prunes several networks at once.

    Args:
        config: the settings; the default ones if omitted.
        others: arguments of `train` other than the topology.

    Raises:
        InvalidSpecError: settings of another kind; else as `train`.
    """
    if config is not None and not isinstance(config, PruneConfig):
        raise InvalidSpecError(f"prune takes a PruneConfig, not {type(config).__name__}: write PruneConfig(to=0.9)")
    result = train(config or PruneConfig(), **others)
    assert isinstance(result, PruneResult)
    return result
