"""The columns of a sweep's tables; the tags of a grid must leave those of runs.csv alone."""

from __future__ import annotations

from collections.abc import Iterable

from topokit_train.sweeps.planned import Planned

BEFORE_TAGS = ("run", "label", "axes", "state", "command")
SETTINGS = (
    *("model", "dataset", "recipe", "epochs", "batch_size", "optimizer", "lr", "l2", "relu_logits", "shuffle", "init"),
    *("seed", "validation", "to", "method", "loss"),
)
WIRING = ("topology", "widths", "edges", "topology_density", "pruned_from", "pruned_sparsity")
RESULTS = (
    *("total_parameters", "nonzero_parameters", "metric", "better", "test_metric", "test_metrics", "validation_metric"),
    *("test_accuracy", "validation_accuracy", "dead_classes", "dead_units"),
    *("effective_sparsity_before", "effective_sparsity_after", "train_seconds", "error"),
)
COLUMNS = (*BEFORE_TAGS, *SETTINGS, *WIRING, *RESULTS)
NEW = ("axes", "loss", "metric", "better", "test_metric", "test_metrics", "validation_metric")
"""Columns that tables of earlier releases lack."""
EPOCHS = (
    *("run", "epoch", "train_loss", "test_metric", "validation_metric", "test_accuracy", "validation_accuracy"),
    *("lr", "sparsity", "threshold"),
)
PRUNINGS = ("run", "target", "sparsity", "edges", "step", "epoch", "accuracy_before", "test_accuracy")


def tags_of(runs: Iterable[Planned]) -> tuple[str, ...]:
    """The names of all tags, in the order in which the grid has them."""
    return tuple(dict.fromkeys(tag for run in runs for tag in run.tags))
