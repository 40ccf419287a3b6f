"""Measures: numbers that describe a network, without a verdict. A new one is one file here and its name in MEASURES.

The file `topokit/measures/path_statistics.py` defines MEASURE, a `Measure`, for the name `path-statistics`.
"""

from __future__ import annotations

from topokit._registry import Registry

_NAMES = (
    "cost",
    "density",
    "effective",
    "degrees",
    "spectra",
    "twins",
    "structure",
    "hubs",
    "assortativity",
    "clustering",
    "modularity",
    "reach",
    "path-statistics",
    "paths",
    "sampled-paths",
    "node-paths",
    "end-to-end",
)

MEASURES = Registry("measure", {name: f"topokit.measures.{name.replace('-', '_')}:MEASURE" for name in _NAMES})
"""Every measure, in the order in which `topokit info` and `topokit compare` print them."""
