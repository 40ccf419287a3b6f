"""The soundness check: is the network what its file and its recipe say it is?"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from topokit.checks.result import CheckResult, Verdict, worst_of
from topokit.errors import InvalidSpecError, OutsideRecipeError, TooLargeError
from topokit.layered import Layer, Layered
from topokit.recipes import from_recipe
from topokit.reprs import counted
from topokit.spec import Spec
from topokit.topologies import Topology, fingerprint, fingerprint_error

SPARE_EDGES = 2**20
"""A recipe's layer with more edges than these and twice the network's is not made just to name one of them."""


_result = partial(CheckResult, check="soundness")


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
    worst = worst_of(finding.verdict for finding in findings)
    shown = [finding for finding in findings if finding.verdict is worst]
    reason = "; ".join(finding.reason for finding in shown)
    witness = next((finding.witness for finding in shown if finding.witness), None)
    return _result(verdict=worst, reason=reason, values={"fingerprint": computed}, witness=witness)


def _form(net: Layered) -> CheckResult:
    """Every layer is a simple bipartite graph in canonical order, with the announced shape and edges."""
    announced = zip(pairwise(net.widths), net.layer_edges, strict=True)
    for i, (layer, (shape, edges)) in enumerate(zip(net.stream(), announced, strict=True)):
        fault = layer.fault(f"layer {i}")
        if layer.shape != shape:
            fault = f"layer {i} joins {layer.shape[0]} to {layer.shape[1]} nodes instead of {shape[0]} to {shape[1]}"
        if fault:
            return _result(verdict=Verdict.FAILS, reason=fault, witness={"layer": i})
        if layer.edges != edges:
            reason = f"layer {i} has {counted(layer.edges, 'edge')} instead of {edges:,}"
            return _result(verdict=Verdict.FAILS, reason=reason, witness={"layer": i})
    return _result(verdict=Verdict.HOLDS, reason="every layer is in canonical form")


def _fingerprint(net: Topology, computed: str) -> CheckResult:
    if net.recorded_fingerprint is None:
        return _result(verdict=Verdict.HOLDS, reason="no fingerprint is recorded")
    if reason := fingerprint_error(net, computed):
        return _result(verdict=Verdict.FAILS, reason=reason)
    return _result(verdict=Verdict.HOLDS, reason="the recorded fingerprint is right")


def _recipe(net: Topology) -> CheckResult:
    if net.recipe is None:
        return _result(verdict=Verdict.HOLDS, reason="no recipe is recorded")
    try:
        return _compared(net, from_recipe(net.recipe))
    except OutsideRecipeError as error:
        return _result(verdict=Verdict.HOLDS, reason=f"its recipe cannot be rebuilt: {error}")
    except InvalidSpecError as error:
        return _result(verdict=Verdict.FAILS, reason=f"the recipe describes no network: {error}")
    except TooLargeError as error:
        return _result(verdict=Verdict.UNDECIDED, reason=f"the recipe cannot be carried out: {error}")


def _compared(net: Topology, spec: Spec) -> CheckResult:
    """Widths first and edge counts next: a recipe for some other, huge network is refused before it is carried out."""
    if net.widths != spec.widths:
        return _result(verdict=Verdict.FAILS, reason="the recipe describes a network of other widths")
    for i, (edges, described) in enumerate(zip(net.layer_edges, spec.layer_edges, strict=True)):
        if edges != described:
            small = described <= 2 * edges + SPARE_EDGES
            witness = _difference(i, net.layer(i), spec.layer(i)) if small else {"layer": i}
            reason = f"layer {i} has {counted(edges, 'edge')}, but {described:,} by the recipe"
            return _result(verdict=Verdict.FAILS, reason=reason, witness=witness)
    for i, (layer, described_layer) in enumerate(zip(net.stream(), spec.stream(), strict=True)):
        witness = _difference(i, layer, described_layer)
        if witness:
            edge = f"the edge from {witness['source']} to {witness['target']} of layer {i}"
            reason = f"{edge} is not in the recipe" if witness["in_net"] else f"{edge} is in the recipe only"
            return _result(verdict=Verdict.FAILS, reason=reason, witness=witness)
    return _result(verdict=Verdict.HOLDS, reason="its recipe gives the same edges")


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
