"""Which weights are edges, which weights are layers and in which order; against loops over the weights."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

import topokit as tk
from topokit import csr
from topokit.errors import InvalidGraphError, InvalidSpecError, TooLargeError
from topokit.extraction import Rule, select
from topokit.extraction.weights import from_arrays

A, B = np.array([[0.0, 1.5], [-2.0, 0.0], [0.0, 0.1]]), np.array([[1.0, -1.0, 0.5]])
LAYERS = {"fc1.weight": A, "fc2.weight": B}


def dense(net):
    return [layer.to_dense().T.astype(int).tolist() for layer in net.stream()]


@pytest.mark.parametrize(
    ("rule", "first", "second"),
    [
        ({}, [[0, 1], [1, 0], [0, 1]], [[1, 1, 1]]),
        ({"rule": "nonzero"}, [[0, 1], [1, 0], [0, 1]], [[1, 1, 1]]),
        ({"above": 0.5}, [[0, 1], [1, 0], [0, 0]], [[1, 1, 0]]),
        ({"above": 0}, [[0, 1], [1, 0], [0, 1]], [[1, 1, 1]]),
        ({"keep": 1 / 3}, [[0, 1], [1, 0], [0, 0]], [[1, 0, 0]]),
        ({"keep": "1/3", "scope": "global"}, [[0, 1], [1, 0], [0, 0]], [[1, 0, 0]]),
        ({"keep": "4/9", "scope": "global"}, [[0, 1], [1, 0], [0, 0]], [[1, 1, 0]]),
        ({"keep": "99/100"}, [[0, 1], [1, 0], [0, 1]], [[1, 1, 1]]),  # what is 0 is never kept
    ],
)
def test_what_each_rule_keeps(rule, first, second):
    assert dense(tk.extract(LAYERS, **rule)) == [first, second]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_the_largest_are_kept_and_of_equal_ones_the_first(data):
    """An oracle that sorts all weights by size, then by layer, output and input."""
    shapes = {"a": (3, 4), "b": (5, 3)}
    values = st.integers(-3, 3)
    arrays = {
        name: np.array(data.draw(st.lists(values, min_size=m * n, max_size=m * n)), float).reshape(m, n)
        for name, (m, n) in shapes.items()
    }
    scope = data.draw(st.sampled_from(["layer", "global"]))
    share = Fraction(data.draw(st.integers(1, 26)), 27)
    expected = set()
    for group in [["a", "b"]] if scope == "global" else [["a"], ["b"]]:
        cells = [(name, at) for name in group for at in np.ndindex(shapes[name])]
        order = sorted(cells, key=lambda cell: (-abs(arrays[cell[0]][cell[1]]), cell))
        expected |= {cell for cell in order[: round(share * len(cells))] if arrays[cell[0]][cell[1]]}
    if {name for name, _ in expected} != {"a", "b"}:
        with pytest.raises(InvalidGraphError, match="none of the"):
            tk.extract(arrays, keep=str(share), scope=scope)
        return
    found = select(from_arrays(arrays), Rule(keep=share, scope=scope)).masks
    assert {(name, at) for name in shapes for at in np.ndindex(shapes[name]) if found[name][at]} == expected


def test_a_threshold_is_compared_exactly():
    tenth = np.full((1, 2), 0.1, np.float32)  # a little more than .1
    assert tk.extract({"a": tenth}, above=0.1).edges == 2
    with pytest.raises(InvalidGraphError, match=r"none of the 2 weights of a is kept, of which the largest is 0.1"):
        tk.extract({"a": tenth.astype(np.float64) * 0 + 0.1}, above=0.1)


def test_pairs_of_prune_are_weights_and_their_masks():
    pair = {
        "fc.weight_orig": np.array([[1.0, 0.0], [5.0, np.nan]]),
        "fc.weight_mask": np.array([[1.0, 1.0], [0.0, 0.0]]),
        "fc.bias_orig": np.ones(2),
        "fc.bias_mask": np.ones(2),
        "norm.weight": np.ones(2),
    }
    assert dense(tk.extract(pair)) == [[[1, 1], [0, 0]]]  # the mask decides, even where the weight is 0
    assert dense(tk.extract(pair, rule="nonzero")) == [[[1, 0], [0, 0]]]
    assert dense(tk.extract(pair, above=0.5)) == [[[1, 0], [0, 0]]]  # what is masked out is 0
    beside = {"fc.weight": pair["fc.weight_orig"], "fc.weight_mask": pair["fc.weight_mask"]}
    assert dense(tk.extract(beside)) == [[[1, 1], [0, 0]]]
    assert dense(tk.extract({"x_mask": np.eye(2)})) == [[[1, 0], [0, 1]]]
    with pytest.raises(InvalidGraphError, match="has a mask, but no weights"):
        tk.extract({"x_mask": np.eye(2)}, above=1)
    with pytest.raises(InvalidGraphError, match="fc has no mask"):
        tk.extract({"fc": np.eye(2)}, rule="mask")
    with pytest.raises(InvalidGraphError, match=r"shape 2 x 1, but its weights have 2 x 2"):
        tk.extract({**beside, "fc.weight_mask": np.ones((2, 1))})
    with pytest.raises(InvalidGraphError, match="values other than 0 and 1"):
        tk.extract({"fc.weight": np.ones((2, 2)), "fc.weight_mask": np.full((2, 2), 2)})


@pytest.mark.parametrize(
    "rule", [{}, {"rule": "nonzero"}, {"above": 1}, {"keep": 0.5}, {"keep": 0.5, "scope": "global"}]
)
def test_weights_that_are_no_numbers_are_refused_under_every_rule(rule):
    broken = {**LAYERS, "fc2.weight": np.array([[1.0, np.nan, 2.0]])}
    with pytest.raises(InvalidGraphError, match=r"fc2.weight has NaN in 1 of its weights, the first at \[0, 1\]"):
        tk.extract(broken, **rule)
    with pytest.raises(InvalidGraphError, match="real numbers"):
        tk.extract({"a": A.astype(complex)}, **rule)


def test_a_mask_over_weights_that_are_no_numbers_is_refused():
    weights = {"fc.weight": np.array([[np.nan, 1.0]]), "fc.weight_mask": np.array([[1, 0]])}
    with pytest.raises(InvalidGraphError, match=r"fc.weight has NaN"):
        tk.extract(weights)
    assert tk.extract({**weights, "fc.weight_mask": np.array([[0, 1]])}).edges == 1


def test_a_mask_may_be_empty_but_no_rule_may_empty_a_layer():
    assert tk.extract({"a": A, "a_mask": np.zeros((3, 2))}).edges == 0
    with pytest.raises(InvalidGraphError, match=r"none of the 6 weights of a is kept, .* is 0: .* omit the layer"):
        tk.extract({"a": A * 0})
    with pytest.raises(InvalidGraphError, match=r"none of the 6 weights of fc1.weight is kept"):
        tk.extract(LAYERS, keep=0.01)
    with pytest.raises(InvalidGraphError, match=r"weights of fc2.weight is kept, .* a larger keep"):
        tk.extract(LAYERS, keep=0.2, scope="global")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"keep": 0}, "keep must be more than 0"),
        ({"keep": 1}, "less than 1, not 1: omit it"),
        ({"keep": "-1/2"}, "more than 0"),
        ({"keep": "nan"}, "keep must be numbers"),
        ({"above": -0.1}, "at least 0, not -0.1"),
        ({"above": float("nan")}, "at least 0, not nan"),
        ({"above": float("inf")}, "at least 0, not inf"),
        ({"above": 1, "keep": 0.5}, "above and keep are two rules"),
        ({"rule": "mask", "keep": 0.5}, "rule and keep are two rules"),
        ({"rule": "magnitude"}, "must be one of mask, nonzero"),
        ({"scope": "global"}, "for keep only"),
        ({"keep": 0.5, "scope": "net"}, "layer, global"),
        ({"conv": "filter"}, "by channel or by weight"),
    ],
)
def test_rules_that_make_no_sense(rule, said):
    with pytest.raises(InvalidSpecError, match=said):
        tk.extract(LAYERS, **rule)


NAMES = {
    "block.fc1.weight": np.ones((4, 6)),
    "block.fc1.bias": np.ones(4),
    "block.fc2.weight": np.ones((2, 4)),
    "table": np.ones((9, 9)),
    "cube.weight": np.ones((2, 2, 2)),
}


@pytest.mark.parametrize(
    ("layers", "widths"),
    [
        ((), (6, 4, 2)),
        (("block.fc2",), (4, 2)),
        (("block.fc2.weight",), (4, 2)),
        (("table",), (9, 9)),
        (("block.*",), (6, 4, 2)),
        (("*fc1", "*fc2.weight"), (6, 4, 2)),
        (("*fc2", "*fc1"), (6, 4, 2)),  # patterns leave the order to the shapes
        (("block.fc1", "block.fc1"), (6, 4)),
    ],
)
def test_layers_by_name_and_by_pattern(layers, widths):
    assert tk.extract(NAMES, layers=layers).widths == widths


def test_layers_that_are_not_there():
    with pytest.raises(
        InvalidSpecError, match=r"no layer is named fc9: the weights are block.fc1.weight 4 x 6, .*table 9 x 9"
    ):
        tk.extract(NAMES, layers=["fc9"])
    with pytest.raises(InvalidSpecError, match="no tensor has 2 dimensions"):
        tk.extract({"bias": np.ones(3)})
    with pytest.raises(InvalidSpecError, match=r"the edges of the sparse layers fc1 are not in this file"):
        tk.extract({"fc1.values": np.ones(3), "fc1.digest": np.ones(32), "fc2.weight": np.eye(2)})


def test_other_weights_are_named():
    (note,) = tk.extract(NAMES, above=0.5).notes
    assert note == "not extracted: table 9 x 9; to extract them, select all layers by name"
    assert not tk.extract(NAMES, layers=["block.*"], above=0.5).notes
    assert not tk.extract({"a": np.eye(2), "b": np.eye(2)}).notes  # nothing is called weight, so all are taken


@pytest.mark.parametrize("weights", ["model.pt", [np.eye(2)]])
def test_weights_are_a_dictionary(weights):
    with pytest.raises(InvalidSpecError, match=rf"not {type(weights).__name__}: use topokit_train.read_weights.FILE."):
        tk.extract(weights)


def test_what_numpy_does_not_read_says_how_to_convert_it():
    torch = pytest.importorskip("torch")
    weight = torch.tensor([[1.0, 0.0], [0.5, 2.0]])
    assert tk.extract({"fc.weight": torch.nn.Parameter(weight)}).edges == 3
    sparse = csr_array(weight.numpy())
    for values in (weight.bfloat16(), weight.to_sparse(), weight.to("meta"), sparse, [[1], [1, 2]]):
        with pytest.raises(InvalidSpecError, match=r"not read fc.weight \(.*\): give a dense array") as raised:
            tk.extract({"fc.weight": values})
        assert len(str(raised.value)) < 300
    assert tk.extract({"fc.weight": weight.bfloat16().cpu().float()}).edges == 3


def ones(**shapes):
    return {name: np.ones(shape) for name, shape in shapes.items()}


def test_the_order_is_the_only_one_in_which_the_shapes_chain():
    net = tk.extract(ones(hidden=(5, 7), input=(7, 6), out=(3, 5)))
    assert net.widths == (6, 7, 5, 3)
    assert net.names == ("input", "hidden", "out")
    assert any("input, hidden, out" in note for note in net.notes)
    assert tk.extract(ones(b=(4, 4), a=(4, 4))).widths == (4, 4, 4)  # as given, where that is a chain
    convolutional = ones(classifier=(10, 60), conv2=(20, 8, 3, 3), conv1=(8, 1, 3, 3))
    assert tk.extract(convolutional).widths == (1, 8, 20, 10)


def test_no_order_and_several_orders_are_refused():
    with pytest.raises(InvalidSpecError, match=r"b \(6 x 4\) cannot follow a \(5 x 7\). Shapes: a 5 x 7, b 6 x 4."):
        tk.extract(ones(a=(5, 7), b=(6, 4)))
    with pytest.raises(InvalidSpecError, match=r"do not chain \(conv weight\): conv2 .* with conv channel"):
        tk.extract(ones(conv1=(8, 1, 3, 3), conv2=(20, 8, 3, 3)), conv="weight")
    with pytest.raises(InvalidSpecError, match=r"more than one order .* layers a,"):
        tk.extract(ones(h1=(4, 4), a=(4, 6), h2=(4, 4), z=(4, 4)) | ones(h1=(4, 4)), layers=["h1*", "a*", "h2*", "z*"])
    with pytest.raises(InvalidSpecError, match=r"b .* cannot follow"):  # names give the order
        tk.extract(ones(a=(5, 7), b=(7, 6)), layers=["a", "b"])
    many = {"first": np.ones((3, 2)), "last": np.ones((2, 3))} | {f"l{i}": np.ones((3, 3)) for i in range(30)}
    with pytest.raises(InvalidSpecError, match=r"more than one order .* and 20 more"):
        tk.extract(many)


def test_an_order_that_is_not_found_soon_is_not_said_to_be_one_of_several():
    one_way = {f"l{i}": np.ones((2, 2)) for i in range(30)} | {"first": np.ones((2, 3))}
    none = {f"l{i}": np.ones((i % 5 + 2, i % 7 + 2)) for i in range(30)}
    for layers in (one_way, none):
        with pytest.raises(InvalidSpecError, match=r"does not show in which order .*: name the layers in order"):
            tk.extract(layers)


def test_a_dense_model_is_pointed_out_and_memory_is_asked_for_first(monkeypatch):
    assert "no weight of fc2.weight is 0" in tk.extract(LAYERS).notes[0]
    monkeypatch.setattr(csr.psutil, "virtual_memory", lambda: type("Free", (), {"available": 100}))
    with pytest.raises(TooLargeError, match="extraction needs"):
        tk.extract(LAYERS)
