"""The regularity check: has every node the promised number of edges?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from topokit.checks.result import CheckResult, Verdict
from topokit.layered import Layered
from topokit.measures.degrees import LayerDegrees, degrees

Pair = tuple[int | None, int | None]


def regularity(net: Layered) -> CheckResult:
    """Compare every node's out- and in-degree with the promised ones of its layer. O(edges).

    The witness is a node of edge layer `layer`: a source if `side` is "out", a target if it is "in".
    The verdict is "not promised" if no degrees are promised.
    """
    promised = net.promises.degrees
    found: list[Pair] = []
    for i, layer in enumerate(degrees(net)):
        found.append(layer.constant)
        for witness in _wrong(layer, promised[i]) if promised else ():
            return _result(Verdict.FAILS, _sentence(i, witness), found, {"layer": i, **witness})
    if promised:
        return _result(Verdict.HOLDS, "every node has the promised number of edges", found)
    irregular = sum(None in pair for pair in found)
    happens = f"{irregular} of {len(found)} layers have degrees that vary" if irregular else "every layer is regular"
    return _result(Verdict.NOT_PROMISED, happens, found)


def _wrong(layer: LayerDegrees, promised: Pair) -> Iterator[dict[str, Any]]:
    """The first node of either side whose degree is not the promised one."""
    sides = (("out", layer.outgoing, promised[0]), ("in", layer.incoming, promised[1]))
    for side, array, expected in sides:
        if expected is not None and (array != expected).any():
            node = int(np.argmax(array != expected))
            yield {"side": side, "node": node, "degree": int(array[node]), "expected": expected}


def _sentence(i: int, witness: dict[str, Any]) -> str:
    node = f"{'source' if witness['side'] == 'out' else 'target'} {witness['node']} of layer {i}"
    return f"{node} has {witness['side']}-degree {witness['degree']} instead of {witness['expected']}"


def _result(verdict: Verdict, reason: str, found: list[Pair], witness: dict[str, Any] | None = None) -> CheckResult:
    values = {"degrees": [list(pair) for pair in found]}
    return CheckResult(check="regularity", verdict=verdict, reason=reason, values=values, witness=witness)
