"""Measures: what a network is, in numbers and without a verdict. A new one is one file here and one line in MEASURES.

Each is a function of any `Layered`, which it reads layer by layer.
"""

from __future__ import annotations

from topokit._registry import Registry

MEASURES = Registry(
    "measure",
    {
        "assortativity": "topokit.measures.assortativity:assortativity",
        "clustering": "topokit.measures.clustering:clustering",
        "cost": "topokit.measures.cost:cost",
        "degrees": "topokit.measures.degrees:degrees",
        "density": "topokit.measures.density:density",
        "effective": "topokit.measures.effective:effective",
        "end-to-end": "topokit.measures.end_to_end:end_to_end",
        "hubs": "topokit.measures.hubs:hubs",
        "modularity": "topokit.measures.modularity:modularity",
        "node-paths": "topokit.measures.node_paths:node_paths",
        "path-statistics": "topokit.measures.path_statistics:path_statistics",
        "paths": "topokit.measures.paths:path_range",
        "reach": "topokit.measures.reach:reach",
        "sampled-paths": "topokit.measures.sampled_paths:sampled_paths",
        "spectra": "topokit.measures.spectra:spectra",
        "structure": "topokit.measures.structure:structures",
        "twins": "topokit.measures.twins:quotients",
    },
)
