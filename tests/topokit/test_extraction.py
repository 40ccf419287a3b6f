"""Which weights are edges, which weights are layers and in which order; against loops over the weights."""

import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

import topokit as tk
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
    signalling = np.array([[0, 0x7FA00000, 0]], np.uint32).view(np.float32)
    with pytest.raises(InvalidGraphError, match=r"fc2.weight has NaN in 1 of its weights, the first at \[0, 1\]"):
        tk.extract({**LAYERS, "fc2.weight": signalling})
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
        ({"above": -0.1}, "from 0 on, not -0.1"),
        ({"above": float("nan")}, "from 0 on, not nan"),
        ({"above": float("inf")}, "from 0 on, not inf"),
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
    "cube": np.ones((2, 2, 2)),
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
        (("block.fc*", "block.fc2"), (6, 4, 2)),
        (("block.fc1", "block.fc1@in-out"), (6, 4, 6)),
        (("block.fc1", "block.fc1@in-out", "block.fc1", "block.fc2"), (6, 4, 6, 4, 2)),
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
    left, _ = tk.extract(NAMES, above=0.5).notes
    assert left == "not extracted: table 9 x 9, cube 2 x 2 x 2; to extract them, select all layers by name"
    assert len(tk.extract(NAMES, layers=["block.*"], above=0.5).notes) == 1
    assert len(tk.extract({"a": np.eye(2), "b": np.eye(2)}).notes) == 1  # nothing is called weight, so all are taken


def test_what_is_assumed_is_said():
    (note,) = tk.extract(NAMES, layers=["block.*"], above=0.5).notes
    assert note == (
        "assumed, as arrays do not say it: that the layers are in series, each used once, nothing skipped or permuted. "
        "To be sure, give the model itself, its .pt2 program or its ONNX file"
    )
    assert "permuted; that weights are stored as (out, in). To" in tk.extract(ones(a=(2, 3), b=(3, 2))).notes[-1]
    assert not tk.extract(NAMES, layers=["block.fc1", "block.fc2"], above=0.5).notes  # the user says the order
    assert not tk.extract(NAMES, layers=["block.fc1"], above=0.5).notes
    convolutions = from_arrays({"a": np.ones((4, 3, 3, 3)), "b": np.ones((2, 4, 1, 1))})
    read = [one["read"] for one in select(convolutions, Rule()).layers]
    assert read == [
        "(out, in), assumed to read an image of 3 channels, in 1 group, by channel",
        "(out, in), by channel",
    ]
    assert select(convolutions, Rule(), ["a", "b"]).layers[0]["read"] == "(out, in), by channel"


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


def without_order(arrays):
    """The weights of a file whose names are sorted, as in safetensors."""
    return replace(from_arrays(dict(sorted(arrays.items()))), order="")


def test_an_order_that_is_given_is_kept_or_refused():
    assert tk.extract(ones(b=(4, 4), a=(4, 4))).names == ("b", "a")
    with pytest.raises(
        InvalidSpecError, match=r"input \(7 x 6\) cannot follow hidden .* choose layers input,hidden,out"
    ):
        tk.extract(ones(hidden=(5, 7), input=(7, 6), out=(3, 5)))
    with pytest.raises(InvalidSpecError, match=r"b \(6 x 4\) cannot follow a \(5 x 7\). Weights: a 5 x 7, b 6 x 4."):
        tk.extract(ones(a=(5, 7), b=(6, 4)))
    with pytest.raises(InvalidSpecError, match=r"b .* cannot follow"):  # names give the order
        tk.extract(ones(a=(5, 7), b=(7, 6)), layers=["a", "b"])


def test_without_an_order_it_is_asked():
    with pytest.raises(InvalidSpecError, match=r"the file has no order.* choose layers input,hidden,out;"):
        tk.extract(without_order(ones(hidden=(5, 7), input=(7, 6), out=(3, 5))))
    autoencoder = {"encoder.0": (6, 12), "encoder.2": (3, 6), "decoder.0": (6, 3), "decoder.2": (12, 6)}
    arrays = {f"{name}.weight": np.ones(shape) for name, shape in autoencoder.items()}
    lines = r"choose layers encoder.0,encoder.2,decoder.0,decoder.2; or layers decoder.0,"
    with pytest.raises(InvalidSpecError, match=rf"the file has no order.* {lines}"):
        tk.extract(without_order(arrays))
    assert tk.extract(without_order(arrays), layers=list(autoencoder)).widths == (12, 6, 3, 6, 12)
    square = ones(input=(4, 4), hidden=(4, 4), output=(4, 4))
    with pytest.raises(InvalidSpecError, match="the file has no order of its layers"):
        tk.extract(without_order(square))


def test_names_that_differ_in_a_number_are_in_its_order():
    arrays = {f"features.{i}.weight": np.ones((4, 4)) for i in (10, 0, 2)} | {"classifier.1.weight": np.ones((2, 4))}
    net = tk.extract(without_order(arrays))
    assert net.names == ("features.0.weight", "features.2.weight", "features.10.weight", "classifier.1.weight")
    assert any("the order of the layers is their numbers" in note for note in net.notes)


def test_kernels_that_are_stored_as_inputs_by_outputs():
    kernels = ones(fc0=(12, 8), fc1=(8, 6))
    kernels["fc0"][3, 5] = 0
    with pytest.raises(InvalidSpecError, match=r"choose layers fc1,fc0; or .*|layers fc0,fc1 and layout in-out"):
        tk.extract(kernels)
    net = tk.extract(kernels, layout="in-out")
    assert (net.widths, net.layer(0).to_dense()[3, 5], net.layer(0).to_dense()[5, 3]) == ((12, 8, 6), 0, 1)
    keras = {f"Dense_{i}.kernel": array for i, array in enumerate(kernels.values())}
    assert tk.extract(without_order(keras)) == net
    gpt2 = {"h.0.mlp.c_fc.weight": np.ones((8, 32)), "h.0.mlp.c_proj.weight": np.ones((32, 8))}
    assert tk.extract(gpt2).widths == (8, 32, 8)
    nano = {name: array.T for name, array in gpt2.items()}
    assert tk.extract(nano).widths == (8, 32, 8)
    flax = {"Conv_0.kernel": np.ones((3, 3, 2, 4)), "Dense_1.kernel": np.zeros((8, 5))}
    flax["Dense_1.kernel"][[1, 5], 2] = 1  # channel 1, at both positions
    with pytest.raises(
        InvalidSpecError, match=r"may be a convolution in groups.*layers Conv_0.kernel@2,Dense_1.kernel"
    ):
        tk.extract(flax)
    net = tk.extract(flax, layers=["Conv_0.kernel", "Dense_1.kernel"])
    assert (net.widths, net.layer(1).sources.tolist(), net.layer(1).targets.tolist()) == ((2, 4, 5), [1], [2])


