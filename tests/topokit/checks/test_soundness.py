"""Soundness: the form of the layers, the recorded fingerprint, the recipe carried out again."""

from unittest.mock import Mock

import numpy as np
import pytest

from topokit.checks import Verdict
from topokit.checks.soundness import soundness
from topokit.csr import Storage
from topokit.errors import TooLargeError
from topokit.families.radix_net import RadixNet
from topokit.layered import Layer
from topokit.topologies import Topology, fingerprint

NET = RadixNet(radices=[(2, 3), (6,)], kron=(1, 2, 1, 2))
EXTRACTED = {"extraction": "torch", "options": {"file": "model.pt", "sha256": "ab" * 32, "rule": "nonzero"}}


def topology(layers=None, *, recipe=NET.recipe, recorded=None, **about):
    layers = NET.build().stream() if layers is None else Topology.from_dense(layers).stream()
    return Topology(layers, recipe=recipe, recorded_fingerprint=recorded, **about)


def recipe(**options):
    return {"family": "radix-net", "options": {**NET.recipe["options"], **options}}


def dense(net=NET):
    return [layer.to_dense() for layer in net.stream()]


def test_what_was_possible_is_said():
    assert soundness(NET).reason == "every layer is in canonical form"
    assert soundness(NET).values == {"fingerprint": None}
    found = soundness(topology(recorded=fingerprint(NET)))
    assert found.verdict is Verdict.HOLDS
    assert found.reason == (
        "every layer is in canonical form; the recorded fingerprint is right; its recipe gives the same edges"
    )
    assert found.values == {"fingerprint": fingerprint(NET)}
    found = soundness(topology(recipe=None))
    assert found.verdict is Verdict.HOLDS
    assert found.reason == "every layer is in canonical form; no fingerprint is recorded; no recipe is recorded"


def test_another_recorded_fingerprint_fails():
    found = soundness(topology(recorded=fingerprint(RadixNet(radices=[(2, 2)]))))
    assert found.verdict is Verdict.FAILS
    assert "is recorded" in found.reason
    assert found.values["fingerprint"] == fingerprint(NET)


@pytest.mark.parametrize("layer", range(3))
def test_a_moved_edge_is_named(layer):
    layers, original = dense(), dense()
    if layer == 2:  # the last layer is complete: only taking an edge away is possible
        layers[2][5, 11] = False
    else:
        free = np.flatnonzero(~layers[layer][3])[-1]
        layers[layer][3, np.flatnonzero(layers[layer][3])[0]] = False
        layers[layer][3, free] = True
    found = soundness(topology(layers, recorded=fingerprint(NET)))
    assert found.verdict is Verdict.FAILS
    witness = found.witness
    place = witness["source"], witness["target"]
    assert witness["layer"] == layer
    assert layers[layer][place] == witness["in_net"] != original[layer][place] == witness["in_recipe"]
    assert "recorded" in found.reason  # the wrong fingerprint is named beside the edge


@pytest.mark.parametrize("added", [True, False])
def test_an_added_or_missing_edge_is_named(added):
    layers = dense()
    places = np.argwhere(layers[1] != added)
    for source, target in (places[0], places[-1]):
        layers = dense()
        layers[1][source, target] = added
        found = soundness(topology(layers))
        witness = found.witness
        assert (witness["layer"], witness["source"], witness["target"]) == (1, source, target)
        assert (witness["in_net"], witness["in_recipe"]) == (added, not added)
        assert "layer 1 has" in found.reason


OF_AN_EXTRACTION = "a recipe of an extraction holds"


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"family": "radix-net"}, ""),
        ({"family": "no-such-family", "options": {}}, ""),
        ({"family": "radix-net", "options": {"radices": [[1, 2]]}}, ""),
        ({"family": "radix-net", "options": {"radices": "2,2", "colour": "red"}}, ""),
        ([], ""),
        ({"extraction": "torch"}, OF_AN_EXTRACTION),
        ({"extraction": "torch", "options": {"file": "model.pt"}}, OF_AN_EXTRACTION),
        ({"extraction": "torch", "options": {"file": "model.pt", "sha256": "AB" * 32}}, OF_AN_EXTRACTION),
        ({"extraction": "torch", "options": {"file": 7, "sha256": "ab" * 32}}, OF_AN_EXTRACTION),
        ({"extraction": "torch", "options": []}, OF_AN_EXTRACTION),
        ({**EXTRACTED, "family": "radix-net"}, OF_AN_EXTRACTION),
    ],
)
def test_a_malformed_recipe_fails(bad, said):
    found = soundness(topology(recipe=bad))
    assert (found.verdict, found.witness) == (Verdict.FAILS, None)
    assert found.reason.startswith(f"the recipe describes no network: {said}")


