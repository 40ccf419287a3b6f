"""The path symmetry check: are all inputs and outputs joined by the same number of paths?"""

from __future__ import annotations

from functools import partial
from typing import Any

from topokit.checks._probe import chance_of_error, path_bits, probes_needed, run_probes
from topokit.checks.result import CheckResult, Verdict
from topokit.errors import TooLargeError
from topokit.layered import Layered
from topokit.measures.paths import PathRange, path_range
from topokit.reprs import decimal, in_words

_result = partial(CheckResult, check="path-symmetry")

BUDGET = 2e9
"""Limb products that "auto" spends on an exact count before it probes instead: a few seconds."""


def path_symmetry(net: Layered, method: str = "auto", seed: int = 0) -> CheckResult:
    """Prove that every input and every output are joined by the same number of paths, or find two pairs that differ.

    The number must be the promised one, if there is one. The witness holds two (input, output) pairs and
    the exact number of paths of each, as decimal strings.

    Args:
        net: any network.
        method: "exact" counts paths; "probe" multiplies random vectors modulo random primes, and can only
            err in saying "holds", at most with probability `error_bound`; "auto" counts where it is cheap.
        seed: of the probe's random numbers. An edge list made to fool this very seed would fool it.

    Raises:
        TooLargeError: counting needs more memory than is free.

    Cost: as `topokit.measures.paths.path_range`, or O(edges) for a probe.
    """
    if method == "probe":
        return _probed(net, seed)
    try:
        return _counted(net, path_range(net, budget=BUDGET if method == "auto" else float("inf")))
    except TooLargeError:
        if method == "exact":
            raise
        return _probed(net, seed)


def _counted(net: Layered, found: PathRange) -> CheckResult:
    least, greatest, promised = found.min, found.max, net.promises.paths
    if least < greatest:
        values = {"min": decimal(least), "max": decimal(greatest)}
        return _failure(_difference(found), found, values=values)
    values = {"paths": decimal(least)}
    if promised is not None and least != promised:
        reason = f"{_symmetric(least)}, but {in_words(promised)} are promised"
        return _failure(reason, found, values=values)
    return _result(verdict=Verdict.HOLDS, reason=_symmetric(least), values=values)


def _probed(net: Layered, seed: int) -> CheckResult:
    promised, bits = net.promises.paths, path_bits(net)
    count = probes_needed(bits)
    probes = run_probes(net, count, seed)
    for probe in probes:
        if probe.suspects:
            found = path_range(net, inputs=probe.suspects)
            return _failure(_difference(found), found, method="probe")
    holds = partial(_result, verdict=Verdict.HOLDS, method="probe", error_bound=chance_of_error(bits, count))
    if promised is None:
        reason = f"all pairs have the same number of paths, by {count} probes; it is known modulo their primes only"
        residues = {str(probe.prime): str(probe.paths) for probe in probes}
        return holds(reason=reason, values={"paths_modulo": residues})
    if promised >> bits or any(promised % probe.prime != probe.paths for probe in probes):
        found = path_range(net, inputs=[0])
        reason = f"{_sentence(found.min, found.min_pair)}, but {in_words(promised)} are promised"
        return _failure(reason, found, method="probe")
    return holds(reason=f"{_symmetric(promised)}, by {count} probes", values={"paths": decimal(promised)})


def _symmetric(paths: int) -> str:
    if paths == 0:
        return "no input reaches any output: every pair has 0 paths"
    return f"every input reaches every output on {_paths(paths)}"


def _difference(found: PathRange) -> str:
    least, greatest = found.min, found.max
    more = f", {in_words(greatest - least)} more" if in_words(least) == in_words(greatest) else ""
    return f"{_sentence(least, found.min_pair)}, but {_sentence(greatest, found.max_pair)}{more}"


def _sentence(count: int, pair: tuple[int, int]) -> str:
    return f"input {pair[0]} reaches output {pair[1]} on {_paths(count)}"


def _paths(count: int) -> str:
    return "1 path" if count == 1 else f"{in_words(count)} paths"


def _failure(reason: str, found: PathRange, **more: Any) -> CheckResult:
    pairs, paths = (found.min_pair, found.max_pair), (found.min, found.max)
    witness = {"pairs": list(map(list, pairs)), "paths": list(map(decimal, paths))}
    return _result(verdict=Verdict.FAILS, reason=reason, witness=witness, **more)
