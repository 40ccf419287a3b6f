"""The charts of a report, by name. A new one is a function in a file here and one line in CHARTS."""

from __future__ import annotations

from topokit._registry import Registry

CHARTS = Registry(
    "chart",
    {
        "one-time": "topokit_train.studies.charts.pruning:one_time",
        "thresholds": "topokit_train.studies.charts.pruning:thresholds",
        "sparsities": "topokit_train.studies.charts.pruning:sparsities",
        "accuracies": "topokit_train.studies.charts.pruning:accuracies",
        "iterative": "topokit_train.studies.charts.pruning:iterative",
        "retrained": "topokit_train.studies.charts.retrained:retrained",
        "figure-8": "topokit_train.studies.charts.retrained:figure_8",
        "same-size": "topokit_train.studies.charts.topologies:same_size",
        "same-edges": "topokit_train.studies.charts.topologies:same_edges",
    },
)
"""Each is a function Tables -> Chart, in the order of the report."""