@pytest.mark.parametrize(
    ("shapes", "asked", "layers", "widths"),
    [
        ({"a": (8, 2, 3, 3), "b": (6, 8, 1, 1)}, "may be a convolution in groups", "a@2,b", (4, 8, 6)),
        ({"a": (6, 3, 3, 3), "dw": (6, 1, 3, 3), "pw": (4, 6, 1, 1)}, "cannot follow", "a,dw@6,pw", (3, 6, 6, 4)),
        ({"a": (16, 8, 2, 2), "b": (8, 1, 2, 2)}, "cannot follow", "a@in-out,b@in-out", (16, 8, 1)),
        ({"a": (8, 3, 3, 3), "b": (8, 8, 2, 2)}, "may be a transposed", "a,b@in-out", (3, 8, 8)),
        ({"a": (4, 3, 3, 3), "fc": (2, 8)}, "may be first or last", "a,fc@last", (3, 4, 2)),
        ({"a": (4, 3, 3), "fc": (2, 4)}, "may be a Conv1d", "a,fc", (3, 4, 2)),
        ({"q_proj": (6, 6), "v_proj": (6, 6), "o": (6, 6)}, "stand beside other layers", "v_proj,o;", (6, 6, 6)),
        ({"wq": (6, 6), "wk": (6, 6), "wv": (6, 6), "o": (2, 6)}, "stand beside other layers", "wv,o;", (6, 6, 2)),
        ({"a": (4, 6), "qkv": (6, 4), "o": (2, 6), "b": (3, 2)}, "qkv.weight stands beside", "qkv,o,b;", (4, 6, 2, 3)),
        ({"a": (4, 3, 3, 3), "b": (4, 2, 2, 2), "c": (3, 4)}, "cannot follow", "a,b@in-out@2,c", (3, 4, 4, 3)),
        ({"a": (6, 2, 3, 3)}, "may be a convolution in groups", "a@3", (6, 6)),
    ],
)
def test_what_arrays_do_not_say_is_asked(shapes, asked, layers, widths):
    arrays = {f"{name}.weight": np.ones(shape) for name, shape in shapes.items()}
    with pytest.raises(InvalidSpecError, match=asked) as raised:
        tk.extract(arrays)
    assert f"layers {layers}" in str(raised.value)
    assert tk.extract(arrays, layers=layers.rstrip(";").split(",")).widths == widths


@pytest.mark.parametrize("name", ["attn.in_proj_weight", "attn.q_proj_weight", "rnn.weight_hh_l0_reverse"])
def test_weights_of_attention_and_lstms_are_not_skipped_silently(name):
    arrays = {"a.weight": np.eye(4), name: np.ones((16, 4)), "out.weight": np.eye(4)}
    with pytest.raises(InvalidSpecError, match=f"{name} stands beside other layers.*layers a,out;"):
        tk.extract(arrays)
    net = tk.extract(arrays, layers=["a", "out"])
    assert (net.widths, len(net.notes)) == ((4, 4, 4), 1)
    assert f"nothing skipped or permuted, though {name} stands beside them" in net.notes[0]
    found = select(from_arrays(arrays), Rule(), chained=False)
    assert {one: mask.shape for one, mask in found.masks.items()} == {one: array.shape for one, array in arrays.items()}


def asked(weights):
    """What an error says, and its lines to choose from."""
    with pytest.raises(InvalidSpecError) as raised:
        tk.extract(weights)
    said, _, lines = str(raised.value).partition(" choose ")
    return said, [line.removeprefix("layers ") for line in lines.partition("; or give")[0].split("; or ")]


def weights_of(shapes):
    return ones(**{f"{name}.weight": shape for name, shape in shapes.items()})


@pytest.mark.parametrize(
    ("arrays", "first", "second"),
    [
        (ones(**{"model.a": (4, 3), "model.b": (3, 4), "ema.a": (4, 3), "ema.b": (3, 4)}), "model", "ema"),
        (ones(**{"ema.a": (4, 3), "ema.b": (3, 4), "net.a": (4, 3), "net.b": (3, 4)}), "net", "ema"),
        (weights_of({f"{tower}.{i}": (4, 4) for tower in ("left", "right") for i in (0, 1)}), "left", "right"),
        (weights_of({f"m.{tower}.h.{i}.fc": (4, 4) for tower in ("one", "two") for i in (0, 1)}), "m.one", "m.two"),
        (
            weights_of({"encoder.fc": (4, 4), "encoder.out": (4, 4), "decoder.fc": (4, 4), "decoder.in": (4, 4)}),
            "encoder",
            "decoder",
        ),
    ],
)
def test_copies_and_towers_are_asked(arrays, first, second):
    said, lines = asked(arrays)
    names = [name.removesuffix(".weight") for name in arrays]
    groups = [[name for name in names if name.startswith(f"{prefix}.")] for prefix in (first, second)]
    in_series = [] if first == "left" else [",".join(names)]  # left and right say that they are parallel
    assert lines[: 2 + len(in_series)] == [",".join(groups[0]), ",".join(groups[1]), *in_series]
    assert first != "left" or ",".join(names) not in lines
    assert re.search(r"may be copies of one layer, or parallel\. Weights", said)
    for group in groups:
        net = tk.extract(arrays, layers=group)
        assert ([name.removesuffix(".weight") for name in net.names], net.notes[1:]) == (group, ())
    assert len(tk.extract(arrays, layers=names)) == 4  # what the user says is certain
    assert tk.extract(arrays, layers=[f"{first}.*"]).widths == tk.extract(arrays, layers=groups[0]).widths
    said, lines = asked(without_order(arrays))
    assert (",".join(groups[0]) in lines, "may be copies of one layer" in said) == (True, True)


