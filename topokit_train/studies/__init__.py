"""Studies: experiments as grids of runs, and the report that their tables are turned into.

A new one is a module with a `Study`, its grids, and one line in STUDIES.
"""

from __future__ import annotations

from topokit._registry import Registry

STUDIES = Registry("study", {"training-behavior": "topokit_train.studies.training_behavior:TRAINING_BEHAVIOR"})
