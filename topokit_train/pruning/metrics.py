"""PruneMetrics: what is known of a network that is pruned after an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from topokit_train.metrics import Metrics


@dataclass(frozen=True, kw_only=True)
class PruneMetrics(Metrics):
    """What is known after an epoch of a pruning run.

    Args:
        sparsity: of the weights in slots that are pruned.
        threshold: the largest magnitude that the latest pruning set to zero; None while nothing is pruned, and in runs
            of releases that did not tell it.
    """

    sparsity: float
    threshold: float | None = None


def metrics_from_json(values: Mapping[str, Any]) -> Metrics:
    """The metrics of an epoch, of whichever kind of run: only a pruning run's have a sparsity."""
    return (PruneMetrics if "sparsity" in values else Metrics)(**values)