@pytest.mark.parametrize(
    ("first", "second", "opposite"),
    [
        ("left", "right", True),
        ("online", "target", False),
        ("policy_net", "value_net", True),
        ("tower_a", "tower_b", False),
    ],
)
def test_towers_of_one_layer_are_asked(first, second, opposite):
    names = [f"{first}.0", f"{second}.0"]
    said, lines = asked(weights_of(dict.fromkeys(names, (4, 4))))
    assert said.startswith(f"{first}.0.weight and {second}.0.weight (4 x 4) may be copies of one layer, or parallel.")
    assert lines == names + [",".join(names)] * (not opposite)
    assert len(tk.extract(weights_of({names[0]: (3, 4), names[1]: (4, 3)}))) == 2  # one reads the other
    said, _ = asked(weights_of({"stem.0": (4, 2), **dict.fromkeys(names, (4, 4)), "out": (2, 4)}))
    assert "may be copies of one layer, or parallel" in said


@pytest.mark.parametrize(
    "beside",
    [
        ("experts.0.fc1", "experts.0.fc2", "experts.1.fc1", "experts.1.fc2"),
        ("moe.experts.up",),
        ("expert0.fc", "expert_1.fc"),
        ("heads.0", "heads.1", "heads.2"),
        ("ensemble.0", "ensemble.1"),
        ("critic1.fc1", "critic1.fc2", "critic2.fc1", "critic2.fc2"),
        ("q1.0", "q2.0"),
        ("fc_mu", "fc_logvar"),
        ("mu", "log_std"),
        ("mean_head", "std_head"),
        ("lin_l", "lin_r"),
        ("fc.lora_A", "fc.lora_B"),
        ("W_xi", "W_hi", "W_xf", "W_hf"),
        ("cell.linear_ih", "cell.linear_hh"),
        ("fwd", "bwd"),
        ("Wq", "Wk", "Wv"),
        ("w_qs", "w_ks", "w_vs"),
        ("q_linear", "k_linear"),
        ("queries", "keys", "values"),
        ("to_queries", "to_kv"),
        ("head1", "head2"),
        ("head_a.fc", "head_b.fc"),
        ("Q1", "Q2"),
        ("expert_a", "expert_b"),
        ("stream1", "stream2"),
        ("ih", "hh"),
        ("i2h", "h2h"),
        ("aux_classifier", "aux.fc"),
        ("advantage", "val"),
        ("fc_adv", "fc_val"),
        ("cls_head", "bbox_head"),
        ("cls_score", "bbox_pred"),
        ("roi.cls_conv", "roi.reg_conv"),
        ("policy_head", "value_head"),
        ("policyHead.a", "valueHead.b"),
        ("heads.cls", "heads.reg"),
        ("heads.depth.a", "heads.normal.b"),
        ("depth_head.a", "normal_head.b"),
        ("b.conv_res",),
        ("b.res_conv",),
        ("b.c_sc",),
        ("film.gamma", "film.beta"),
        ("gamma", "beta"),
        ("film",),
        ("i2h", "h2h", "h2o"),
        ("i2h", "i2o"),
        ("mean", "std"),
        ("left_fc", "right_fc"),
        ("user.fc1", "item.proj"),
        ("path_a", "path_b"),
        ("text_projection", "visual_projection"),
        ("gate",),
        ("se.fc1", "se.fc2"),
        ("fc.adapter.down", "fc.adapter.up"),
        ("time_mlp.0", "time_mlp.2"),
        ("to_qkv",),
        ("tok_emb", "pos_emb"),
        ("token_emb", "segment_emb"),
        ("embeddings.0", "embeddings.1"),
    ],
)
def test_names_of_experts_heads_and_gates_are_asked(beside):
    said, _ = asked(weights_of({"body": (4, 4), **dict.fromkeys(beside, (4, 4))}))
    assert all(f"{name}.weight" in said for name in beside)
    assert re.search("stands? beside other layers", said)
    assert len(tk.extract(weights_of(dict.fromkeys(beside, (4, 4))), layers=list(beside))) == len(beside)


@pytest.mark.parametrize(
    "names",
    [
        ("layers.0", "layers.1"),
        ("blocks.0.fc", "blocks.1.fc"),
        ("body.0", "head"),
        ("body.0", "heads.head"),
        ("fc_in", "fc_hidden", "fc_out"),
        ("encoder.fc", "decoder.head"),
        ("critic.0", "critic.2"),
        ("W_1", "W_2"),
        ("linear_1", "linear_2"),
        ("blocks.0.fc1", "blocks.0.fc2", "blocks.1.fc1", "blocks.1.fc2"),
        ("block1.fc", "block2.fc", "block10.fc"),
        ("hidden", "out"),
        ("features.0", "features.2", "classifier.0"),  # positions alone say little
        ("body", "fc_head"),
        ("body", "cls_head.0", "cls_head.2"),
        ("body", "pre_head", "head"),
        ("body", "pre_head", "cls_head"),
        ("head_fc1", "head_fc2"),
        ("head.pre_logits.fc", "head.out"),
        ("encoder.fc", "heads.pre_logits", "heads.head"),
        ("conv_stem", "conv_head", "classifier"),
        ("projection_head", "prediction_head"),
        ("policy.0", "policy.2"),
        ("actor.0", "actor.2"),
        ("cls.predictions.transform.dense", "cls.predictions.decoder"),
        ("pooler", "classifier.dense", "classifier.out_proj"),
        ("res_conv1", "res_conv2"),
        ("text_proj", "image_decoder"),
        ("res_block.conv1", "residual_block.conv2"),
        ("embed", "fc1", "lm_head"),
        ("tok", "fc1", "fc2"),
        ("position_wise.fc1", "position_wise.fc2"),
        ("W_i", "W_h", "W_o"),
        ("conv3_1", "conv3_2"),
        ("fc1", "fc11", "fc12", "fc13"),
        ("deep_stem", "deep_fc"),
        ("slow_stem", "fast_fc"),
    ],
)
def test_blocks_with_numbers_and_single_layers_are_in_series(names):
    assert len(tk.extract(weights_of(dict.fromkeys(names, (4, 4))))) == len(names)


