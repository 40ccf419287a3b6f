"""What both processes do that test_two_ranks.py starts: `_two_ranks.py RANK STORE FOLDER`.

Each trains networks with the other one, and alone. What failed goes to FOLDER/rank<N>.json.
"""

import json
import sys
import traceback
from functools import partial
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from topokit import RadixNet
from topokit_train.kernels import KERNELS
from topokit_train.layers.convolution import SparseConv2d
from topokit_train.layers.linear import SparseLinear

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "layers"), str(HERE / "conversion")]
import test_torch_features  # noqa: E402
import test_transformers  # noqa: E402


def filters_and_layers(seed, kernel):
    """A convolution of 5 channels of 2 x 2 to 40, and the two layers that the same topology gives."""
    net = RadixNet(radices=[(4, 5)], kron=(1, 2, 1)).build()
    generator = torch.Generator().manual_seed(seed)
    layers = [SparseLinear(net.layer(i), kernel=kernel, generator=generator) for i in range(2)]
    filters = SparseConv2d(net.layer(0), 5, 2, kernel=kernel, generator=generator)
    return nn.Sequential(filters, nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), layers[1], nn.ReLU(), layers[0])


def layer_of_the_page(seed, make, kernel):
    torch.manual_seed(seed)
    return make(kernel)


def images(batch, *shape):
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(9))


WORK = {  # a network of a seed, its input, and the optimizer
    **{
        f"filters and layers, {kernel}": (
            partial(filters_and_layers, kernel=kernel),
            images(8, 5, 3, 3),
            partial(torch.optim.Adam, lr=0.01),
        )
        for kernel in sorted(KERNELS)
    },
    **{
        f"{name}, {kernel}": (
            partial(layer_of_the_page, make=make, kernel=kernel),
            images(4, *test_torch_features.INPUTS[name][1:]),
            partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        )
        for name, make in test_torch_features.LAYERS.items()
        for kernel in test_torch_features.KERNELS
    },
    "encoder layer": (
        test_transformers.encoder_layer,
        test_transformers.inputs(4),
        partial(torch.optim.SGD, lr=0.01),
    ),
}


def main(rank, store, folder):
    distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    failed = {}
    for name, work in WORK.items():
        try:
            compare(rank, *work)
        except Exception:
            failed[name] = traceback.format_exc()
    distributed.destroy_process_group()
    (folder / f"rank{rank}.json").write_text(json.dumps({"done": list(WORK), "failed": failed}))


def compare(rank, make, x, optimizer_of):
    """Three steps of two processes, each with half of the batch, give the weights that one gets from all of it."""
    several, alone, x = make(rank).double(), make(0).double(), x.double()  # rank 0's values are those that count
    half = len(x) // 2
    for model, batch in ((DistributedDataParallel(several), x[half * rank : half * (rank + 1)]), (alone, x)):
        optimizer = optimizer_of(model.parameters())
        for _ in range(3):
            optimizer.zero_grad()
            (model(batch) - 1).square().mean().backward()
            optimizer.step()
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(several.state_dict()[name], value, msg=lambda said, name=name: f"{name}: {said}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