def test_another_direction_fails():
    found = soundness(topology(recipe=recipe(direction=-1)))
    assert found.witness == {"layer": 0, "source": 0, "target": 1, "in_net": True, "in_recipe": False}
    assert found.reason == "the edge from 0 to 1 of layer 0 is not in the recipe"


def never_made(monkeypatch):
    made = Mock(side_effect=AssertionError("a layer was made"))
    monkeypatch.setattr(RadixNet, "arrays", made)


def test_a_recipe_of_other_widths_is_refused_before_a_layer_is_made(monkeypatch):
    net = topology(recipe=recipe(radices=[[30000, 30000]], kron=[1, 2, 1]))
    never_made(monkeypatch)
    found = soundness(net)
    assert (found.verdict, found.reason) == (Verdict.FAILS, "the recipe describes a network of other widths")


def test_a_recipe_of_far_more_edges_is_refused_before_a_layer_is_made(monkeypatch):
    """Equal widths, but 4 million edges instead of 2,048."""
    small = Topology.from_dense([np.eye(2048)])
    complete = {"family": "radix-net", "options": {"radices": [[2048]]}}
    never_made(monkeypatch)
    found = soundness(Topology(small.stream(), recipe=complete))
    assert found.verdict is Verdict.FAILS
    assert found.reason == "layer 0 has 2,048 edges, but 4,194,304 by the recipe"
    assert found.witness == {"layer": 0}


def test_a_recipe_that_does_not_fit_in_memory_is_undecided(monkeypatch):
    net, contradicted = topology(), topology(recorded="0" * 64)
    monkeypatch.setattr(RadixNet, "arrays", Mock(side_effect=TooLargeError("a layer needs 9 GiB")))
    found = soundness(net)
    assert (found.verdict, found.reason) == (
        Verdict.UNDECIDED,
        "the recipe cannot be carried out: a layer needs 9 GiB",
    )
    assert soundness(contradicted).verdict is Verdict.FAILS


def broken(indptr, indices):
    arrays = [np.array(values, np.uint64) for values in (indptr, indices)]
    return Topology([Layer(Storage(*arrays, (2, 3)))])


@pytest.mark.parametrize(
    ("indptr", "indices", "reason"),
    [
        ([0, 2, 3], [1, 0, 2], "out of order"),
        ([0, 2, 3], [1, 1, 2], "twice"),
        ([0, 2, 3], [0, 1, 3], "leads to node 3"),
        ([0, 3, 2], [0, 1, 2], "indptr decreases"),
    ],
)
def test_layers_out_of_canonical_form_fail(indptr, indices, reason):
    found = soundness(broken(indptr, indices))
    assert found.verdict is Verdict.FAILS
    assert reason in found.reason
    assert found.witness == {"layer": 0}
    assert found.values == {"fingerprint": None}


def test_other_edge_counts_than_announced_fail():
    class Boastful(Topology):
        layer_edges = (9, 9)

    found = soundness(Boastful(RadixNet(radices=[(2, 2)]).build().stream()))
    assert found.verdict is Verdict.FAILS
    assert found.reason == "layer 0 has 8 edges instead of 9"


@pytest.mark.parametrize(
    "outside",
    [
        EXTRACTED,
        {"transform": "reverse", "options": {"of": EXTRACTED}},
        {"family": "regular", "options": {"like": EXTRACTED, "seed": 1}},
    ],
)
def test_a_recipe_that_begins_with_a_file_of_weights_cannot_be_rebuilt(outside):
    found = soundness(topology(recipe=outside, recorded=fingerprint(NET)))
    assert found.verdict is Verdict.HOLDS
    assert found.reason == (
        "every layer is in canonical form; the recorded fingerprint is right; "
        "its recipe cannot be rebuilt: it was extracted from 'model.pt' (SHA-256 abababababab...)"
    )
    assert soundness(topology(recipe=outside, recorded="0" * 64)).verdict is Verdict.FAILS
