"""Which layer fills which weight: by names, by shapes in order, by patterns."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit import Bernoulli, RadixNet
from topokit.errors import InvalidGraphError, InvalidSpecError
from topokit.masking import from_masks
from topokit.placement.filling import fill
from topokit.placement.filling import named as named_nets
from topokit.placement.placing import Place, place
from topokit.placement.weights import Weight
from topokit.topologies import Topology

LENET = {"fc1.weight": (300, 784), "fc2.weight": (100, 300), "fc3.weight": (10, 100)}
SQUARE = Topology.from_dense([np.eye(6)])


def weights(shapes):
    return {name: Weight(shape) for name, shape in shapes.items()}


def layers(nets, shapes, names=None):
    """{weight: (topology, layer)} of what `place` says."""
    return {name: (where.net, where.layer) for name, where in place(nets, weights(shapes), names).items()}


def complete(*widths):
    return Topology.from_dense([np.ones((a, b)) for a, b in pairwise(widths)])


def named(*names):
    return from_masks({name: np.eye(6) for name in names})


@pytest.mark.parametrize(
    ("widths", "shapes", "filled"),
    [
        ((784, 300, 100), LENET, {"fc1.weight": 0, "fc2.weight": 1}),
        ((784, 300, 100, 10), LENET, {"fc1.weight": 0, "fc2.weight": 1, "fc3.weight": 2}),
        ((300, 100), LENET, {"fc2.weight": 0}),
        ((100, 10), LENET, {"fc3.weight": 0}),
        ((6, 6, 6), {"a": (6, 6), "b": (6, 6), "c": (6, 6)}, {"a": 0, "b": 1}),
        ((5, 6, 7), {"a": (6, 5), "b": (6, 6), "c": (7, 6)}, {"a": 0, "c": 1}),
    ],
)
def test_layers_take_the_weights_of_their_shape_in_order(widths, shapes, filled):
    assert layers([complete(*widths)], shapes) == {name: (0, i) for name, i in filled.items()}


@pytest.mark.parametrize(
    ("widths", "layer", "advice"),
    [
        ((800, 300, 100), 0, "crop=784,300,100 fits"),
        ((784, 300, 101), 1, "crop=784,300,100 fits"),
        (
            (64, 300, 100),
            0,
            "784 inputs (topokit fit '784-300-100 at 0 %' proposes such networks), or data and a model with 64",
        ),
        ((784, 320, 100, 10), 0, "crop=784,300,100,10 fits"),
        ((300, 200), 0, "crop=300,100 fits"),
        ((100, 784), 0, "crop=100,10 fits"),
        ((64, 64, 64), 0, "no crop of it fits: give layers of these shapes, in this order"),
        ((784, 300, 100, 10, 10), 3, "no crop of it fits: give layers of these shapes, in this order"),
        ((784, 784), 0, "crop=784,300 fits"),
    ],
)
def test_a_layer_without_a_weight_says_which_crop_would_fit(widths, layer, advice):
    with pytest.raises(InvalidSpecError) as raised:
        place([complete(*widths)], weights(LENET))
    message = str(raised.value)
    assert f"layer {layer} is {widths[layer]} -> {widths[layer + 1]}, but" in message
    assert "fc1.weight 784 -> 300, fc2.weight 300 -> 100, fc3.weight 100 -> 10" in message
    assert message.endswith(advice)


def test_a_crop_is_of_weights_that_follow_each_other():
    with pytest.raises(InvalidSpecError, match="no crop"):
        place([complete(9, 9, 9)], weights({"a": (5, 4), "b": (3, 2)}))


THREE = {f"fc{k}.weight": (6, 6) for k in (1, 2, 3)}


def test_names_that_the_model_knows_decide():
    assert layers([named("fc3", "fc1.weight")], THREE) == {"fc1.weight": (0, 1), "fc3.weight": (0, 0)}
    # a topology whose names do not decide takes what is free, though it comes first
    assert layers([SQUARE, named("fc1.weight")], THREE) == {"fc1.weight": (1, 0), "fc2.weight": (0, 0)}
    assert layers([SQUARE, named("elsewhere")], THREE) == {"fc1.weight": (0, 0), "fc2.weight": (1, 0)}
    assert layers([named("fc1", "fc2")], THREE, names=["fc3", "fc2"]) == {"fc2.weight": (0, 1), "fc3.weight": (0, 0)}


@pytest.mark.parametrize(
    ("nets", "shapes", "names", "said"),
    [
        ([named("fc2", "fc9")], THREE, None, r"layers for fc2 and fc9; .* the model has no fc9: did you mean fc"),
        ([named("fc2")], {"fc2.weight": (5, 7)}, None, r"layer 0 is 6 -> 6.*\(fc2.weight 7 -> 5\).*the names of its"),
        ([named("fc2"), named("fc2.weight")], THREE, None, "two layers are for fc2.weight"),
        ([SQUARE], THREE, ["fc4"], "no weight named 'fc4' that a topology can fill: did you mean fc"),
        ([SQUARE], THREE, [], "there is no weight that a topology can fill, or"),
        ([3], THREE, None, "must be a topology, not int"),
    ],
)
def test_names_that_do_not_decide_are_refused(nets, shapes, names, said):
    with pytest.raises(InvalidSpecError, match=said):
        place(nets, weights(shapes), names)


def test_a_linear_layer_behind_a_convolution_takes_channels():
    shapes = {"conv.weight": (5, 2, 3, 3), "fc.weight": (4, 20)}
    net = Bernoulli(widths=(2, 5, 4), density=".5", seed=1).build()
    assert place([net], weights(shapes)) == {"conv.weight": Place(0, 0), "fc.weight": Place(0, 1, (5, 2, 3, 3))}
    filled = fill(net, weights(shapes))["fc.weight"][0].to_dense()
    for channel in range(5):
        for feature in range(4):
            assert np.array_equal(filled[4 * channel + feature], net.layer(1).to_dense()[channel])
    with pytest.raises(InvalidSpecError, match="no remaining weight"):  # alone, it could be of anything
        place([Bernoulli(widths=(5, 4), density=".5", seed=1)], weights({"fc.weight": (4, 20)}))


MODEL = {
    "blocks.0.mlp.0.weight": Weight((8, 6)),
    "blocks.0.mlp.2.weight": Weight((6, 8)),
    "blocks.1.mlp.0.weight": Weight((8, 6)),
    "blocks.1.mlp.2.weight": Weight((6, 8)),
    "conv.weight": Weight((4, 3, 2, 2), groups=2),
    "volume.weight": Weight((4, 3, 2, 2, 2), only_by_name=True),
    "token.weight": Weight((9, 6), only_by_name=True, obstacle="belongs to an Embedding"),
}
UP = Bernoulli(widths=(6, 8), density=".5", seed=0)


def test_patterns_give_all_that_match_the_same_edges():
    filled = fill({"blocks.*.mlp.0": UP, "blocks.1.mlp.2.weight": np.ones((6, 8))}, MODEL)
    assert {name: source for name, (_, source) in filled.items()} == {
        "blocks.0.mlp.0.weight": "layer 0",
        "blocks.1.mlp.0.weight": "layer 0",
        "blocks.1.mlp.2.weight": "mask",
    }
    assert all((filled[f"blocks.{k}.mlp.0.weight"][0].to_dense() == UP.layer(0).to_dense()).all() for k in (0, 1))
    deep = Bernoulli(widths=(6, 8, 6), density=".5", seed=0)
    one = fill({"blocks.1.*": deep}, MODEL)
    assert [*one] == ["blocks.1.mlp.0.weight", "blocks.1.mlp.2.weight"]
    assert [*fill({"blocks.0.mlp.0": UP.layer(0)}, MODEL)] == ["blocks.0.mlp.0.weight"]
    assert fill({"volume": np.ones((4, 3, 2, 2, 2))}, MODEL)["volume.weight"][0].edges == 96


@pytest.mark.parametrize(
    ("wanted", "error", "said"),
    [
        ({}, InvalidSpecError, "an empty mapping"),
        ({"layers.*": UP}, InvalidSpecError, "the pattern 'layers.*' matches no weight: the model has blocks.0"),
        ({"block.0.mlp.0": UP}, InvalidSpecError, "did you mean blocks.0.mlp.0"),
        ({"blocks.*": UP}, InvalidSpecError, "matches blocks.0.mlp.2.weight, which takes a layer 8 -> 6, not 6 -> 8"),
        ({"blocks.*.0": UP, "*1.mlp.0": UP}, InvalidSpecError, "both match blocks.1.mlp.0.weight"),
        ({"token": np.ones((9, 6))}, InvalidSpecError, "token.weight belongs to an Embedding"),
        ({"conv": np.ones((4, 3))}, InvalidSpecError, "has the shape 4 x 3, but its weight has 4 x 3 x 2 x 2"),
        ({"blocks.0.mlp.0": np.full((8, 6), 0.5)}, InvalidGraphError, "values other than 0 and 1"),
        ({"blocks.0.mlp.0": "radix"}, InvalidSpecError, "family or transform 'radix': did you mean radix-net"),
        ({"blocks.0.mlp.0": None}, InvalidSpecError, "must be given"),
    ],
)
def test_mappings_that_are_refused(wanted, error, said):
    with pytest.raises(error, match=said):
        fill(wanted, MODEL)


def test_a_mapping_has_names_already():
    with pytest.raises(InvalidSpecError, match="a mapping has names already"):
        fill({"conv": np.ones((4, 3, 2, 2))}, MODEL, names=["conv"])


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_mask_is_the_mask_of_its_layer(data):
    """In groups too: the sources are all input channels, and each target's are those of its group."""
    groups, out, into, rows, columns = (data.draw(st.integers(1, 3)) for _ in range(5))
    shape = data.draw(st.sampled_from([(out * groups, into, rows, columns), (out, into)]))
    weight = Weight(shape, groups if len(shape) > 2 else 1)
    mask = np.random.default_rng(data.draw(st.integers(0, 99))).random(shape) < 0.5
    layer = weight.layer(mask, "w")
    assert layer.fault("the layer") is None
    assert layer.shape in weight.readings()
    assert np.array_equal(weight.mask(layer), mask)


