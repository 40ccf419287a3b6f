"""Studies: experiments as grids of runs, and the report on their tables.

A new one is a `Study` and one line in STUDIES.
"""

from __future__ import annotations

from topokit._registry import Registry

STUDIES = Registry("study", {"training-behavior": "topokit_train.studies.study:TRAINING_BEHAVIOR"})