BRANCHED = [  # layers, the lines to choose from, and those of which a network has two beside each other
    ({"enc": (8, 8), "mu": (8, 8), "logvar": (8, 8), "dec": (8, 8)}, ["enc,mu,dec"], "mu logvar"),
    ({"enc": (8, 20), "mu": (4, 8), "logvar": (4, 8), "dec": (20, 4)}, ["enc,mu,dec"], "mu logvar"),
    ({"inp": (8, 8), "teacher": (8, 8), "student": (8, 8)}, ["inp,student"], "teacher student"),
    ({"to_q": (8, 8), "to_kv": (16, 8), "to_out": (8, 8)}, ["that chain with layers"], "to_q to_kv"),
    ({"to_q": (8, 8), "to_kv": (8, 8), "to_out": (8, 8)}, ["to_kv,to_out"], "to_q to_kv"),
    (
        {"body": (8, 8), "e.experts.0": (8, 8), "e.experts.1": (8, 8), "e.gate": (2, 8), "out": (2, 8)},
        ["body,e.experts.0,out", "body,e.experts.1,out"],
        "e.experts.0 e.experts.1 e.gate",
    ),
    (
        {
            "experts.0.fc1": (8, 8),
            "experts.0.fc2": (8, 8),
            "experts.1.fc1": (8, 8),
            "experts.1.fc2": (8, 8),
            "gate": (2, 8),
        },
        ["experts.0.fc1,experts.0.fc2", "experts.1.fc1,experts.1.fc2"],
        "experts.0.fc1 experts.1.fc2 gate",
    ),
    (
        {"body": (8, 8), "cls_head.0": (8, 8), "cls_head.2": (3, 8), "box_head.0": (4, 8)},
        ["body,cls_head.0,cls_head.2", "body,box_head.0"],
        "cls_head.0 box_head.0",
    ),
    (
        {"feat": (8, 8), "advantage": (8, 8), "adv_out": (8, 8), "val": (8, 8)},
        ["feat,advantage,adv_out", "feat,val"],
        "adv_out val",
    ),
    (
        {"tok": (20, 8), "pos": (8, 8), "fc1": (16, 8), "fc2": (8, 16), "lm_head": (20, 8)},
        ["tok,fc1,fc2,lm_head"],
        "tok pos",
    ),
    (
        {"fc1": (8, 8), "film.gamma": (8, 8), "film.beta": (8, 8), "fc2": (2, 8)},
        ["fc1,fc2"],
        "fc1 film.gamma film.beta",
    ),
    ({"i2h": (8, 8), "h2h": (8, 8), "h2o": (2, 8)}, ["i2h,h2o"], "i2h h2h"),
    ({"fc1": (8, 8), "fc1.lora_A": (2, 8), "fc1.lora_B": (8, 2), "fc2": (2, 8)}, ["fc1,fc2"], "fc1 fc1.lora_A"),
    (
        {"body": (8, 8), "heads.cls": (3, 8), "heads.reg": (8, 8)},
        ["body,heads.cls", "body,heads.reg"],
        "heads.cls heads.reg",
    ),
    (
        {"feature": (8, 8), "advantage": (8, 8), "value": (8, 8)},
        ["feature,advantage", "feature,value"],
        "advantage value",
    ),
    (
        {"linear": (8, 8), "mean_linear": (8, 8), "log_std_linear": (8, 8)},
        ["linear,mean_linear", "linear,log_std_linear"],
        "mean_linear log_std_linear",
    ),
    (
        {"fc1": (8, 20), "fc21": (4, 8), "fc22": (4, 8), "fc3": (8, 4), "fc4": (20, 8)},
        ["fc1,fc21,fc3,fc4", "fc1,fc22,fc3,fc4"],
        "fc21 fc22",
    ),
    (
        {"fc1": (8, 20), "fc2a": (4, 8), "fc2b": (4, 8), "fc3": (8, 4)},
        ["fc1,fc2a,fc3", "fc1,fc2b,fc3"],
        "fc2a fc2b",
    ),
    ({"fc1": (8, 20), "fc2_1": (4, 8), "fc2_2": (4, 8)}, ["fc1,fc2_1", "fc1,fc2_2"], "fc2_1 fc2_2"),
    ({"wide": (1, 20), "deep.0": (8, 20), "deep.2": (1, 8)}, ["deep.0,deep.2"], "wide deep.0"),
    ({"wide": (8, 8), "deep.0": (8, 8), "deep.2": (8, 8)}, ["deep.0,deep.2"], "wide deep.0"),
    ({"slow_fc": (8, 8), "fast_fc": (8, 8), "out": (8, 8)}, ["slow_fc,out", "fast_fc,out"], "slow_fc fast_fc"),
    ({"local_fc": (8, 8), "global_fc": (8, 8), "out": (8, 8)}, ["local_fc,out", "global_fc,out"], "local_fc global_fc"),
    ({"fc_odd": (8, 8), "fc_even": (8, 8)}, ["that chain with layers"], "fc_odd fc_even"),
    ({"fc_self": (8, 8), "fc_neigh": (8, 8), "out": (8, 8)}, ["fc_self,out", "fc_neigh,out"], "fc_self fc_neigh"),
    (
        {"query_encoder": (8, 8), "doc_encoder": (8, 8), "out": (8, 8)},
        ["query_encoder,out", "doc_encoder,out"],
        "query_encoder doc_encoder",
    ),
    ({"fc": (8, 8), "scale": (8, 8), "shift": (8, 8)}, ["fc,scale", "fc,shift"], "scale shift"),
    ({"W_f": (8, 8), "W_i": (8, 8), "W_o": (8, 8), "W_c": (8, 8)}, ["that chain with layers"], "W_f W_i W_o W_c"),
]