def test_an_edge_across_groups_is_refused():
    weight = Weight((4, 2, 3, 3), groups=2)
    inside = np.kron(np.eye(2), np.ones((2, 2)))  # (sources, targets) by channel
    assert weight.mask(Topology.from_dense([inside]).layer(0)).all()
    with pytest.raises(InvalidSpecError, match="edges join two groups, the first one source"):
        weight.mask(Topology.from_dense([np.ones((4, 4))]).layer(0))


def test_descriptions_take_the_widths_of_each_weight():
    filled = fill({"blocks.*": "bernoulli density=.5 seed=3"}, MODEL)
    assert [layer.shape for layer, _ in filled.values()] == [(6, 8), (8, 6), (6, 8), (8, 6)]
    first, again = (filled[f"blocks.{k}.mlp.0.weight"][0] for k in (0, 1))
    assert not np.array_equal(first.to_dense(), again.to_dense())  # number j is drawn from the seed and j
    assert np.array_equal(first.to_dense(), Bernoulli(widths=(6, 8), density=".5", seed=3).layer(0).to_dense())
    same = fill({"blocks.*.mlp.0": "bernoulli widths=6,8 density=.5 seed=3"}, MODEL)
    assert np.array_equal(*(layer.to_dense() for layer, _ in same.values()))
    whole = fill("bernoulli widths=8,6,8 density=.5 seed=3", {"fc.weight": Weight((6, 8)), "up": Weight((8, 6))})
    assert [*whole] == ["fc.weight", "up"]


