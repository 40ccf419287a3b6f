"""Weights in which constants or other weights stand beside the elements of a parameter: edges against the numbers."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 (skipped without torch)
from torch.nn import functional  # noqa: E402

import topokit_train  # noqa: E402


class Computed(nn.Module):
    """A layer whose weight is computed from two parameters, of which half are 0."""

    def __init__(self, weight):
        super().__init__()
        torch.manual_seed(0)
        self.w, self.v = (nn.Parameter((0.5 + torch.rand(4, 4)) * (torch.rand(4, 4) < 0.5)) for _ in range(2))
        self.b, self.a = nn.Parameter(torch.ones(4, 2)), nn.Parameter(torch.ones(2, 4))
        self.weight = weight

    def forward(self, x):
        return functional.linear(x[:, : self.weight(self).shape[1]], self.weight(self))


WEIGHTS = {
    "unit diagonal": lambda m: m.w.tril(-1) + torch.eye(4),
    "two triangles": lambda m: m.w.triu() + m.v.tril(-1),
    "exponential": lambda m: m.w.tril().exp(),
    "adapted": lambda m: m.w.tril() + m.b @ m.a,
    "padded": lambda m: functional.pad(m.w, (0, 1)) + 1,
    "padded by a value": lambda m: functional.pad(m.w, (0, 1), value=0.1),
    "padded by a negative value": lambda m: functional.pad(m.w, (0, 1), value=-1.0).abs(),
    "beside ones": lambda m: torch.cat([m.w, torch.ones(4, 1)], 1),
    "beside zeros": lambda m: torch.cat([m.w, torch.zeros(4, 1)], 1),
    "product with itself": lambda m: m.w @ m.w.clone(),
    "square": lambda m: m.w * m.w.clone(),
    "overwritten": lambda m: m.w.clone().copy_(m.v.abs()),
    "masked triangle": lambda m: m.w.tril() * m.v,
}


@pytest.mark.parametrize("above", [None, 0.3])
@pytest.mark.parametrize("name", WEIGHTS)
def test_edges_are_the_weights_that_are_used(name, above):
    module = Computed(WEIGHTS[name]).eval()
    weight = WEIGHTS[name](module).detach().numpy()
    found = topokit_train.extract(module, torch.randn(2, 5), above=above)
    assert np.array_equal(found.topology[0].to_dense()[: weight.shape[1]], np.abs(weight.T) > (above or 0))


class Experts(nn.Module):
    """Three matrices of 4 x 5 in one parameter: 5 is not a multiple of 3."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.w = nn.Parameter(torch.rand(3, 4, 5) * (torch.rand(3, 4, 5) < 0.5))

    def forward(self, x):
        return torch.bmm(x.view(2, 3, 4).transpose(0, 1), self.w)


def test_matrices_side_by_side_are_read():
    module = Experts().eval()
    found = topokit_train.extract(module, torch.randn(2, 12))
    assert sum(net.edges for net in found.chains) == int((module.w != 0).sum())


def test_a_turned_filter_in_groups_is_read():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(4, 2, 3, 3))

        def forward(self, x):
            return functional.conv2d(x, self.w.flip(0), groups=2)

    assert topokit_train.extract(Turned().eval(), torch.randn(1, 4, 5, 5)).topology.edges == 8


def test_a_filter_beside_zeros_is_read():
    class Widened(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(4, 4, 3, 2))

        def forward(self, x):
            return functional.conv2d(x, torch.cat([self.w, torch.zeros(4, 4, 3, 1)], 3))

    assert topokit_train.extract(Widened().eval(), torch.randn(1, 4, 5, 5)).topology.edges == 16