@pytest.mark.parametrize(("shapes", "expected", "beside"), BRANCHED)
def test_lines_have_one_of_the_layers_that_stand_beside_each_other(shapes, expected, beside):
    arrays = weights_of(shapes)
    said, lines = asked(arrays)
    assert lines == expected
    assert "beside other layers" in said
    for weights in (arrays, without_order(arrays)):
        for line in asked(weights)[1]:
            assert len({*line.split(",")} & {*beside.split()}) < 2
            assert "@" not in line
            assert "in-out" not in line
            assert "tok" not in line.split(",")[1:]
            if "," in line:
                net = tk.extract(weights, layers=line)
                assert net.names == tuple(f"{name}.weight" for name in line.split(","))


def test_an_embedding_is_the_first_layer_or_in_no_line():
    said, lines = asked(weights_of({"fc1": (20, 8), "tok": (20, 8), "fc2": (3, 8)}))
    assert said.startswith("tok.weight is an embedding by its name, and does not read another layer")
    assert lines == ["tok,fc2"]
    assert asked(weights_of({"fc1": (20, 8), "tok": (20, 8), "skip": (8, 8), "fc2": (3, 8)}))[1] == ["tok,fc2"]
    _, lines = asked(without_order(weights_of(dict.fromkeys(("a", "b", "c", "tok"), (4, 4)))))
    assert len(lines) == 6
    assert all(line.startswith("tok,") for line in lines)
    assert tk.extract(weights_of({"tok": (20, 8), "fc1": (16, 8)})).widths == (20, 8, 16)
    assert tk.extract(weights_of({"fc1": (8, 20), "embed_out": (20, 8)})).widths == (20, 8, 20)  # and unembeddings last
    assert tk.extract(weights_of({"fc1": (8, 20), "unembed": (20, 8)})).widths == (20, 8, 20)


def test_one_text_names_several_layers():
    assert tk.extract(NAMES, layers="block.fc1, block.fc2") == tk.extract(NAMES, layers=["block.fc1", "block.fc2"])
    assert tk.extract(ones(a=(4, 3), b=(4, 4)), layers="a,b@in-out").widths == (3, 4, 4)
    commas = weights_of({"fc1,fc2": (4, 3), "fc1": (3, 5), "fc2": (2, 3)})
    assert tk.extract(commas, layers="fc1,fc2").widths == (3, 4)
    assert tk.extract(commas, layers=["fc1", "fc2"]).widths == (5, 3, 2)
    with pytest.raises(InvalidSpecError, match="no layer is named fc9"):
        tk.extract(NAMES, layers="block.fc1,fc9")


def test_copies_beside_a_model_without_a_prefix():
    assert asked(weights_of(dict.fromkeys(("a", "b", "ema.a", "ema.b"), (4, 4))))[1][:2] == ["a,b", "ema.a,ema.b"]
    said, lines = asked(weights_of(dict.fromkeys(("a", "b", "a_ema", "teacher_b"), (4, 4))))
    assert said.startswith("a_ema.weight, teacher_b.weight stand beside other layers")
    assert lines == ["a,b"]


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize(
    "name", ["downsample.0", "short", "skip_conv", "residual", "identity", "bypass", "proj_shortcut"]
)
def test_shortcuts_are_not_put_in_series(name, recorded):
    shapes = {"conv1": (4, 3, 3, 3), "layer1.0.conv1": (4, 4, 3, 3), "layer1.0.conv2": (4, 4, 3, 3)}
    shapes |= {"layer2.0.conv1": (8, 4, 3, 3), "layer2.0.conv2": (8, 8, 3, 3), f"layer2.0.{name}": (8, 4, 1, 1)}
    shapes |= {"layer2.1.conv1": (8, 8, 3, 3), "layer2.1.conv2": (8, 8, 3, 3), "linear": (10, 8)}
    main = [one for one in shapes if not one.endswith(name)]
    arrays = weights_of(shapes)
    said, lines = asked(arrays if recorded else without_order(arrays))
    assert f"layer2.0.{name}.weight stands beside other layers" in said
    assert (lines[0], any("@" in line for line in lines)) == (",".join(main), False)
    net = tk.extract(arrays, layers=main)
    assert f"though layer2.0.{name}.weight stands beside them" in net.notes[-1]
    other = weights_of({one.replace(name, "other"): shape for one, shape in shapes.items()})
    said, lines = asked(other if recorded else without_order(other))
    assert "layer2.0.other.weight may be shortcuts" in said
    assert lines[0] == ",".join(main)
    assert lines[1].split(",") == [one if one in main else "layer2.0.other@2" for one in shapes]


def test_numbers_of_layers_that_chain_do_not_say_that_they_are_parallel():
    adapters = weights_of({f"{name}_{i}": shape for i in (1, 2) for name, shape in (("a", (4, 8)), ("b", (8, 4)))})
    assert len(tk.extract(adapters)) == 4
    _, lines = asked(without_order(adapters))
    assert lines[0] == "a_1,b_1,a_2,b_2"
    # (out, in / groups, rows, columns): each can read the other one in 8 groups
    said, lines = asked(weights_of({"c0": (8, 3, 3, 3), "c1": (8, 1, 3, 3), "c2": (8, 1, 3, 3)}))
    assert (lines[0], "beside" in said) == ("c0,c1@8,c2@8", False)


@pytest.mark.parametrize(
    ("shapes", "lines"),
    [
        ({"enc": (8, 32), "qa_start": (1, 8), "qa_end": (1, 8)}, ["enc,qa_start"]),
        ({"code": (4, 7), "fc": (3, 7)}, ["that chain with layers"]),
        ({"conv": (8, 3, 3, 3), "fc": (8, 4)}, ["that chain with layers"]),
        ({"conv": (8, 3, 3, 3), "fc": (4, 8), "out": (4, 2)}, ["conv,fc"]),
        (
            {"a": (8, 3, 3, 3), "squeeze": (2, 8, 1, 1), "e1": (4, 2, 1, 1), "e3": (4, 2, 3, 3), "out": (10, 8, 1, 1)},
            ["a,squeeze,e1"],
        ),
        (
            {"e.0": (6, 1, 3, 3), "e.2": (4, 6, 3, 3), "d.0": (4, 6, 3, 3), "d.2": (6, 5, 3, 3), "d.4": (1, 5, 3, 3)},
            ["e.0,e.2,d.0@in-out,d.2@in-out,d.4"],
        ),
    ],
)
def test_no_line_turns_one_layer(shapes, lines):
    found = asked(weights_of(shapes))[1]
    assert found[:1] == lines
    assert "@" in lines[0] or len(found) == 1  # transposed convolutions may also have groups