def test_an_allocation_divides_one_density_among_all_that_match():
    wide = {"a": Weight((30, 784)), "b": Weight((10, 30))}
    filled = fill({"*": "bernoulli density=.1 allocation=erk seed=0"}, wide)
    densities = [layer.edges / np.prod(layer.shape) for layer, _ in filled.values()]
    assert densities[0] < 0.12 < densities[1]
    total = sum(layer.edges for layer, _ in filled.values()) / (784 * 30 + 300)
    assert abs(total - 0.1) < 0.02


def test_a_mapping_as_named_topologies_is_placed_where_it_says():
    nets = named_nets({"blocks.1.mlp.0": UP, "blocks.0.mlp.2": np.eye(6, 8)}, MODEL)
    assert [net.names for net in nets] == [("blocks.0.mlp.2.weight",), ("blocks.1.mlp.0.weight",)]
    assert place(nets, MODEL).keys() == {"blocks.0.mlp.2.weight", "blocks.1.mlp.0.weight"}
    assert nets[1].recipe == UP.recipe


def test_a_topology_given_twice_names_the_weight_that_has_one():
    net = RadixNet(radices=[(2, 3)])
    weights = {"fc1.weight": Weight((6, 6)), "fc2.weight": Weight((6, 6)), "fc3.weight": Weight((4, 6))}
    with pytest.raises(InvalidSpecError, match=r"^layer 0 is 6 -> 6, but another topology fills fc1.weight already"):
        place([net, net], weights)
