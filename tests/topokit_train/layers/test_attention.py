"""SparseAttention against nn.MultiheadAttention, in float64 and over all options."""

import copy
import itertools
import random

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from topokit.errors import InvalidSpecError
from topokit_train.layers.attention import SparseAttention

WIDTH, HEADS, BATCH, LENGTH, SOURCE = 8, 2, 3, 4, 5
PROJECTIONS = ("q", "k", "v", "out_proj")
CLOSE = {"rtol": 1e-12, "atol": 1e-12}

WAYS = {
    "batch_first": (False, True),
    "batched": (True, False),
    "bias": (True, False),
    "add_bias_kv": (False, True),
    "add_zero_attn": (False, True),
    "sizes": ({}, {"kdim": 5, "vdim": 7}),
    "attn_mask": (None, "2d", "3d"),
    "padding": (False, True),
    "masks": (torch.bool, torch.float64),
    "need_weights": (True, False),
    "average": (True, False),
    "causal": (False, True),
    "mode": ("train", "eval", "no_grad"),
}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def cases(count):
    """Settings drawn at random, each pair of values many times."""
    draw = random.Random(0)
    return [{name: draw.choice(values) for name, values in WAYS.items()} for _ in range(count)]


def plain(case, dropout=0.0):
    """nn.MultiheadAttention of a case, with random biases too."""
    made = nn.MultiheadAttention(
        WIDTH,
        HEADS,
        dropout,
        bias=case["bias"],
        add_bias_kv=case["add_bias_kv"],
        add_zero_attn=case["add_zero_attn"],
        batch_first=case["batch_first"],
        dtype=torch.float64,
        **case["sizes"],
    )
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.4, generator=seeded(parameter.numel()))
    return made.train(case["mode"] == "train")


def arguments(case, seed=0):
    """What both are called with: (query, key, value), and the others by name."""
    generator = seeded(seed)

    def sequence(length, features):
        shape = (BATCH, length, features) if case["batch_first"] else (length, BATCH, features)
        shape = shape if case["batched"] else (length, features)
        return torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()

    sizes = case["sizes"]
    inputs = [
        sequence(LENGTH, WIDTH),
        sequence(SOURCE, sizes.get("kdim", WIDTH)),
        sequence(SOURCE, sizes.get("vdim", WIDTH)),
    ]
    given = {"need_weights": case["need_weights"], "average_attn_weights": case["average"]}
    batch = BATCH if case["batched"] else 1

    def mask(*shape):
        if case["masks"] != torch.bool:
            return torch.randn(shape, dtype=torch.float64, generator=generator)
        drawn = torch.rand(shape, generator=generator) < 0.5
        drawn[..., 0] = False  # each query may look at one key
        return drawn

    if case["attn_mask"]:
        given["attn_mask"] = mask(*[batch * HEADS] * (case["attn_mask"] == "3d"), LENGTH, SOURCE)
    if case["padding"]:
        given["key_padding_mask"] = mask(*[BATCH] * case["batched"], SOURCE)
    if case["causal"] and case["attn_mask"] == "2d":
        given["attn_mask"] = torch.ones(LENGTH, SOURCE).triu(1).bool()
        given["is_causal"] = True
        if case["padding"]:
            given["key_padding_mask"] = given["key_padding_mask"].bool()
            given["key_padding_mask"][..., 0] = False
    return inputs, given


def called(module, case):
    """Output, weights, and the gradients of the inputs if there are any."""
    inputs, given = arguments(case)
    with torch.set_grad_enabled(case["mode"] != "no_grad"):
        y, weights = module(*inputs, **given)
    if case["mode"] == "no_grad":
        return [y, weights]
    (y.square().sum() + (0 if weights is None else (weights**3).sum())).backward()
    return [y, weights, *(tensor.grad for tensor in inputs)]


def gradients(module):
    """Of every parameter, q, k and v apart, by name."""
    if isinstance(module, SparseAttention):
        return {name: parameter.grad for name, parameter in module.named_parameters()}
    found = {name: parameter.grad for name, parameter in module.named_parameters() if not name.startswith("in_proj")}
    for packed, last in (("in_proj_weight", "weight"), ("in_proj_bias", "bias")):
        if (parameter := getattr(module, packed)) is not None:
            found |= {f"{name}.{last}": part for name, part in zip("qkv", parameter.grad.chunk(3), strict=True)}
    return {name.replace("_proj_weight", ".weight"): grad for name, grad in found.items()}


