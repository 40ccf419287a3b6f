"""What `auto` takes, layer by layer."""

import numpy as np
import pytest
import torch

from topokit import Bernoulli, Block, RadixNet, Topology, crop, kron, permute
from topokit.errors import InvalidSpecError
from topokit_train.kernels import KERNELS
from topokit_train.layers.choice import Product, choose
from topokit_train.layers.linear import SparseLinear

CPU = torch.device("cpu")


def layer_of(mask):
    """The topology layer of a dense bool array, shape (in, out)."""
    return Topology.from_dense([mask]).layer(0)


def random_mask(seed, shape, density):
    return np.random.default_rng(seed).random(shape) < density


@pytest.mark.parametrize(
    ("shape", "density", "device", "dtype", "taken"),
    [
        ((784, 300), 0.1, "cpu", torch.float32, "csr"),
        ((300, 100), 0.1, "cpu", torch.float64, "csr"),
        ((300, 100), 0.5, "cpu", torch.float32, "masked"),
        ((784, 300), 1.0, "cpu", torch.float32, "band"),  # one block, and no mask
        ((32, 32), 0.05, "cpu", torch.float32, "masked"),
        ((784, 300), 0.1, "cpu", torch.bfloat16, "csr"),
        ((784, 300), 0.1, "mps", torch.float32, "masked"),
        ((784, 300), 0.1, "cuda", torch.float32, "masked"),
        ((3000, 1000), 0.001, "cuda", torch.float32, "csr"),
    ],
)
def test_auto_takes_csr_where_it_should_be_faster(shape, density, device, dtype, taken):
    assert choose(layer_of(random_mask(0, shape, density)), torch.device(device), dtype).kernel == taken


BIG = RadixNet(radices=[(10, 10)], kron=(8, 3, 1))


@pytest.mark.parametrize(
    ("net", "device", "dtype", "taken"),
    [
        (RadixNet(radices=[(10, 10)], kron=(32, 32, 1)), "cpu", torch.float32, "band"),
        (RadixNet(radices=[(8, 32)], kron=(16, 16, 1)), "cpu", torch.bfloat16, "band"),
        (BIG, "cpu", torch.float32, "band"),
        (crop(BIG, (784, 300, 100)), "cpu", torch.float32, "csr"),
        (BIG, "cuda", torch.float32, "masked"),
        (BIG, "mps", torch.float32, "masked"),
        (RadixNet(radices=[(32, 32)], kron=(3, 3, 1)), "cuda", torch.float32, "band"),
        (RadixNet(radices=[(8, 512)]), "cpu", torch.float32, "csr"),
        (RadixNet(radices=[(4, 8)]), "cpu", torch.float32, "masked"),
        (Block(widths=(1024, 1024), block=32, density=".3", seed=0), "cpu", torch.float32, "block"),
        (Block(widths=(512, 512), block=4, density=".3", seed=0), "cpu", torch.float32, "csr"),
        (crop(Block(widths=(960, 960), block=32, density=".3", seed=0), (950, 940)), "cpu", torch.bfloat16, "block"),
        (kron(Bernoulli(widths=(32, 16), density=".2", seed=0), (48, 48)), "cpu", torch.float32, "block"),
        (Block(widths=(512, 512), block=32, density=".3", seed=0), "cuda", torch.float32, "masked"),
    ],
)
def test_auto_takes_the_kernel_of_the_structure_where_it_pays(net, device, dtype, taken):
    assert choose(permute(net, seed=1).layer(0), torch.device(device), dtype).kernel == taken


def test_larger_batches_pay_for_laying_out_a_band():
    layer = crop(BIG, (784, 300, 100)).layer(0)
    taken = [choose(layer, CPU, torch.float32, work=Product(batch)).kernel for batch in (100, 512)]
    assert taken == ["csr", "band"]
    assert SparseLinear(layer, batch=512).kernel == "band"


def test_a_named_kernel_is_taken_or_refused_with_what_it_supports():
    layer = layer_of(np.ones((2, 2), bool))
    for name in KERNELS:
        assert choose(layer, CPU, torch.float32, name).kernel == KERNELS[name].name == name
    with pytest.raises(InvalidSpecError, match="did you mean csr"):
        choose(layer, CPU, torch.float32, "crs")
    with pytest.raises(
        InvalidSpecError, match="csr does not run on cpu with float16: it takes float32, float64, bfloat16 on cpu, cuda"
    ):
        choose(layer, CPU, torch.float16, "csr")
    with pytest.raises(InvalidSpecError, match="csr does not run on mps with float32"):
        choose(layer, torch.device("mps"), torch.float32, "csr")
    with pytest.raises(InvalidSpecError, match="masked does not run on cpu with int64"):
        choose(layer, CPU, torch.int64)
