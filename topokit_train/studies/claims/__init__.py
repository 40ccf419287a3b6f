"""The claims of a report, by name. A new one is a Claim in a file here and one line in CLAIMS."""

from __future__ import annotations

from topokit._registry import Registry

CLAIMS = Registry(
    "claim",
    {
        "same": "topokit_train.studies.claims.topologies:SAME",
        "topology-matters": "topokit_train.studies.claims.topologies:MATTERS",
        "below-dense": "topokit_train.studies.claims.sizes:BELOW_DENSE",
        "larger-beats-dense": "topokit_train.studies.claims.sizes:LARGER",
        "pruned-masks-suit": "topokit_train.studies.claims.pruned:SUIT",
        "extreme-is-unstable": "topokit_train.studies.claims.stability:UNSTABLE",
        "recipe-kills-classes": "topokit_train.studies.claims.stability:KILLS",
        "plateaus-are-dead-classes": "topokit_train.studies.claims.stability:PLATEAUS",
    },
)
"""Each is a Claim, in the order of the report."""
