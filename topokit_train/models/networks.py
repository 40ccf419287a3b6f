"""The models as torch modules, and build_model, which builds one by name and puts topologies on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from topokit_train.chain import Dense, Link, chain
from topokit_train.conversion import sparsify
from topokit_train.initialisation import draw_by_fan_in
from topokit_train.kernels.base import BATCH
from topokit_train.layers.linear import SparseLinear
from topokit_train.layers.normalisation import LocalResponseNorm
from topokit_train.layers.sparse import SparseModule
from topokit_train.layers.stacks import StackedLinear, StackedSparse, copies_in, stacked
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
    layers = {slot.removesuffix(".weight"): _undrawn(name, slot, shape) for slot, shape in table.items()}
    model: nn.Module = MODELS[name].module(layers, image)
    if nets:
        unused = torch.Generator()  # all weights are drawn together below
        with torch.device(device):
            sparsify(model, nets, kernel="csr" if copies > 1 else kernel, init="he", generator=unused, batch=batch)
    if copies > 1:
        return stacked(model, copies, shared=shared, kernel=kernel, device=device, batch=batch)
    draw_by_fan_in(model, device, generator)
    return model.to(device)


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


def _undrawn(name: str, slot: str, shape: Sequence[int]) -> nn.Linear | nn.Conv2d:
    """A dense layer on the meta device: it costs nothing, and a sparse one may take its place."""
    out, into, *filters = shape
    if not filters:
        return nn.Linear(into, out, device="meta", dtype=torch.float32)
    padding = MODELS[name].convolutions[slot.removesuffix(".weight")]
    return nn.Conv2d(into, out, (filters[0], filters[1]), padding=padding, device="meta", dtype=torch.float32)
