"""Every row of docs/torch-features.md, tried with every layer: what works does, what does not says so in one line."""

import copy
import io
import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn
from torch.func import functional_call
from torch.nn.utils import clip_grad_norm_, prune
from torch.nn.utils.parametrizations import weight_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from topokit import RadixNet
from topokit_train.conversion import densify
from topokit_train.layers.attention import SparseAttention
from topokit_train.layers.convolution import SparseConv2d
from topokit_train.layers.linear import SparseLinear

TABLE = Path(__file__).parents[3] / "docs/torch-features.md"
BAND = RadixNet(radices=[(2, 3)], kron=(2, 2, 2)).layer(0)  # 12 to 12
KERNELS = ("masked", "csr")


class SelfAttention(nn.Module):
    """Sparse attention of a sequence to itself."""

    def __init__(self, kernel):
        super().__init__()
        self.attention = SparseAttention(*(linear(kernel) for _ in range(4)), num_heads=2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


def linear(kernel):
    return SparseLinear(BAND, kernel=kernel)


def convolution(kernel):
    return SparseConv2d(BAND, 12, 2, kernel=kernel)


LAYERS = {"SparseLinear": linear, "SparseConv2d": convolution, "SparseAttention": SelfAttention}
INPUTS = {"SparseLinear": (5, 12), "SparseConv2d": (3, 12, 4, 4), "SparseAttention": (2, 4, 12)}


def gradients(module, x):
    """Of the parameters, for a loss of the output."""
    return torch.autograd.grad(module(x).square().sum(), list(module.parameters()))


def same(one, other, x):
    """Both give the same output and the same gradients."""
    torch.testing.assert_close(one(x), other(x))
    torch.testing.assert_close(gradients(one, x), gradients(other, x), rtol=1e-4, atol=1e-4)


def state_dict(module, x):
    other = copy.deepcopy(module)
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    other.load_state_dict(module.state_dict())
    same(other, module, x)


def copied(how):
    def works(module, x):
        other = how(module)
        same(other, module, x)
        before = module(x)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.zero_()
        assert torch.equal(module(x), before)  # the copy has its own numbers

    return works


def saved(module, x):
    def there_and_back(thing, **options):
        file = io.BytesIO()
        torch.save(thing, file)
        file.seek(0)
        return torch.load(file, **options)

    same(there_and_back(module, weights_only=False), module, x)
    other = copy.deepcopy(module)
    other.load_state_dict(there_and_back(module.state_dict(), weights_only=True))
    same(other, module, x)


def autocast(dtype):
    def works(module, x):
        with torch.autocast("cpu", dtype=dtype):
            y = module(x)
        assert y.dtype == dtype
        torch.testing.assert_close(y.float(), module(x), rtol=0.05, atol=0.05)
        y.float().square().sum().backward()
        assert all(parameter.grad.dtype == torch.float32 for parameter in module.parameters())

    return works


def compiled(fullgraph, backend):
    def works(module, x):
        torch.compiler.reset()
        same(torch.compile(module, fullgraph=fullgraph, backend=backend), module, x)

    return works


def exported(module, x):
    program = torch.export.export(module, (x,)).module()
    torch.testing.assert_close(program(x), module(x))
    y = program(x)
    if y.requires_grad:
        wanted = dict(zip(dict(module.named_parameters()), gradients(module, x), strict=True))
        y.square().sum().backward()
        for name, parameter in program.named_parameters():
            torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-4, atol=1e-4)


def exported_for_inference(module, x):
    with torch.no_grad():
        exported(module, x)


def dense(module, x):
    if isinstance(module, SelfAttention):
        other = module.attention.dense()
        torch.testing.assert_close(other(x, x, x)[0], module(x))
        return
    other = nn.Linear(12, 12) if isinstance(module, SparseLinear) else nn.Conv2d(12, 12, 2)
    other.load_state_dict({"weight": module.dense_weight(), "bias": module.bias.detach()})
    torch.testing.assert_close(other(x), module(x))


def onnx_exported(module, x):
    """What onnx's own reference computes of the dense model."""
    plain, file, wanted = densify(copy.deepcopy(module)).eval(), io.BytesIO(), module.eval()(x)
    torch.onnx.export(plain, (x,), file, input_names=["x"], dynamo=False)
    (y,) = ReferenceEvaluator(onnx.load_from_string(file.getvalue())).run(None, {"x": x.numpy()})
    np.testing.assert_allclose(y, wanted.detach().numpy(), rtol=1e-3, atol=1e-4)


def func_grad(module, x):
    parameters = dict(module.named_parameters())
    found = torch.func.grad(lambda given: functional_call(module, given, (x,)).square().sum())(parameters)
    torch.testing.assert_close(tuple(found.values()), gradients(module, x), rtol=1e-4, atol=1e-4)


