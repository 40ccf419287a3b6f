"""topokit: make, prove, look at and export sparse layered topologies.

>>> import topokit
>>> net = topokit.RadixNet(radices=[(10, 10)], kron=(8, 3, 1)).build()
>>> net
<Topology 800-300-100, 27,000 edges, density 0.1>
>>> topokit.verify(net).verdict.value
'holds'

Names are imported when they are first used, so that `import topokit` costs little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from topokit.allocation import allocate
    from topokit.checks import run_checks as verify
    from topokit.comparison import against_twins
    from topokit.drawing import draw, save_figure
    from topokit.errors import TopokitError
    from topokit.extraction import extract
    from topokit.families.bernoulli import Bernoulli
    from topokit.families.block import Block
    from topokit.families.butterfly import Butterfly
    from topokit.families.fixed_fan_in import FixedFanIn
    from topokit.families.graph_challenge import GraphChallenge
    from topokit.families.lps import LPS
    from topokit.families.margulis import Margulis
    from topokit.families.n_of_m import NOfM
    from topokit.families.radix_net import RadixNet
    from topokit.families.regular import Regular
    from topokit.families.small_world import SmallWorld
    from topokit.fitting import fit
    from topokit.formats import from_networkx, load, load_masks, save, save_masks, to_networkx
    from topokit.layered import Layer, Layered, Promises
    from topokit.masking import from_masks, masks
    from topokit.measures.degrees import degrees
    from topokit.measures.density import density
    from topokit.measures.paths import path_counts
    from topokit.profiles import profile
    from topokit.recipes import from_recipe
    from topokit.topologies import Topology, fingerprint
    from topokit.transforms import concatenate, crop, kron, permute, reverse

__version__ = "0.1.0"

_PLACES = {
    "Bernoulli": "topokit.families.bernoulli",
    "Block": "topokit.families.block",
    "Butterfly": "topokit.families.butterfly",
    "FixedFanIn": "topokit.families.fixed_fan_in",
    "GraphChallenge": "topokit.families.graph_challenge",
    "LPS": "topokit.families.lps",
    "Layer": "topokit.layered",
    "Layered": "topokit.layered",
    "Margulis": "topokit.families.margulis",
    "NOfM": "topokit.families.n_of_m",
    "Promises": "topokit.layered",
    "RadixNet": "topokit.families.radix_net",
    "Regular": "topokit.families.regular",
    "SmallWorld": "topokit.families.small_world",
    "TopokitError": "topokit.errors",
    "Topology": "topokit.topologies",
    "against_twins": "topokit.comparison",
    "allocate": "topokit.allocation",
    "concatenate": "topokit.transforms",
    "crop": "topokit.transforms",
    "degrees": "topokit.measures.degrees",
    "density": "topokit.measures.density",
    "draw": "topokit.drawing",
    "extract": "topokit.extraction",
    "fingerprint": "topokit.topologies",
    "fit": "topokit.fitting",
    "from_masks": "topokit.masking",
    "from_networkx": "topokit.formats",
    "from_recipe": "topokit.recipes",
    "kron": "topokit.transforms",
    "load": "topokit.formats",
    "load_masks": "topokit.formats",
    "masks": "topokit.masking",
    "path_counts": "topokit.measures.paths",
    "permute": "topokit.transforms",
    "profile": "topokit.profiles",
    "reverse": "topokit.transforms",
    "save": "topokit.formats",
    "save_figure": "topokit.drawing",
    "save_masks": "topokit.formats",
    "to_networkx": "topokit.formats",
    "verify": "topokit.checks:run_checks",
}

__all__ = [
    "LPS",
    "Bernoulli",
    "Block",
    "Butterfly",
    "FixedFanIn",
    "GraphChallenge",
    "Layer",
    "Layered",
    "Margulis",
    "NOfM",
    "Promises",
    "RadixNet",
    "Regular",
    "SmallWorld",
    "TopokitError",
    "Topology",
    "against_twins",
    "allocate",
    "concatenate",
    "crop",
    "degrees",
    "density",
    "draw",
    "extract",
    "fingerprint",
    "fit",
    "from_masks",
    "from_networkx",
    "from_recipe",
    "kron",
    "load",
    "load_masks",
    "masks",
    "path_counts",
    "permute",
    "profile",
    "reverse",
    "save",
    "save_figure",
    "save_masks",
    "to_networkx",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'topokit' has no attribute {name!r}")
    from importlib import import_module

    module, _, attribute = _PLACES[name].partition(":")
    return getattr(import_module(module), attribute or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
