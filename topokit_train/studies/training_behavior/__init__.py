"""The study of arXiv:1810.00299: its experiments, with several seeds.

"Training Behavior of Sparse Neural Network Topologies", Alford, Robinett, Milechin, Kepner 2018. Each budget is a grid,
a TOML file that `topokit sweep` reads too.
"""

from __future__ import annotations

from pathlib import Path

from topokit_train.studies.study import Study

TRAINING_BEHAVIOR = Study(
    name="training-behavior",
    grids={budget: Path(__file__).with_name(f"{budget}.toml") for budget in ("smoke", "small", "full")},
    report="topokit_train.studies.report",
)