def func_vmap(module, x):
    """Per-sample gradients."""
    parameters = dict(module.named_parameters())

    def loss(given, one):
        return functional_call(module, given, (one[None],)).square().sum()

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    summed = tuple(each.sum(0) for each in found.values())
    torch.testing.assert_close(summed, gradients(module, x), rtol=1e-4, atol=1e-4)


def checkpointed(module, x):
    again = checkpoint(module, x, use_reentrant=False)
    found = torch.autograd.grad(again.square().sum(), list(module.parameters()))
    torch.testing.assert_close(found, gradients(module, x))


def on_meta(module, x):
    assert module.to("meta")(x.to("meta")).shape == module(x).shape


def averaged(use_buffers):
    def works(module, x):
        mean = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=use_buffers)
        start = copy.deepcopy(module)
        mean.update_parameters(module)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(1)
        mean.update_parameters(module)
        for found, before, now in zip(mean.module.parameters(), start.parameters(), module.parameters(), strict=True):
            torch.testing.assert_close(found, (before + now) / 2)
        mean(x)

    return works


def part(module):
    """The layer that has weights."""
    return module.attention.q if isinstance(module, SelfAttention) else module


def normed(module, x):
    weight_norm(part(module))
    module(x)


def pruned(module, x):
    prune.random_unstructured(part(module), "weight", 0.5)
    module(x)


def optimizer(**options):
    def works(module, x):
        other = copy.deepcopy(module)
        for model, how in ((module, options), (other, {"foreach": False, "fused": False})):
            adam = torch.optim.Adam(model.parameters(), lr=0.1, **how)
            model(x).square().sum().backward()
            adam.step()
        torch.testing.assert_close(list(module.parameters()), list(other.parameters()), rtol=1e-4, atol=1e-4)

    return works


def clipped(module, x):
    module(x).square().sum().backward()
    norm = torch.cat([parameter.grad.flatten() for parameter in module.parameters()]).norm()
    torch.testing.assert_close(clip_grad_norm_(module.parameters(), 0.1), norm)
    left = torch.cat([parameter.grad.flatten() for parameter in module.parameters()]).norm()
    assert left.item() == pytest.approx(0.1, rel=1e-3)


FEATURES = {
    "state_dict": state_dict,
    "copy.deepcopy": copied(copy.deepcopy),
    "pickle": copied(lambda module: pickle.loads(pickle.dumps(module))),
    "torch.save": saved,
    "autocast bfloat16": autocast(torch.bfloat16),
    "autocast float16": autocast(torch.float16),
    "torch.compile": compiled(False, "eager"),
    "torch.compile fullgraph": compiled(True, "aot_eager"),
    "torch.export": exported,
    "torch.export under no_grad": exported_for_inference,
    "dense copy": dense,
    "ONNX": onnx_exported,
    "torch.func.grad": func_grad,
    "torch.func.vmap": func_vmap,
    "gradient checkpointing": checkpointed,
    "meta device": on_meta,
    "AveragedModel": averaged(False),
    "AveragedModel use_buffers": averaged(True),
    "weight_norm": normed,
    "torch.nn.utils.prune": pruned,
    "foreach optimizer": optimizer(foreach=True),
    "fused optimizer": optimizer(fused=True),
    "gradient clipping": clipped,
}

LINES = {  # what is said of what does not work
    "torch.export": r"cannot trace .*: load the state_dict into layers with kernel='masked'",
    "torch.func.grad": r"cannot trace .*: load the state_dict into layers with kernel='masked'",
    "torch.func.vmap": r"cannot trace .*: load the state_dict into layers with kernel='masked'",
    "meta device": "a sparse layer cannot be on meta, where its edges would be lost",
    "weight_norm": "does not have a parameter, a buffer, or a parametrized element with name 'weight'",
    "torch.nn.utils.prune": "weight_orig cannot be set: Sparse.* has no dense weight",
}


def table():
    """feature -> layer -> its cell, as the page has them."""
    rows = [line.strip("| \n").split(" | ") for line in TABLE.read_text().splitlines() if line.startswith("| ")]
    head, *rows = ([cell.strip(" |") for cell in row] for row in rows)
    return {row[0]: dict(zip(head[1:4], row[1:4], strict=True)) for row in rows}


def test_the_page_has_every_feature_that_is_tried_and_no_other():
    page = table()
    assert set(page) == {*FEATURES, "DistributedDataParallel"}
    assert {cell for row in page.values() for cell in row.values()} == {"yes", "masked", "no"}


@pytest.mark.filterwarnings("ignore")  # torch's own, as it traces
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_works_as_the_page_says(feature, layer, kernel):
    torch.manual_seed(0)
    module, x = LAYERS[layer](kernel), torch.randn(INPUTS[layer])
    if table()[feature][layer] in ("yes", kernel):
        FEATURES[feature](module, x)
        return
    with pytest.raises(Exception, match=LINES[feature]):
        FEATURES[feature](module, x)


def test_the_page_says_that_two_processes_train_what_one_would():
    """As topokit_train/test_two_ranks.py shows."""
    assert set(table()["DistributedDataParallel"].values()) == {"yes"}
