"""PruneResult: what a finished pruning run came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from topokit.reprs import aligned, cell
from topokit_train.metrics import shown
from topokit_train.results import Result

if TYPE_CHECKING:
    from topokit_train.pruning.pruner import Pruner


@dataclass(frozen=True, kw_only=True)
class PruneResult(Result):
    """What a finished pruning run came to.

    Args:
        sparsity: of the weights in slots that are pruned, at the end.
        topologies: what was saved on the way: the fields of a SavedTopology, `file` with the run's folder. A later
            one has more pruned; only the last one's network has been trained to the end.
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


def pruned_results(results: Sequence[Result], pruner: Pruner) -> list[Result]:
    """What each of a pruner's networks came to; `parameters` counts the weights that are left.

    Args:
        results: of the training.
        pruner: has pruned all that it was to prune.
    """
    made: list[Result] = []
    left, zeros = pruner.masks.left(), pruner.masks.zero_biases()
    weights = sum(rows.shape[1] for rows in pruner.masks.kept.values())
    sparsities = pruner.masks.sparsities()
    for k, (result, sparsity, saved) in enumerate(zip(results, sparsities, pruner.told(), strict=True)):
        gone = weights - sum(left[k].values())
        about = vars(result) | {
            "parameters": {
                "total": result.parameters["total"],
                "nonzero": result.parameters["nonzero"] - gone - (zeros[k] if pruner.config.biases else 0),
            },
            "sparsity": sparsity,
            "topologies": [one | {"file": f"{result.run}/{one['file']}"} for one in saved],
        }
        made.append(PruneResult(**about))
    return made