def test_dense_projections_give_the_outputs_and_gradients_of_torch():
    for case in cases(250):
        wanted = plain(case)
        mine = SparseAttention.of(wanted)
        for one, other in zip(called(mine, case), called(wanted, case), strict=True):
            torch.testing.assert_close(one, other, **CLOSE, msg=lambda text, case=case: f"{case}: {text}")
        if case["mode"] != "no_grad":
            found = gradients(wanted)
            assert gradients(mine).keys() == found.keys()
            for name, grad in gradients(mine).items():
                torch.testing.assert_close(grad, found[name], **CLOSE)


@pytest.mark.parametrize("need_weights", [True, False])
def test_dropout_draws_what_torch_draws(need_weights):
    case = {name: values[0] for name, values in WAYS.items()} | {"need_weights": need_weights}
    wanted = plain(case, dropout=0.5)
    found = []
    for module in (wanted, SparseAttention.of(wanted)):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            found.append(called(module, case)[0])
    torch.testing.assert_close(*found, **CLOSE)


@pytest.mark.parametrize("need_weights", [True, False])
def test_a_query_that_may_look_at_no_key_gets_what_torch_gives_it(need_weights):
    case = {name: values[0] for name, values in WAYS.items()} | {"need_weights": need_weights}
    wanted = plain(case)
    inputs, given = arguments(case)
    given["attn_mask"] = torch.zeros(LENGTH, SOURCE, dtype=torch.bool)
    given["attn_mask"][1] = True
    for one, other in zip(SparseAttention.of(wanted)(*inputs, **given), wanted(*inputs, **given), strict=True):
        torch.testing.assert_close(one, other, **CLOSE, equal_nan=True)


def test_there_and_back_is_the_same_attention():
    for case in cases(60):
        given = plain(case)
        given.get_parameter("out_proj.weight").requires_grad_(False)
        back = SparseAttention.of(given).dense()
        assert back.training == given.training
        theirs, mine = given.state_dict(), back.state_dict()
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
        assert [p.requires_grad for p in back.parameters()] == [p.requires_grad for p in given.parameters()]
        assert all(a is not b for a, b in zip(back.parameters(), given.parameters(), strict=True))
        settings = ("embed_dim", "num_heads", "dropout", "batch_first", "add_zero_attn", "kdim", "vdim")
        assert all(getattr(back, name) == getattr(given, name) for name in settings)


def test_neither_way_draws_random_numbers():
    before = torch.random.get_rng_state()
    SparseAttention.of(nn.MultiheadAttention(8, 2, device="meta")).dense()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_pruned_attention_keeps_the_weights_of_its_next_step():
    pruned = nn.MultiheadAttention(8, 2)
    prune.random_unstructured(pruned, "in_proj_weight", 0.5)
    prune.random_unstructured(pruned.out_proj, "weight", 0.5)
    with torch.no_grad():
        pruned.in_proj_weight_orig.mul_(2)
    x = torch.randn(4, 3, 8)
    torch.testing.assert_close(SparseAttention.of(pruned)(x, x, x), pruned(x, x, x))


def test_what_nn_multiheadattention_cannot_hold_is_refused():
    mine = SparseAttention.of(nn.MultiheadAttention(8, 2))
    mine.k.weight.requires_grad_(False)
    with pytest.raises(InvalidSpecError, match="weights of q, k and v differ in requires_grad"):
        mine.dense()
    mine.k = nn.Sequential(nn.Linear(8, 8))
    mine.k.bias = None
    with pytest.raises(
        InvalidSpecError, match=r"k is a Sequential: nn\.MultiheadAttention needs nn\.Linear or SparseLinear"
    ):
        mine.dense()


@pytest.mark.parametrize(
    ("sizes", "heads", "message"),
    [
        (((8, 8), (8, 6), (8, 8), (8, 8)), 2, "they are q 8 to 8, k 8 to 6"),
        (((6, 8), (8, 8), (8, 8), (8, 8)), 2, "q and out_proj must be embed_dim to"),
        (((8, 8), (5, 8), (7, 8), (8, 8)), 3, "num_heads must divide embed_dim, 8; it is 3"),
    ],
)
def test_projections_that_do_not_fit_together_are_refused(sizes, heads, message):
    with pytest.raises(InvalidSpecError, match=message):
        SparseAttention(*(nn.Linear(*size) for size in sizes), heads)
    with pytest.raises(InvalidSpecError, match="bias_k and bias_v are given together"):
        SparseAttention(*(nn.Linear(8, 8) for _ in range(4)), 2, bias_k=nn.Parameter(torch.ones(1, 1, 8)))