def test_parameters_that_a_model_multiplies_by_itself_are_turned_without_its_modules():
    arrays = {"code": np.ones((4, 7)), "fc.weight": np.ones((3, 7))}
    with pytest.raises(InvalidSpecError, match="choose layers code@in-out,fc;"):
        tk.extract(arrays, layers="code,fc.weight")


@pytest.mark.parametrize("ending", ["", ".weight"])
def test_square_layers_are_turned_with_the_others(ending):
    arrays = ones(**{f"W1{ending}": (12, 9), f"W2{ending}": (9, 9), f"W3{ending}": (9, 4)})
    arrays[f"W2{ending}"][1, 2] = 0
    assert asked(arrays)[1] == ["W1,W2,W3 and layout in-out", "W3,W2,W1"]
    net = tk.extract(arrays, layers="W1,W2,W3", layout="in-out")
    assert (net.widths, net.layer(1).to_dense()[1, 2]) == ((12, 9, 9, 4), 0)


@pytest.mark.parametrize(
    ("shapes", "first"),
    [
        (
            {f"net.{i}.{k}": (8, 8) for i in (0, 1) for k in (0, 2, 10)},
            "net.0.0,net.0.2,net.0.10,net.1.0,net.1.2,net.1.10",
        ),
        (
            {"conv1": (8, 3, 3, 3)}
            | {f"layer1.{i}.conv{k}": (8, 8, 3, 3) for i in (0, 1) for k in (1, 2)}
            | {"fc": (2, 8)},
            "conv1,layer1.0.conv1,layer1.0.conv2,layer1.1.conv1,layer1.1.conv2,fc",
        ),
        (
            {"f.0.0": (8, 3, 3, 3), "f.1.conv.0.0": (8, 1, 3, 3), "f.1.conv.1": (4, 8, 1, 1), "classifier.1": (2, 4)},
            "f.0.0,f.1.conv.0.0@8,f.1.conv.1,classifier.1",
        ),
        ({"fc1": (12, 20), "mu": (4, 12), "logvar": (4, 12), "fc3": (12, 4), "fc4": (20, 12)}, "fc1,mu,fc3,fc4"),
        (
            {"encoder.0": (12, 20), "encoder.2": (8, 12), "fc_mu": (4, 8), "fc_var": (4, 8)}
            | {"decoder_input": (8, 4), "decoder.0": (12, 8), "decoder.2": (20, 12)},
            "encoder.0,encoder.2,fc_mu,decoder_input,decoder.0,decoder.2",
        ),
        (
            {"h.0.attn.v_proj": (8, 8), "h.0.attn.q_proj": (8, 8), "h.0.attn.o_proj": (8, 8)}
            | {
                "h.0.mlp.down_proj": (8, 16),
                "h.0.mlp.up_proj": (16, 8),
                "h.0.mlp.gate_proj": (16, 8),
                "lm_head": (9, 8),
            },
            "h.0.attn.v_proj,h.0.attn.o_proj,h.0.mlp.up_proj,h.0.mlp.down_proj,lm_head",
        ),
        ({"input": (8, 8), "hidden": (8, 8), "output": (8, 8)}, "input,hidden,output"),
    ],
)
def test_without_an_order_the_first_line_is_in_the_order_of_the_names(shapes, first):
    weights = without_order(weights_of(shapes))
    lines = asked(weights)[1]
    assert lines[0] == first
    assert len(tk.extract(weights, layers=first)) == len(first.split(","))


def test_the_search_for_groups_and_transposed_layers_has_an_end():
    shapes = {f"up{i}": (8, 8, 4, 4) for i in range(30)} | {"last": (5, 7, 3, 3)}  # 2 readings of each
    said, lines = asked(weights_of(shapes))
    assert "no order of all layers was found" in said
    assert lines[0].startswith("up0,up1,")


@pytest.mark.parametrize(("channels", "text"), [(1, "1 channel,"), (3, "3 channels,")])
def test_what_is_assumed_of_an_image_is_in_words(channels, text):
    found = select(from_arrays(weights_of({"a": (2, channels, 3, 3), "b": (4, 2, 3, 3)})), Rule(), chained=True)
    assert f"an image of {text} in 1 group" in found.layers[0]["read"]


def test_lines_have_all_layers_or_say_that_they_have_not():
    depthwise = ones(c=(8, 1, 3, 3), d=(8, 1, 3, 3), e=(4, 8, 1, 1))
    said, lines = asked(without_order(depthwise))
    assert (lines[0], "omits" in said) == ("c,d@8,e", False)
    assert tk.extract(depthwise, layers=lines[0].split(",")).widths == (1, 8, 8, 4)
    said, lines = asked(without_order(ones(c=(5, 7), d=(4, 5), e=(9, 2))))
    assert (lines, "no order of all layers was found, so each line omits some" in said) == (["c,d"], True)


def test_lines_to_choose_from_are_few_and_plain():
    def lines(shapes):
        return asked(weights_of(shapes))[1]

    res = {"stem": (16, 1, 3, 3), "a": (16, 16, 3, 3), "b": (32, 16, 3, 3), "fc": (8, 128), "out": (10, 8)}
    assert lines(res) == ["stem,a,b,fc,out", "stem,a,b,fc@last,out"]
    assert lines({"a": (20, 50), "b": (50, 10)}) == ["a,b and layout in-out", "b,a"]
    assert lines({"a": (50, 50), "b": (50, 10)}) == ["a,b and layout in-out", "b,a"]
    assert "a@in-out,b@in-out" in lines({"a": (16, 8, 3, 3), "b": (8, 1, 3, 3)})


