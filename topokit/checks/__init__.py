"""Checks: does a network keep what was promised of it? A new one is one file here and one line in CHECKS.

A check is a function of any `Layered` that returns a `CheckResult`, and reads the promises from the
network. One that knows several methods takes `method` as well.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import nullcontext

from topokit._registry import Registry
from topokit.checks._survey import surveyed
from topokit.checks.report import Report
from topokit.checks.result import CheckResult, Verdict
from topokit.errors import InvalidSpecError, TooLargeError
from topokit.executors import opened
from topokit.fields import names_of, one_of
from topokit.layered import Layered, Source, network

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
    net: Source,
    names: str | Iterable[str] | None = None,
    *,
    require: str | Iterable[str] | None = None,
    method: str = "auto",
    workers: int = 1,
    scheduler: str | None = None,
    executor: Executor | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> Report:
    """Prove or disprove what a network promises.

    Args:
        net: a topology, its description or its file.
        names: the checks to run, one or several; all of them by default. Required ones run in any case.
        require: the checks that must hold for the report to hold; by default `names`, and without those the
            promised ones, `net.promises.names`.
        method: "exact"; "probe", by random vectors with a bound on the error; or "auto", exact where that
            takes a few seconds at most and else a probe.
        workers: number of processes that look at the layers beforehand, each alone; for networks that are made of
            numbers, and not held in memory.
        scheduler: address of a Dask scheduler whose workers do so instead.
        executor: one that is open already, in place of these two; see `topokit.executors.opened`.
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
        raise InvalidSpecError(f"`method` must be one of {one_of(method, METHODS)}")
    net = network(net)
    wanted = set(CHECKS if names is None else names_of(names, "`names`"))
    default = net.promises.names if names is None else wanted
    required = frozenset(default if require is None else names_of(require, "`require`"))
    wanted |= required
    for name in wanted:
        CHECKS[name]  # an unknown name is refused before any work is done
    doing = "survey"
    results, seconds = [], {}
    with nullcontext(executor) if executor else opened(workers, scheduler) as used:
        net = surveyed(net, used, progress and (lambda i: progress(doing, i)))
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
