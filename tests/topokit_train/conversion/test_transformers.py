"""torch's own transformers with sparse weights: trained, in evaluation, copied, exported."""

import copy

import pytest
import torch
from torch import nn

from topokit_train import densify, report, sparsify
from topokit_train.layers.sparse import SparseModule

SIX = {"self_attn.*": "bernoulli density=.1 seed=0", "linear*": "bernoulli density=.1 seed=1"}


def encoder_layer(seed=0):
    torch.manual_seed(seed)
    layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
    return sparsify(layer, SIX, init="scale")


def trained(model, steps=5):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (model(inputs()) - 1).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def inputs(batch=3):
    return torch.randn(batch, 7, 64, generator=torch.Generator().manual_seed(1))


def test_an_encoder_layer_with_six_sparse_weights():
    model = encoder_layer()
    rows = report(model).rows
    assert [row.source for row in rows] == ["layer 0"] * 6
    assert all(0.05 < row.density < 0.15 for row in rows)
    losses = trained(model)
    assert losses[-1] < losses[0]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    dense, x = densify(copy.deepcopy(model)).eval(), inputs()
    with torch.no_grad():
        y = model.eval()(x)
        torch.testing.assert_close(y, dense(x), rtol=1e-4, atol=1e-5)  # which takes torch's fast path
    for copied in (copy.deepcopy(model), encoder_layer(seed=3).eval()):
        copied.load_state_dict(before)
        torch.testing.assert_close(copied(x), model(x))
    with torch.no_grad():
        program = torch.export.export(model, (x,)).module()
        torch.testing.assert_close(program(x), y)


@pytest.mark.parametrize("mode", [True, False])
def test_a_whole_transformer_with_masks_and_padding(mode):
    """Encoder and decoder, equal to the dense model with the same weights, gradients included."""
    torch.manual_seed(0)
    sparse = nn.Transformer(16, 2, 2, 2, 24, dropout=0.0, batch_first=True, dtype=torch.float64)
    sparsify(sparse, {"*attn*": "bernoulli density=.4 seed=0", "*linear*": "bernoulli density=.3 seed=1"})
    dense = densify(copy.deepcopy(sparse))
    assert not any(isinstance(part, SparseModule) for part in dense.modules())
    source = torch.randn(3, 5, 16, dtype=torch.float64)
    target = torch.randn(3, 4, 16, dtype=torch.float64)
    causal = nn.Transformer.generate_square_subsequent_mask(4, dtype=torch.float64)
    padding = torch.tensor([[0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 1, 1, 1]]).bool()
    given = {"tgt_mask": causal, "tgt_is_causal": True, "memory_key_padding_mask": padding}
    found = []
    for model in (sparse, dense):
        x = source.clone().requires_grad_(mode)
        with torch.set_grad_enabled(mode):
            y = model.train(mode)(x, target, src_key_padding_mask=padding, **given)
        found.append([y, *torch.autograd.grad(y.square().sum(), [x])] if mode else [y])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-11)