def test_blocks_are_in_the_order_of_their_numbers():
    mlp = {f"h.{i}.{name}.weight": shape for i in (0, 1) for name, shape in (("fc", (8, 4)), ("proj", (6, 8)))}
    mlp["h.1.fc.weight"] = (8, 6)
    assert tk.extract(without_order(ones(**mlp))).names == tuple(mlp)
    gpt2 = ones(
        **{"h.0.mlp.c_fc.weight": (8, 32), "h.0.mlp.c_proj.weight": (32, 8), "h.0.attn.c_attn.weight": (8, 24)}
        | {"h.0.attn.c_proj.weight": (8, 8), "h.1.attn.c_attn.weight": (8, 24), "wte.weight": (50, 8)}
    )
    net = tk.extract(without_order(gpt2), layers="h.0.mlp.*")
    assert (net.names, net.widths) == (("h.0.mlp.c_fc.weight", "h.0.mlp.c_proj.weight"), (8, 32, 8))
    with pytest.raises(
        InvalidSpecError, match=r"h.0.attn.c_proj.weight .*cannot follow h.0.attn.c_attn.weight"
    ) as raised:
        tk.extract(without_order(gpt2))
    assert "choose layers h.0.attn.c_proj,h.0.mlp.c_fc,h.0.mlp.c_proj;" in str(raised.value)


def test_an_embedding_has_no_bias():
    weight = np.eye(3)[:, [1, 2, 0]]
    linear = {"embed.weight": weight, "embed.bias": np.ones(3)}
    table = select(from_arrays({"embed.weight": weight}), Rule())
    assert [one["read"] for one in table.layers] == ["(in, out), an embedding by its name"]
    assert np.array_equal(table.topology.layer(0).to_dense(), weight)
    for one in (
        select(from_arrays(linear), Rule()),
        select(from_arrays({"embed.weight": weight}), Rule(), "embed@out-in"),
    ):
        assert [layer["read"] for layer in one.layers] == ["(out, in)"]
        assert np.array_equal(one.topology.layer(0).to_dense(), weight.T)


def test_what_is_given_is_not_assumed():
    square = ones(a=(4, 4), b=(4, 4))
    assert "stored as (out, in)" in tk.extract(square).notes[-1]
    assert "stored as (out, in)" not in tk.extract(square, layout="out-in").notes[-1]
    (note, _) = select(from_arrays(square), Rule(), chained=False).notes[::-1]
    assert note.startswith("assumed, as arrays do not say it: that weights are stored as (out, in). To be sure")
    left = select(from_arrays(NAMES), Rule(above=0.5)).left
    assert left["table"] == ((9, 9), "to extract it, select all layers by name")


def test_an_orientation_leaves_the_rest_to_be_asked():
    with pytest.raises(InvalidSpecError, match=r"may be first or last.*layers conv,fc@last and layout in-out"):
        tk.extract(ones(**{"conv.weight": (3, 4, 3, 3), "fc.weight": (8, 2)}), layout="in-out")


def test_channels_last_features_belong_to_their_channels():
    arrays = {"a.weight": np.ones((3, 1, 1, 1)), "fc.weight": np.zeros((1, 6))}
    arrays["fc.weight"][0, 1] = 1
    assert tk.extract(arrays, layers=["a", "fc@last"]).layer(1).sources.tolist() == [1]
    assert tk.extract(arrays, layers=["a", "fc"]).layer(1).sources.tolist() == [0]


@pytest.mark.parametrize("mark", ["@0", "@3", "@first"])
def test_marks_that_mean_nothing(mark):
    with pytest.raises(InvalidSpecError, match="give in-out, out-in, a number of groups that divides 4 or last"):
        tk.extract({"a.weight": np.ones((4, 2, 3, 3))}, layers=[f"a{mark}"])
    with pytest.raises(InvalidSpecError, match=r"a\.weight@2: give in-out, out-in or last behind the @"):
        tk.extract({"a.weight": np.ones((4, 2))}, layers=["a@2"])


def test_masks_need_no_order():
    found = select(without_order(ones(b=(5, 7), a=(2, 3))), Rule(), chained=False)
    assert {name: mask.shape for name, mask in found.masks.items()} == {"a": (2, 3), "b": (5, 7)}
    given = select(from_arrays(ones(a=(2, 3), b=(5, 7))), Rule(), ["b", "a"], chained=False)
    assert [(one["name"], one["order"]) for one in given.layers] == [("b", "`layers`"), ("a", "`layers`")]


def test_prefixes_of_wrappers_may_be_left_out():
    arrays = {f"_orig_mod.module.{name}": array for name, array in LAYERS.items()}
    assert tk.extract(arrays, layers=["fc1", "fc2"]).widths == (2, 3, 1)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"fc.weight": np.ones((2, 2)), "fc.mask": np.eye(2)}, [[1, 0], [0, 1]]),
        ({"fc.weight": np.ones((2, 2)), "fc._weight_mask": np.eye(2)}, [[1, 0], [0, 1]]),
        (
            {"fc.parametrizations.weight.original": np.ones((2, 2)), "fc.parametrizations.weight.0.mask": np.eye(2)},
            [[1, 0], [0, 1]],
        ),
        (
            {"fc.weight_g": np.array([[1.0], [0.0]]), "fc.weight_v": np.array([[1.0, 0.0], [1.0, 1.0]])},
            [[1, 0], [0, 0]],
        ),
        (
            {
                "fc.parametrizations.weight.original0": np.ones((2, 1)),
                "fc.parametrizations.weight.original1": np.eye(2),
            },
            [[1, 0], [0, 1]],
        ),
        ({"fc.weight": np.array([[3, 4], [0, 3]]), "fc.weight_zero_point": np.array([3])}, [[0, 1], [1, 0]]),
        ({"fc.weight": np.array([[3, 4], [0, 3]]), "fc.weight_zero_point": np.array([[3], [0]])}, [[0, 1], [0, 1]]),
        ({"fc.weight": np.ma.masked_array(np.ones((2, 2)), np.eye(2))}, [[0, 1], [1, 0]]),
    ],
)
def test_what_names_say(arrays, expected):
    assert dense(tk.extract(arrays)) == [expected]


def test_norms_are_divided_by():
    value = np.array([[3.0, 4.0], [0.0, 2.0]])
    found = from_arrays({"fc.weight_g": np.array([[10.0], [1.0]]), "fc.weight_v": value}).parts["fc.weight"].weight()
    assert np.allclose(found, [[6, 8], [0, 1]])
    left, _, right = np.linalg.svd(value)
    arrays = {"fc.weight_orig": value, "fc.weight_u": left[:, 0], "fc.weight_v": right[0]}
    assert np.isclose(np.linalg.norm(from_arrays(arrays).parts["fc.weight"].weight(), 2), 1)


