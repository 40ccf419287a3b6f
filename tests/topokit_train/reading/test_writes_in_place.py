"""Modules that write into tensors in place, against derivatives; files of them are read right or refused."""

import copy
import re
import warnings
from functools import wraps

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 (skipped without torch)

from topokit.errors import FileFormatError, InvalidGraphError  # noqa: E402
from topokit.extraction import Rule, select  # noqa: E402
from topokit_train import read_weights  # noqa: E402
from topokit_train.weights import read_model  # noqa: E402

from . import random_modules  # noqa: E402
from .random_modules import Relu, edges_by_derivatives  # noqa: E402
from .test_random_modules import by_node_of_the_input, edges_read  # noqa: E402

MASK = [[1.0, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1]]


class Module(nn.Module):
    """Layers and a forward function of them."""

    def __init__(self, function):
        super().__init__()
        self.function, self.relu = function, Relu()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)
        self.c, self.o = nn.Linear(4, 4), nn.Linear(4, 3)
        self.wide = nn.Linear(8, 2)
        self.register_buffer("cache", torch.zeros(4, 4))
        self.register_buffer("mask", torch.tensor(MASK))

    def forward(self, x):
        return self.function(self, x)

    def features(self, x):
        return self.relu(self.a(x))


def product(x, weight):
    made = nn.functional.linear(x, weight)
    return random_modules.CUTS.cut(made, -1) if Relu.smooth else made


def features(write):
    """Features of a layer, into which `write` writes, and a layer that reads all of them."""

    @wraps(write)
    def function(self, x):
        y = self.features(x)
        write(self, y, x)
        return self.o(y)

    return function


@features
def slice_(self, y, x):
    y[:, :2] = self.relu(self.b(x))


@features
def added_slice(self, y, x):
    y[:, :2] += self.b(x)


@features
def gate_by_a_view(self, y, x):
    y.view(-1, 2, 2).mul_(self.relu(self.b(x))[:, :, None])


@features
def column_of_zeros(_self, y, _x):
    y[:, 0] = 0


@features
def slice_of_zeros(_self, y, _x):
    y[:, :2] = 0


@features
def columns_by_indices(self, y, x):
    y[:, torch.tensor([3, 0])] = self.relu(self.b(x))


@features
def column_of_another_column(_self, y, _x):
    y[:, 1] = y[:, 2]


@features
def masked_by_a_view(self, y, _x):
    y[:, 1:].masked_fill_(self.mask[0, 1:] == 0, 2.0)


@features
def columns_filled(_self, y, _x):
    y.t().index_fill_(0, torch.tensor([1, 3]), 1.0)


@features
def columns_zeroed(_self, y, _x):
    y[:, 1:3].zero_()


@features
def columns_copied(self, y, x):
    y[:, 2:].copy_(self.relu(self.b(x)))


@features
def scattered(self, y, x):
    y[:, :3].scatter_(1, torch.tensor([[2, 0]] * 4), self.relu(self.b(x)))


@features
def by_part_of_a_split(self, y, x):
    parts = y[:, :2], y[:, 2:]
    part = parts[1] if Relu.smooth else y.split(2, -1)[1]  # which has no derivative
    part.add_(self.b(x))


@features
def twice(self, y, x):
    y[:, :2] = self.b(x)
    y[:, 1:3] = y[:, 0:1]


@features
def by_out(self, y, x):
    if Relu.smooth:  # `out` has no derivative
        y[:, :2] = self.b(x) + 1
    else:
        torch.add(self.b(x), 1, out=y[:, :2])


def temporal_shift(self, x):
    y = self.features(x)
    out = torch.zeros_like(y)
    out[:-1, :2] = y[1:, :2]
    out[1:, 2:] = y[:-1, 2:]
    return self.o(out)


def into_new_zeros(self, x):
    z = x.new_zeros(x.shape[0], 8)
    z[:, 4:] = self.a(x)
    return self.wide(z)


def into_a_cache(self, x):
    cache = self.cache.clone() if Relu.smooth else self.cache
    cache[:2] = self.features(x)[:2]
    return self.o(cache)


def mean_of_positions_of_which_one_is_zero(self, x):
    y = self.features(x).reshape(2, 2, 4)
    y[:, 0] = 0
    return self.o(y.mean(1))


def pooled_beside_zeros(self, x):
    y = self.features(x).reshape(2, 2, 4).mT
    y[..., 1] = 0
    return self.o(nn.functional.avg_pool1d(y, 2)[..., 0])


def chosen_by_a_constant(self, x):
    y = self.features(x)
    y[:] = torch.where(self.mask[0] > 0, y, self.c(x))
    return self.o(y)


def rows_of_a_weight(self, x):
    weight = self.c.weight.clone()
    weight[0] = 0
    return self.o(product(x, weight))


def masked_weight(self, x):
    weight = self.c.weight * 1
    weight.t().mul_(self.mask.t())
    return self.o(product(x, weight))


def weight_with_rows_of_another(self, x):
    weight = self.c.weight.clone()
    weight[:2] = self.b.weight
    return self.o(product(x, weight))


LOST = [
    slice_,
    added_slice,
    gate_by_a_view,
    column_of_zeros,
    slice_of_zeros,
    column_of_another_column,
    masked_by_a_view,
    columns_filled,
    columns_zeroed,
    columns_copied,
    scattered,
    by_part_of_a_split,
    twice,
    by_out,
    temporal_shift,
    into_new_zeros,
    into_a_cache,
    mean_of_positions_of_which_one_is_zero,
    pooled_beside_zeros,
    rows_of_a_weight,
    masked_weight,
    weight_with_rows_of_another,
]


