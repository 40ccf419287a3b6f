"""The columns of a sweep's tables; the tags of a grid must have other names than those of runs.csv."""

BEFORE_TAGS = ("run", "label", "axes", "state", "command")
SETTINGS = (
    *("model", "dataset", "recipe", "epochs", "batch_size", "optimizer", "lr", "l2", "relu_logits", "shuffle", "init"),
    *("seed", "validation", "to", "method", "loss"),
)
TOPOLOGY = ("topology", "widths", "edges", "topology_density", "pruned_from", "pruned_sparsity")
RESULTS = (
    *("total_parameters", "nonzero_parameters", "metric", "better", "test_metric", "test_metrics", "validation_metric"),
    *("test_accuracy", "validation_accuracy", "dead_classes", "dead_units"),
    *("effective_sparsity_before", "effective_sparsity_after", "train_seconds", "error"),
)
COLUMNS = (*BEFORE_TAGS, *SETTINGS, *TOPOLOGY, *RESULTS)
NEW = ("axes", "loss", "metric", "better", "test_metric", "test_metrics", "validation_metric")
"""Columns that tables of earlier releases lack."""
EPOCHS = (
    *("run", "epoch", "train_loss", "test_metric", "validation_metric", "test_accuracy", "validation_accuracy"),
    *("lr", "sparsity", "threshold"),
)
PRUNINGS = ("run", "target", "sparsity", "edges", "step", "epoch", "accuracy_before", "test_accuracy")
