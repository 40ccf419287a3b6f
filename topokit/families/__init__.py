"""Families of topologies, by name. A new family is one file here and one line in FAMILIES.

The registry holds strings, so that listing the families imports nothing heavy.
"""

from __future__ import annotations

from topokit._registry import Registry

FAMILIES = Registry(
    "family",
    {
        "radix-net": "topokit.families.radix_net:RadixNet",
        "graph-challenge": "topokit.families.graph_challenge:GraphChallenge",
        "butterfly": "topokit.families.butterfly:Butterfly",
        "regular": "topokit.families.regular:Regular",
        "fixed-fan-in": "topokit.families.fixed_fan_in:FixedFanIn",
        "n-of-m": "topokit.families.n_of_m:NOfM",
        "block": "topokit.families.block:Block",
        "bernoulli": "topokit.families.bernoulli:Bernoulli",
        "small-world": "topokit.families.small_world:SmallWorld",
        "lps": "topokit.families.lps:LPS",
        "margulis": "topokit.families.margulis:Margulis",
    },
)

RANDOM_EQUIVALENTS = ("regular", "fixed-fan-in", "bernoulli")
"""Families whose class has `equivalent_to(net, seed)`: the random network to compare another one with."""