ones = torch.ones
X = (ones(4, 3, 8),) * 3


@pytest.mark.parametrize(
    ("inputs", "given", "message"),
    [
        ((ones(4, 3, 8), ones(5, 3, 8), ones(6, 3, 8)), {}, r"same length; their shapes are \(4, 3, 8\), \(5, 3, 8\)"),
        ((ones(4, 8), ones(5, 3, 8), ones(5, 3, 8)), {}, "must all be batched"),
        ((ones(4, 3, 8), ones(5, 2, 8), ones(5, 2, 8)), {}, "the same batch; it is 3 and 2"),
        ((ones(2, 4, 3, 8),) * 3, {}, "must all be batched"),
        (X, {"attn_mask": ones(4, 3).bool()}, r"attn_mask has shape \(4, 3\): it must be \(4, 4\) or \(6"),
        (X, {"attn_mask": ones(4, 4).int()}, "attn_mask must be bool or floating-point, not torch.int32"),
        (X, {"key_padding_mask": ones(4, 3)}, r"key_padding_mask has shape \(4, 3\): it must be \(3, 4\)"),
        (X, {"is_causal": True}, "is_causal is a hint about attn_mask"),
        ([x.long() for x in X], {}, r"type torch.int64, the layer torch.float32: convert the input by x.to"),
        ([x.double() for x in X], {}, r"or the layer by layer.to\(torch.float64\)"),
    ],
)
def test_what_cannot_be_attended_to_is_refused(inputs, given, message):
    with pytest.raises(InvalidSpecError, match=message):
        SparseAttention.of(nn.MultiheadAttention(8, 2))(*inputs, **given)


def test_nested_tensors_are_refused():
    x = torch.nested.nested_tensor([torch.ones(2, 8), torch.ones(3, 8)], layout=torch.jagged)
    with pytest.raises(InvalidSpecError, match="does not support nested tensors: pad them"):
        SparseAttention.of(nn.MultiheadAttention(8, 2, batch_first=True)).eval()(x, x, x)


def with_sparse_attention(model):
    """A copy whose attentions are SparseAttention."""
    model = copy.deepcopy(model)
    for name, part in list(model.named_modules()):
        if isinstance(part, nn.MultiheadAttention):
            model.set_submodule(name, SparseAttention.of(part))
    return model


SETTINGS = {"dropout": 0.0, "batch_first": True, "dtype": torch.float64}


def same(mine, model, inputs, given):
    """Both give the same in training, in evaluation and without gradients; in evaluation at what is not padding."""
    seen = ~given.get("src_key_padding_mask", torch.zeros(inputs[-1].shape[:2], dtype=torch.bool))
    for training, grad in itertools.product((True, False), repeat=2):
        with torch.set_grad_enabled(grad):
            one, other = (module.train(training)(*inputs, **given) for module in (mine, model))
        assert one.shape == other.shape or not training
        torch.testing.assert_close(
            one[:, : other.shape[1]][seen[:, : other.shape[1]]], other[seen[:, : other.shape[1]]]
        )


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # torch's own, of its dense fast path
@pytest.mark.parametrize("norm_first", [False, True])
def test_torchs_encoder_gives_the_same_as_with_torchs_attention(norm_first):
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 12, norm_first=norm_first, **SETTINGS)
    x = torch.randn(BATCH, LENGTH, WIDTH, dtype=torch.float64, generator=seeded(0))
    padding = torch.arange(LENGTH) >= torch.tensor([[4], [3], [2]])
    causal = nn.Transformer.generate_square_subsequent_mask(LENGTH, dtype=torch.float64)
    for model in (layer, nn.TransformerEncoder(layer, 2, enable_nested_tensor=not norm_first)):
        mine = with_sparse_attention(model)
        mask = "mask" if isinstance(model, nn.TransformerEncoder) else "src_mask"
        for given in ({}, {"src_key_padding_mask": padding}, {mask: causal, "is_causal": True}):
            same(mine, model, (x,), given)


def test_it_prints_its_projections():
    mine = SparseAttention.of(nn.MultiheadAttention(8, 2, batch_first=True))
    assert "embed_dim=8, num_heads=2, batch_first=True" in str(mine)
    assert "(q): Linear(in_features=8, out_features=8, bias=True)" in str(mine)
