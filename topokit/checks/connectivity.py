"""The connectivity check: does every input reach every output?"""

from __future__ import annotations

from itertools import islice
from typing import Any

from topokit.checks.result import CheckResult, Verdict
from topokit.layered import Layered
from topokit.measures.reach import Reach, reach

SHOWN = 10
"""How many dead units are named; all are counted."""


def connectivity(net: Layered) -> CheckResult:
    """Look for an input and an output that no path joins; count such pairs and the dead units. Exact.

    A dead unit is a node that no input reaches, or that reaches no output. Dead hidden units do not break
    the verdict, but they are weights for nothing, so they are counted for each node layer and the first
    few are named, as [node layer, node].

    Raises:
        TooLargeError: not enough free memory.

    Cost: as `topokit.measures.reach.reach`.
    """
    found = reach(net)
    dead = sum(nodes.size for nodes in found.dead)
    also = f"; {dead:,} dead {'unit' if dead == 1 else 'units'}" if dead else ""
    if found.disconnected_pair is None:
        return _result(Verdict.HOLDS, f"every input reaches every output{also}", found)
    source, target = found.disconnected_pair
    others = f", one of {found.disconnected:,} such pairs" if found.disconnected > 1 else ""
    reason = f"no path from input {source} to output {target}{others}{also}"
    return _result(Verdict.FAILS, reason, found, {"input": source, "output": target})


def _result(verdict: Verdict, reason: str, found: Reach, witness: dict[str, Any] | None = None) -> CheckResult:
    units = ([i, int(node)] for i, nodes in enumerate(found.dead) for node in nodes)
    values = {
        "disconnected_pairs": found.disconnected,
        "dead_units": [nodes.size for nodes in found.dead],
        "first_dead_units": list(islice(units, SHOWN)),
    }
    return CheckResult(check="connectivity", verdict=verdict, reason=reason, values=values, witness=witness)
