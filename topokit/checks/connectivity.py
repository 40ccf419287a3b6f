"""The connectivity check: does every input reach every output?"""

from __future__ import annotations

from itertools import islice

from topokit.checks.result import CheckResult, Verdict
from topokit.layered import Layered
from topokit.measures.effective import effective
from topokit.measures.reach import reach

SHOWN = 10
"""How many dead units are named; all are counted."""


def connectivity(net: Layered) -> CheckResult:
    """Look for an input and an output that no path joins; count such pairs and the dead units. Exact.

    A dead unit is a node that no input reaches, or that reaches no output. Dead hidden units do not change the verdict,
    but their weights have no effect, so they are counted for each node layer and the first few are named, as
    [node layer, node].

    Raises:
        TooLargeError: not enough free memory.

    Cost: as `topokit.measures.reach.reach` and `topokit.measures.effective.effective`.
    """
    found, dead = reach(net), effective(net).dead
    units = [[i, int(node)] for i, nodes in enumerate(dead) for node in islice(nodes, SHOWN)]
    count = sum(nodes.size for nodes in dead)
    also = f"; {count:,} dead {'unit' if count == 1 else 'units'}" if count else ""
    verdict, reason, witness = Verdict.HOLDS, f"every input reaches every output{also}", None
    if found.disconnected_pair:
        verdict, witness = Verdict.FAILS, dict(zip(("input", "output"), found.disconnected_pair, strict=True))
        others = f", one of {found.disconnected_pairs:,} such pairs" if found.disconnected_pairs > 1 else ""
        reason = f"no path from input {witness['input']} to output {witness['output']}{others}{also}"
    values = {
        "disconnected_pairs": found.disconnected_pairs,
        "dead_units": [nodes.size for nodes in dead],
        "first_dead_units": units[:SHOWN],
    }
    return CheckResult(check="connectivity", verdict=verdict, reason=reason, values=values, witness=witness)
