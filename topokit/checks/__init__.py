"""Checks: does a network keep what was promised of it? A new one is one file here and one line in CHECKS.

A check is a function of any `Layered` that returns a `CheckResult`, and reads the promises from the
network. One that knows several methods takes `method` as well.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor

from topokit._registry import Registry
from topokit.checks._survey import surveyed
from topokit.checks.report import Report
from topokit.checks.result import CheckResult, Verdict
from topokit.errors import InvalidSpecError, TooLargeError
from topokit.layered import Layered

__all__ = ["CHECKS", "METHODS", "CheckResult", "Report", "Verdict", "run_checks", "verify"]

CHECKS = Registry(
    "check",
    {
        "soundness": "topokit.checks.soundness:soundness",
        "connectivity": "topokit.checks.connectivity:connectivity",
        "path-symmetry": "topokit.checks.path_symmetry:path_symmetry",
        "regularity": "topokit.checks.regularity:regularity",
        "density": "topokit.checks.density:density",
    },
)

METHODS = ("auto", "exact", "probe")


def verify(
    net: Layered,
    names: Iterable[str] | None = None,
    *,
    require: Iterable[str] | None = None,
    method: str = "auto",
    executor: Executor | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> Report:
    """Prove or disprove what a network promises.

    Args:
        net: any network.
        names: the checks to run; all of them where left out. Required ones run in any case.
        require: the checks that must hold for the report to; where left out `names`, and where those are
            left out too the promised ones, `net.promises.names`.
        method: "exact"; "probe", by random vectors with a bound on the error; or "auto", exact where that
            takes a few seconds at most and else a probe.
        executor: processes or machines that look at the layers beforehand, each alone; for networks that are
            made of numbers, and not held in memory. See `topokit.executors.opened`.
        progress: called with what is being done and the number of layers done, again and again.

    Returns:
        A report whose `verdict` counts the required checks only. A check is undecided if it needs more memory than
        is free, and "not promised" if the topology promises nothing that it could verify.

    Raises:
        InvalidSpecError: no check or method of such a name.

    Warns:
        RuntimeWarning: the executor lost workers; what they had not done is done here.

    >>> from topokit.families.radix_net import RadixNet
    >>> verify(RadixNet(radices=[(2, 2, 2)], kron=(10, 10))).verdict.value
    'holds'
    """
    if method not in METHODS:
        raise InvalidSpecError(f"no method named {method!r}: known: {', '.join(METHODS)}")
    wanted = set(CHECKS if names is None else names)
    default = net.promises.names if names is None else wanted
    required = frozenset(default if require is None else require)
    wanted |= required
    for name in wanted:
        CHECKS[name]  # an unknown name is refused before any work is done
    doing = "survey"
    results, seconds = [], {}
    net = surveyed(net, executor, progress and (lambda i: progress(doing, i)))
    for name in (name for name in CHECKS if name in wanted):
        doing, start = name, time.perf_counter()
        results.append(_run(net, name, method))
        seconds[name] = time.perf_counter() - start
    return Report(results=tuple(results), required=required, seconds=seconds)


def _run(net: Layered, name: str, method: str) -> CheckResult:
    check = CHECKS[name]
    options = {"method": method} if "method" in inspect.signature(check).parameters else {}
    try:
        result: CheckResult = check(net, **options)
    except TooLargeError as error:
        return CheckResult(check=name, verdict=Verdict.UNDECIDED, reason=str(error))
    return result


run_checks = verify  # its name in 0.1.0
