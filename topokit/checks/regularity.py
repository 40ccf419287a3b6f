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
    verdict, reason, witness = Verdict.HOLDS, "every node has the promised number of edges", None
    for i, layer in enumerate(degrees(net)):
        found.append(layer.constant)
        wrong = next(_wrong(layer, promised[i]), None) if promised else None
        if wrong:
            verdict, reason, witness = Verdict.FAILS, _sentence(i, wrong), {"layer": i, **wrong}
            break
    if not promised:
        irregular = sum(None in pair for pair in found)
        varying = f"{irregular} of {len(found)} layers have degrees that vary"
        verdict, reason = Verdict.NOT_PROMISED, varying if irregular else "every layer is regular"
    values = {"degrees": [list(pair) for pair in found]}
    return CheckResult(check="regularity", verdict=verdict, reason=reason, values=values, witness=witness)


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
