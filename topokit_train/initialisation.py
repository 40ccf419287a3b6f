"""The first weights of a model, and which of its parameters are weights."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import torch
from torch import Tensor, nn

from topokit.errors import InvalidSpecError
from topokit_train.layers.sparse import SparseModule
from topokit_train.layers.stacks import StackedLinear, parameters_of

DEVIATION = {"linear": 0.04, "convolution": 0.05}
BIAS = {"linear": 0.1, "convolution": 0.0}
CUT = 2  # standard deviations


def weights_of(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, nn.Module]]:
    """Yield name, parameter and module of the weights of linear layers and convolutions, dense and sparse, in order."""
    seen = set()  # tied weights are one
    for name, parameter, module in parameters_of(model):
        layer = isinstance(module, nn.Linear | nn.Conv2d | SparseModule | StackedLinear)
        if layer and name.rpartition(".")[2] in ("weight", "values") and id(parameter) not in seen:
            seen.add(id(parameter))
            yield name, parameter, module


def is_convolution(module: nn.Module) -> bool:
    """Return whether a module is a convolution, dense or sparse."""
    return hasattr(module, "kernel_size")


@torch.no_grad()
def draw_by_fan_in(
    model: nn.Module, device: torch.device | str = "cpu", generator: torch.Generator | None = None
) -> None:
    """Draw all weights of a model from normal distributions of variance 2 / fan-in; all biases become 0.

    The fan-in counts the real weights alone. The draws are made on the CPU in float32, layer after layer
    and in canonical order, so a seed gives one network under every kernel and device.

    Args:
        model: one network; its dense layers may be on the meta device, and are then moved.
        device: of the weights.
        generator: a CPU generator; torch's global one if omitted.

    Source: He et al. 2015, "Delving Deep into Rectifiers", arXiv:1502.01852.
    """
    for module in list(model.modules()):
        if isinstance(module, SparseModule):
            module.reset_parameters(generator)
        elif isinstance(module, nn.Linear | nn.Conv2d):
            _allocate(module, device)
            weight = torch.randn(*module.weight.shape, generator=generator, dtype=torch.float32, device="cpu")
            module.weight.copy_(weight * (2 / prod(module.weight.shape[1:])) ** 0.5)
            if module.bias is not None:
                module.bias.zero_()


@torch.no_grad()
def draw_others(model: nn.Module) -> None:
    """Draw the parameters that are still on the meta device: those of embeddings, norms, attention and others.

    Each module that owns one draws its parameters itself, on the CPU, by its method `reset_parameters`, as PyTorch's
    modules have.

    Args:
        model: one network, after `draw_by_fan_in`.

    Raises:
        InvalidSpecError: a module has no such method.
    """
    for name, module in model.named_modules():
        own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
        if not any(tensor.is_meta for tensor in own):
            continue
        reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        if reset is None:
            raise InvalidSpecError(
                f"the module {name or type(module).__name__} has parameters or buffers of its own, and no method that "
                f"gives them their first values: give {type(module).__name__} a method reset_parameters"
            )
        _allocate(module, "cpu", recurse=False)
        reset()


def _allocate(module: nn.Module, device: torch.device | str, recurse: bool = True) -> None:
    # what to_empty does, whose empty_like of a meta tensor imports sympy, which takes a second
    module._apply(  # type: ignore[no-untyped-call]
        lambda t: torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device=device), recurse=recurse
    )


@torch.no_grad()
def draw_truncated_normal(model: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights of a model from normal distributions that are cut off at 2 standard deviations.

    The standard deviation is .04 in linear layers, whose biases become .1, and .05 in convolutions, whose biases
    become 0. It is the same however few edges a layer has. The draws are made on the CPU in float32, layer after
    layer and in canonical order, so a seed gives one network under every kernel and device.

    Args:
        model: one network, not several stacked ones.
        generator: a CPU generator.

    Source: the code of Alford et al. 2018, arXiv:1810.00299; TensorFlow's truncated_normal.
    """
    for _, parameter, module in weights_of(model):
        kind = "convolution" if is_convolution(module) else "linear"
        deviation = DEVIATION[kind]
        drawn = torch.empty(parameter.shape, dtype=torch.float32, device="cpu")
        nn.init.trunc_normal_(drawn, 0, deviation, -CUT * deviation, CUT * deviation, generator=generator)
        drawn = drawn.to(parameter)
        parameter.copy_(module.from_canonical(drawn) if isinstance(module, SparseModule) else drawn)
        if isinstance(module.bias, Tensor):
            module.bias.fill_(BIAS[kind])
