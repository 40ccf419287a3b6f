"""The models as torch modules, and build_model, which puts a topology's layers into their slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from topokit.errors import InvalidSpecError
from topokit.layered import Layer
from topokit.masking import fill_all
from topokit_train.chain import Dense, Link, chain
from topokit_train.kernels.base import BATCH
from topokit_train.layers.convolution import SparseConv2d
from topokit_train.layers.linear import SparseLinear
from topokit_train.layers.normalisation import LocalResponseNorm
from topokit_train.layers.sparse import SparseModule
from topokit_train.layers.stacks import StackedLinear, StackedSparse, copies_in
from topokit_train.models import MODELS, Image, Wiring, as_sequence, slots_for


class MultilayerPerceptron(nn.Module):
    """Layers one after another, a ReLU between them; the last one's outputs are the logits.

    Args:
        layers: name -> nn.Linear or SparseLinear, in the order in which the data pass them.
    """

    def __init__(self, layers: Mapping[str, nn.Module]):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (batch, classes), of images of any shape (batch, ...)."""
        return _perceptron(tuple(self.children()), images.flatten(1))


def _perceptron(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    """What the last of several linear layers makes of x, shape (batch, features), with a ReLU between each two."""
    *hidden, last = layers
    # all in one step of autograd, as a step for each would take longer than small products; but hooks want to be called
    if torch.is_grad_enabled() and not any(map(_has_hooks, layers)):
        return chain(x.T, [*(_link(layer, relu=True) for layer in hidden), _link(last, relu=False)]).T
    for layer in hidden:
        x = layer(x).relu()
    logits: Tensor = last(x)
    return logits


def _has_hooks(layer: nn.Module) -> bool:
    return bool(layer._forward_pre_hooks or layer._forward_hooks or layer._backward_pre_hooks or layer._backward_hooks)


def _link(layer: nn.Module, relu: bool) -> Link:
    if isinstance(layer, nn.Linear):
        return Link(Dense(), layer.weight, layer.bias, relu)
    assert isinstance(layer, SparseLinear | StackedLinear)
    return layer.link(relu)


class ConvolutionalNetwork(nn.Module):
    """Two convolutions with a pool each, and fully connected layers; the last one's outputs are the logits.

    Activations lie in memory channels last, where torch's convolutions and pools are faster on a CPU. The features
    are handed to fc1 channel by channel, whatever the memory.

    Args:
        layers: conv1 and conv2, then fc1, fc2, ...: dense or sparse, in the order in which the data pass them.
        normalised: whether to normalise behind the first pool and before the second.
        pool: rows and columns of a pool, 2 or 3; its stride is 2.
    """

    def __init__(self, layers: Mapping[str, nn.Module], *, normalised: bool, pool: int):
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._layers = tuple(layers)
        self._pool = pool
        self.norm1, self.norm2 = (
            LocalResponseNorm(int(layers[name].out_channels)) if normalised else None  # type: ignore[arg-type]
            for name in ("conv1", "conv2")
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (batch, classes), of images of shape (batch, channels, rows, columns)."""
        conv1, conv2, *linear = (self.get_submodule(name) for name in self._layers)
        x = self._pooled(conv1(images.contiguous(memory_format=torch.channels_last))).relu()
        if self.norm1 is None or self.norm2 is None:
            x = self._pooled(conv2(x)).relu()
        else:
            x = self._pooled(self.norm2(conv2(self.norm1(x)).relu()))
        return _perceptron(linear, x.flatten(1))

    def _pooled(self, x: Tensor) -> Tensor:
        """The greatest number of each window, as TensorFlow's SAME places them: half the size, rounded up.

        Without normalisation a row or column that is left over is dropped.
        """
        if self.norm1 is None:
            return max_pool2d(x, self._pool, 2)
        before = [size % 2 if self._pool == 3 else 0 for size in x.shape[2:]]
        return max_pool2d(x, self._pool, 2, before, ceil_mode=True)


def build_model(
    name: str,
    wiring: Wiring,
    *,
    image: Image,
    classes: int,
    kernel: str | Mapping[str, str] = "auto",
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
    copies: int = 1,
    shared: bool = False,
    batch: int = BATCH,
) -> nn.Module:
    """A model whose slots the layers of topologies fill where their shapes match, in order; the others are dense.

    All weights are drawn by their real fan-in (He et al. 2015, arXiv:1502.01852) from one generator, slot
    after slot, so a seed gives one network under every kernel; all biases are 0. The type is float32.

    Args:
        name: a name in MODELS.
        wiring: a topology, or several of which each fills the slots that are left; none for a dense model.
        image: shape of an image, (channels, rows, columns).
        classes: number of classes.
        kernel: "auto" or a name in KERNELS; or such a name for each sparse layer, {"fc1": "csr", ...}.
        device: where it lives.
        generator: a CPU generator; torch's global one where left out.
        copies: how many networks to stack in one, see `topokit_train.layers.stacks`; the weights of more than one are
            left for `load_network_states`.
        shared: whether stacked networks read the same images.
        batch: images in one step, for the choice of kernels.

    Raises:
        InvalidSpecError: a topology does not fit the model, the message says which shapes do; or convolutions
            would have to be stacked.
    """
    nets = as_sequence(wiring)
    table = slots_for(name, nets, image=image, classes=classes)
    filled = fill_all(nets, table)
    layers: dict[str, nn.Module] = {}
    sparse = partial(SparseLinear, device=device, dtype=torch.float32, generator=generator, batch=batch)
    for k, (slot, shape) in enumerate(table.items()):
        layer = slot.removesuffix(".weight")
        number, i = filled.get(slot, (0, 0))
        edges = nets[number].layer(i) if slot in filled else None
        one = kernel if isinstance(kernel, str) else kernel.get(layer, "")
        if copies > 1:
            layers[layer] = _stacked(edges, shape, copies, shared and k == 0, one, device, batch)
        elif edges is None:
            layers[layer] = _dense(shape, _padding(name, layer, shape), device, generator)
        elif len(shape) == 2:
            layers[layer] = sparse(edges, kernel=one)
        else:
            layers[layer] = SparseConv2d(
                edges,
                shape[1],
                shape[2:],
                padding=_padding(name, layer, shape),
                kernel=one,
                device=device,
                dtype=torch.float32,
                generator=generator,
            )
    module: nn.Module = MODELS[name].module(layers, image)
    return module.to(device)


def count_parameters(model: nn.Module) -> dict[str, int]:
    """How many numbers each network of a model trains, biases included.

    Returns:
        "total", of the dense model of the same shape; "nonzero", of this one, with one number per edge.
    """
    total = nonzero = sum(parameter.numel() for parameter in model.parameters())
    for part in model.modules():
        if isinstance(part, SparseModule):
            total += _dense_size(part) - part.values.numel()
            nonzero += part.weights - part.values.numel()
    copies = copies_in(model)
    return {"total": total // copies, "nonzero": nonzero // copies}


def _dense_size(part: SparseModule) -> int:
    """Of as many dense layers as there are networks."""
    size = part.dense_weights
    return size // part.copies if isinstance(part, StackedSparse) and not part.shared else size


def _padding(name: str, layer: str, shape: Sequence[int]) -> int:
    padding: int = MODELS[name].convolutions[layer] if len(shape) == 4 else 0
    return padding


def _stacked(
    edges: Layer | None,
    shape: Sequence[int],
    copies: int,
    shared: bool,
    kernel: str,
    device: torch.device | str,
    batch: int,
) -> nn.Module:
    if len(shape) == 4:
        raise InvalidSpecError("convolutions are not stacked: train one seed after the other")
    out, into = shape
    if edges is None:
        return StackedLinear(copies, into, out, shared=shared, device=device)
    return StackedSparse(edges, copies, shared=shared, kernel=kernel, device=device, batch=batch)


def _dense(
    shape: Sequence[int], padding: int, device: torch.device | str, generator: torch.Generator | None
) -> nn.Linear | nn.Conv2d:
    out, into, *filters = shape
    dense = (  # on meta, which draws nothing of its own
        nn.Conv2d(into, out, (filters[0], filters[1]), padding=padding, device="meta")
        if filters
        else nn.Linear(into, out, device="meta")
    )
    weight = torch.randn(*shape, generator=generator, dtype=torch.float32) * (2 / prod(shape[1:])) ** 0.5
    dense.weight = nn.Parameter(weight.to(device))
    dense.bias = nn.Parameter(torch.zeros(out, dtype=torch.float32, device=device))
    return dense
