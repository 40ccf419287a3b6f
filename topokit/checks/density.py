"""The density check: is the share of possible edges that are there the promised one?"""

from __future__ import annotations

from topokit.checks.result import CheckResult, Verdict
from topokit.layered import Layered
from topokit.measures.density import density as measure
from topokit.reprs import counted


def density(net: Layered) -> CheckResult:
    """Compare the exact density of the whole network with the promised one. O(layers).

    The verdict is "not promised" if no density is promised.
    """
    found, promised = measure(net).whole, net.promises.density
    values = {"density": str(found), "promised": None if promised is None else str(promised)}
    if promised is None:
        verdict, reason = Verdict.NOT_PROMISED, f"the density is {found}"
    elif found == promised:
        verdict, reason = Verdict.HOLDS, f"{counted(net.edges, 'edge')} make a density of {found}, as promised"
    else:
        verdict, reason = Verdict.FAILS, f"{counted(net.edges, 'edge')} make a density of {found} instead of {promised}"
    return CheckResult(check="density", verdict=verdict, reason=reason, values=values)
