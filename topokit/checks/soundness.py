"""The soundness check: is the network what its file and its recipe say it is?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from topokit.checks.result import CheckResult, Verdict
from topokit.errors import InvalidSpecError, OutsideRecipeError, TooLargeError
from topokit.layered import Layer, Layered
from topokit.recipes import from_recipe
from topokit.reprs import counted
from topokit.spec import Spec
from topokit.topologies import Topology, fingerprint

SPARE_EDGES = 2**20
"""A recipe's layer with more edges than these and twice the network's is not made just to name one of them."""


@dataclass(frozen=True, slots=True)
class _Finding:
    verdict: Verdict
    reason: str
    witness: dict[str, Any] | None = None


def soundness(net: Layered) -> CheckResult:
    """Look for anything in a network that contradicts what is recorded about it.

    Three things are looked at, and the reason says which were possible: every layer is in canonical form;
    the recorded fingerprint is the one computed anew; the recipe, carried out again, gives the same edges. A recipe
    that begins with a file of weights cannot be carried out, which contradicts nothing.
    The witness is an edge that is in one of network and recipe and not in the other.

    Cost: O(edges), two layers in memory.
    """
    findings = [_form(net)]
    computed = None
    if findings[0].verdict is Verdict.HOLDS and isinstance(net, Topology):
        computed = fingerprint(net)
        findings += [_fingerprint(net, computed), _recipe(net)]
    worst = _worst(finding.verdict for finding in findings)
    shown = [finding for finding in findings if finding.verdict is worst]
    return CheckResult(
        check="soundness",
        verdict=worst,
        reason="; ".join(finding.reason for finding in shown),
        values={"fingerprint": computed},
        witness=next((finding.witness for finding in shown if finding.witness), None),
    )


def _worst(verdicts: Iterable[Verdict]) -> Verdict:
    return max(verdicts, key=list(Verdict).index)


def _form(net: Layered) -> _Finding:
    """Every layer is a simple bipartite graph in canonical order, with the announced shape and edges."""
    announced = zip(pairwise(net.widths), net.layer_edges, strict=True)
    for i, (layer, (shape, edges)) in enumerate(zip(net.stream(), announced, strict=True)):
        fault = layer.fault(f"layer {i}")
        if layer.shape != shape:
            fault = f"layer {i} joins {layer.shape[0]} to {layer.shape[1]} nodes instead of {shape[0]} to {shape[1]}"
        if fault:
            return _Finding(Verdict.FAILS, fault, {"layer": i})
        if layer.edges != edges:
            reason = f"layer {i} has {counted(layer.edges, 'edge')} instead of {edges:,}"
            return _Finding(Verdict.FAILS, reason, {"layer": i})
    return _Finding(Verdict.HOLDS, "every layer is in canonical form")


def _fingerprint(net: Topology, computed: str) -> _Finding:
    if net.recorded_fingerprint is None:
        return _Finding(Verdict.HOLDS, "no fingerprint is recorded")
    if net.recorded_fingerprint != computed:
        reason = f"the edges' fingerprint is {computed[:12]}..., but {net.recorded_fingerprint[:12]}... is recorded"
        return _Finding(Verdict.FAILS, reason)
    return _Finding(Verdict.HOLDS, "the recorded fingerprint is right")


def _recipe(net: Topology) -> _Finding:
    if net.recipe is None:
        return _Finding(Verdict.HOLDS, "no recipe is recorded")
    try:
        return _compared(net, from_recipe(net.recipe))
    except OutsideRecipeError as error:
        return _Finding(Verdict.HOLDS, f"its recipe cannot be rebuilt: {error}")
    except InvalidSpecError as error:
        return _Finding(Verdict.FAILS, f"the recipe describes no network: {error}")
    except TooLargeError as error:
        return _Finding(Verdict.UNDECIDED, f"the recipe cannot be carried out: {error}")


def _compared(net: Topology, spec: Spec) -> _Finding:
    """Widths first and edge counts next: a recipe for some other, huge network is refused before it is carried out."""
    if net.widths != spec.widths:
        return _Finding(Verdict.FAILS, "the recipe describes a network of other widths")
    for i, (edges, described) in enumerate(zip(net.layer_edges, spec.layer_edges, strict=True)):
        if edges != described:
            small = described <= 2 * edges + SPARE_EDGES
            witness = _difference(i, net.layer(i), spec.layer(i)) if small else {"layer": i}
            return _Finding(
                Verdict.FAILS, f"layer {i} has {counted(edges, 'edge')}, but {described:,} by the recipe", witness
            )
    for i, (layer, described_layer) in enumerate(zip(net.stream(), spec.stream(), strict=True)):
        witness = _difference(i, layer, described_layer)
        if witness:
            edge = f"the edge from {witness['source']} to {witness['target']} of layer {i}"
            reason = f"{edge} is not in the recipe" if witness["in_net"] else f"{edge} is in the recipe only"
            return _Finding(Verdict.FAILS, reason, witness)
    return _Finding(Verdict.HOLDS, "its recipe gives the same edges")


def _difference(i: int, layer: Layer, described: Layer) -> dict[str, Any] | None:
    """The first edge, in canonical order, that is in one of two layers of the same shape and not in the other."""
    if np.array_equal(layer.indptr, described.indptr) and np.array_equal(layer.indices, described.indices):
        return None
    one, two = (a.sources * layer.shape[1] + a.targets for a in (layer, described))
    common = min(one.size, two.size)
    apart = np.flatnonzero(one[:common] != two[:common])
    first = int(apart[0]) if apart.size else common
    ends = [int(keys[first]) for keys in (one, two) if first < keys.size]
    source, target = divmod(min(ends), layer.shape[1])
    in_net = first < one.size and int(one[first]) == min(ends)
    return {"layer": i, "source": source, "target": target, "in_net": in_net, "in_recipe": not in_net}
