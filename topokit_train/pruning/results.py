"""Metrics of each epoch and the result of a pruning run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from topokit.reprs import aligned, cell
from topokit_train.metrics import Metrics, shown
from topokit_train.results import Result


@dataclass(frozen=True, kw_only=True)
class PruneMetrics(Metrics):
    """Metrics of an epoch of a pruning run.

    Args:
        sparsity: share of pruned weights, of all that may be pruned.
        threshold: the largest magnitude that the latest pruning removed; None while nothing is pruned, and in runs of
            0.1.0.
    """

    sparsity: float
    threshold: float | None = None


@dataclass(frozen=True, kw_only=True)
class PruneResult(Result):
    """Result of a pruning run.

    Args:
        sparsity: share of pruned weights at the end, of all that may be pruned.
        topologies: the saved ones, in order. `target`: the target sparsity, None for an absolute threshold; `sparsity`
            and `layer_sparsity`: what was reached, of all layers and of each; `edges`: weights that are left; `file`;
            `step`: after which it was saved; `accuracy_before` and `test_accuracy`: the first metric of the task on the
            test samples, such as their accuracy, right before and right after this pruning. A later one has more
            pruned; only the last one's network has been trained to the end.
    """

    sparsity: float
    topologies: list[dict[str, Any]]

    def rows(self) -> list[tuple[str, str]]:
        saved = [
            (Path(one["file"]).name, f"{one['sparsity']:.2%} sparse, {one['edges']:,} edges") for one in self.topologies
        ]
        return [*super().rows(), *saved]

    def __str__(self) -> str:
        return "\n".join(aligned(super().rows()))


def saved_topologies(results: Sequence[PruneResult]) -> list[tuple[str, ...]]:
    """A table with a row for each saved file, of several seeds with their means."""
    rows: list[tuple[str, ...]] = [("saved", "sparsity", "edges", "step", "test before", "after")]
    for networks in zip(*(result.topologies for result in results), strict=True):
        before, after, sparsity = (
            fmean(one[key] for one in networks) for key in ("accuracy_before", "test_accuracy", "sparsity")
        )
        tested = (shown(results[0].metric, value) for value in (before, after))
        edges = fmean(one["edges"] for one in networks)
        count = cell(int(edges) if edges == round(edges) else edges)
        rows.append((Path(networks[0]["file"]).name, f"{sparsity:.2%}", count, str(networks[0]["step"]), *tested))
    return rows


def metrics_from_json(values: Mapping[str, Any]) -> Metrics:
    """Return the metrics of an epoch of any run; only those of a pruning run have a sparsity."""
    return (PruneMetrics if "sparsity" in values else Metrics)(**values)