def test_packed_weights_are_refused_by_name_and_norms_are_not_layers():
    packed = {"fc1.weight": np.ones((40, 1)), "fc1.weight.absmax": np.ones(2)}
    with pytest.raises(InvalidSpecError, match=r"fc1.weight.*: packed or compressed weights"):
        tk.extract(packed)
    with pytest.raises(InvalidSpecError, match=r"fc1.qweight: packed"):
        tk.extract({"fc1.qweight": np.ones((2, 8)), "fc1.qzeros": np.ones((1, 1))})
    net = tk.extract(ones(**{"fc1.weight": (6, 9), "norm.weight": (6, 6), "fc2.weight": (4, 6)}))
    assert (net.widths, any("norm.weight" in note for note in net.notes)) == ((9, 6, 4), True)
    assert tk.extract(ones(**{"emb.weight": (20, 6), "fc.weight": (6, 6)})).widths == (20, 6, 6)


def test_a_dense_model_is_pointed_out_and_memory_is_asked_for_first(free_memory):
    assert "no weight of fc2.weight is 0" in tk.extract(LAYERS).notes[0]
    free_memory(100)
    with pytest.raises(TooLargeError, match="extraction needs"):
        tk.extract(LAYERS)


def test_no_line_uses_a_weight_twice_which_no_file_says():
    arrays = ones(a=(4, 4), b=(2, 4), encoder=(3, 2), c=(2, 2))
    assert asked(arrays)[1] == ["a,b,c,encoder"]
    assert tk.extract(arrays, layers=["a", "b", "encoder", "encoder@in-out", "c"]).widths == (4, 4, 2, 3, 2, 2)


def test_lines_beside_a_fused_weight_say_what_they_omit_and_do_not_use_it_twice():
    shapes = {"first": (32, 28), "qkv": (96, 32), "proj": (32, 32), "up": (64, 32), "down": (32, 64)}
    arrays = weights_of(shapes)
    said, lines = asked(arrays)
    assert lines == ["proj,up,down"]
    assert "and qkv.weight stands beside other layers, and each line is a part of the layers, none with first" in said
    found = select(from_arrays(arrays), Rule(), lines[0].split(","))
    assert {reason for _, reason in found.left.values()} == {"it is not among the selected layers"}
    with pytest.raises(InvalidSpecError, match=r"proj.weight .*cannot follow qkv.* choose layers proj,up,down; or"):
        tk.extract(arrays, layers=list(shapes))


def test_pruning_that_the_reading_by_channel_loses_is_noted():
    conv, linear = np.ones((2, 1, 2, 2)), np.ones((3, 8))
    conv[0, 0, 0, 0] = linear[1, 5] = linear[2, 4:] = 0
    arrays = {"conv.weight": conv, "fc.weight": linear, "out.weight": np.eye(3)}
    names = ["conv", "fc", "out"]
    (note,) = (one for one in tk.extract(arrays, layers=names).notes if "by channel" in one)
    assert (
        "inside the filters or features of conv.weight, fc.weight: 26 weights are kept, but the edges have 28" in note
    )
    assert "extract with `conv` weight, or extract masks" in note
    found = select(from_arrays(arrays), Rule(), names)
    assert [one["read"] for one in found.layers] == [
        "(out, in), by channel",
        "(out, in), channels first, by channel (4 features of each)",
        "(out, in)",
    ]
    conv[0], linear[1, 4:] = 0, 0  # all weights of a filter, and all features of a channel
    conv[1] = 1
    assert not any("by channel" in one for one in tk.extract(arrays, layers=names).notes)


@pytest.mark.parametrize("layers", [("mlp.0", "mlp.1"), ("mlp.*",)])
def test_what_stands_beside_the_chosen_layers_is_said(layers):
    """Also if they are chosen by a pattern."""
    arrays = {"mlp.0.weight": np.eye(4), "mlp.1.weight": np.eye(4), "q_proj.weight": np.eye(4)}
    (note,) = tk.extract(arrays, layers=layers).notes
    assert "each used once, nothing skipped or permuted, though q_proj.weight stands beside them" in note


def test_the_question_says_what_its_lines_assume():
    arrays = {"a.weight": np.ones((4, 4)), "b.weight": np.ones((4, 4))}
    with pytest.raises(InvalidSpecError, match=r"If nothing is skipped or permuted, choose layers "):
        tk.extract({"left.weight": np.ones((4, 4)), "right.weight": np.ones((4, 4)), **arrays})


@pytest.mark.parametrize("name", ["conv2d_transpose/kernel", "ConvTranspose_0.kernel"])
def test_square_kernels_of_transposed_convolutions_are_asked(name):
    """Keras stores (rows, columns, out, in), and Flax (rows, columns, in, out)."""
    arrays = {"conv/kernel": np.ones((3, 3, 1, 8)), name: np.ones((2, 2, 8, 8))}
    with pytest.raises(
        InvalidSpecError, match=r"Flax stores as \(..., in, out\), as here, and Keras as \(..., out, in\)"
    ):
        tk.extract(arrays)
    assert tk.extract(arrays, layers=["conv/kernel@1", name]).widths == (1, 8, 8)


@pytest.mark.parametrize("layers", [(), ("depthwise_conv2d/depthwise_kernel@1", "dense/kernel")])
def test_depthwise_kernels_of_keras_are_refused(layers):
    arrays = {"depthwise_conv2d/depthwise_kernel": np.ones((3, 3, 3, 1)), "dense/kernel": np.ones((3, 2))}
    with pytest.raises(InvalidSpecError, match="is a depthwise convolution by its name, stored as"):
        tk.extract(arrays, layers=layers)


def test_a_layer_alone_stands_beside_nothing():
    """Whatever its name; a table of positions is stored as (in, out)."""
    for name, widths in (("pos.weight", (4, 3)), ("head1.weight", (3, 4)), ("gate.weight", (3, 4))):
        assert tk.extract({name: np.ones((4, 3))}).widths == widths, name