def whole_by_its_output(self, x):
    y = self.features(x)
    y = y.add_(self.c(x)).mul_(2).clamp_(min=-1e6)
    return self.o(y)


def whole_copied(self, x):
    y = self.features(x)
    y.copy_(self.c(x))
    return self.o(y)


def whole_masked_weight(self, x):
    weight = self.c.weight.clone()
    weight *= self.mask
    return self.o(product(x, weight))


def whole_weight_copied(self, x):
    weight = self.c.weight.clone()
    weight.copy_(self.cache + self.mask)
    return self.o(product(x, weight))


def whole_filled_by_a_mask(self, x):
    y = self.features(x)
    y.masked_fill_(self.mask[1] == 0, 1.0)
    return self.o(y)


def triangle(self, x):
    y = self.features(x).reshape(4, 2, 2)
    return self.o(y.tril_().flatten(1))


def diagonal_of_a_weight(self, x):
    weight = self.c.weight.clone()
    weight.fill_diagonal_(0)
    return self.o(product(x, weight))


def diagonal_of_features(self, x):
    y = self.features(x)[:1]
    y = torch.cat([y, y]).fill_diagonal_(1.0)
    return self.wide(y.reshape(1, 8))


KEPT = [
    triangle,
    diagonal_of_a_weight,
    diagonal_of_features,
    columns_by_indices,
    chosen_by_a_constant,
    whole_by_its_output,
    whole_copied,
    whole_masked_weight,
    whole_weight_copied,
    whole_filled_by_a_mask,
]


DIAGONALS = [diagonal_of_a_weight, diagonal_of_features]
"""What run_decompositions writes as strides in memory, which are not read."""


@features
def by_a_view_of_dropout(_self, y, _x):
    nn.functional.dropout(y, 0.5, training=False)[:, 0] = 0


def made(function):
    torch.manual_seed(0)
    module = Module(function).eval()
    module.requires_grad_(function not in (by_part_of_a_split, by_out))  # which have no derivative
    return module, torch.randn(4, 4)


def expected_of(module, example):
    edges = edges_by_derivatives(copy.deepcopy(module), example)
    labels = np.indices(example.shape)[1].ravel()  # an element of the input is its feature
    return {number: by_node_of_the_input(one, labels) for number, one in edges.items()}


@pytest.mark.parametrize("function", LOST + KEPT, ids=lambda one: one.__name__)
def test_what_is_written_in_place_is_read(function, tmp_path):
    module, example = made(function)
    before = {name: one.clone() for name, one in module.state_dict().items()}
    expected = expected_of(module, example)
    assert edges_read(select(read_model(module, example), Rule())) == expected
    assert all(torch.equal(one, before[name]) for name, one in module.state_dict().items())

    program = torch.export.export(module, (example,))
    torch.export.save(program, tmp_path / "in_place.pt2")
    if function in LOST:
        with pytest.raises(FileFormatError, match=r"the node \w+ .* writes into .*: export .*run_decompositions"):
            read_weights(tmp_path / "in_place.pt2")
    else:
        assert edges_read(select(read_weights(tmp_path / "in_place.pt2"), Rule())) == expected

    if function in DIAGONALS:
        return
    torch.export.save(program.run_decompositions({}), tmp_path / "functional.pt2")
    assert edges_read(select(read_weights(tmp_path / "functional.pt2"), Rule())) == expected


IN_ONNX = [
    slice_,
    added_slice,
    column_of_zeros,
    slice_of_zeros,
    column_of_another_column,
    columns_zeroed,
    columns_copied,
    scattered,
    twice,
    temporal_shift,
    into_new_zeros,
    mean_of_positions_of_which_one_is_zero,
    rows_of_a_weight,
    weight_with_rows_of_another,
    triangle,
    columns_by_indices,
    whole_by_its_output,
]
"""What the exporter by tracing writes into the file: it refuses or loses the other writes."""


@pytest.mark.parametrize("function", IN_ONNX, ids=lambda one: one.__name__)
def test_what_is_written_in_place_is_read_from_onnx(function, tmp_path):
    pytest.importorskip("onnx")
    module, example = made(function)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (example,), tmp_path / "in_place.onnx", dynamo=False)
    assert edges_read(select(read_weights(tmp_path / "in_place.onnx"), Rule())) == expected_of(module, example)


def test_a_diagonal_by_strides_in_memory_is_named(tmp_path):
    for function in DIAGONALS:
        module, example = made(function)
        torch.export.save(torch.export.export(module, (example,)).run_decompositions({}), tmp_path / function.__name__)
    found = select(read_weights(tmp_path / "diagonal_of_features"), Rule())
    assert {(one["kind"], one["name"]) for one in found.joints if "name" in one} == {("mixed", "as_strided_scatter")}
    with pytest.raises(InvalidGraphError, match=r"the node as_strided computes a constant by aten.as_strided.default"):
        select(read_weights(tmp_path / "diagonal_of_a_weight"), Rule())


def test_a_write_that_torch_would_lose_is_refused_or_read(tmp_path):
    module, example = made(by_a_view_of_dropout)
    refused = r"the node fill_ \(aten.fill_.Tensor\) writes into "
    found, message = None, ""
    try:
        found = select(read_model(module, example), Rule())
    except InvalidGraphError as error:
        message = str(error)
    if found:  # torch 2.14 exports what the model does
        assert edges_read(found) == expected_of(module, example)
    else:
        assert re.search(f"{refused}the memory of relu, .* write into a clone", message)
    torch.export.save(torch.export.export(module, (example,)), tmp_path / "model.pt2")
    with pytest.raises(FileFormatError, match=refused):
        read_weights(tmp_path / "model.pt2")
