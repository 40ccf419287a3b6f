"""Measures: what a network is, in numbers and without a verdict. A new one is one file here and one line in MEASURES.

Each is a function of any `Layered`, which it reads layer by layer.
"""

from __future__ import annotations

from topokit._registry import Registry

MEASURES = Registry(
    "measure",
    {
        "degrees": "topokit.measures.degrees:degrees",
        "density": "topokit.measures.density:density",
        "paths": "topokit.measures.paths:path_range",
        "reach": "topokit.measures.reach:reach",
        "structure": "topokit.measures.structure:structures",
    },
)
