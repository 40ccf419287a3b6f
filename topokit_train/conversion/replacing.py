"""sparsify and densify: replace or mask a model's dense layers, and undo it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from topokit.errors import InvalidSpecError
from topokit.layered import Layer
from topokit.placement.filling import Topologies, fill
from topokit.placement.names import known_name
from topokit.placement.weights import thirds
from topokit.spec import integer
from topokit_train.conversion.masks import put_mask, release, unmask
from topokit_train.conversion.weights import LAZY, Owned, inherit, owned_weights, require_module
from topokit_train.kernels.base import BATCH
from topokit_train.layers.attention import SparseAttention
from topokit_train.layers.convolution import SparseConv2d, settings_of
from topokit_train.layers.linear import SparseLinear
from topokit_train.layers.packing import current
from topokit_train.layers.sparse import SparseModule

M = TypeVar("M", bound=nn.Module)
Filled = Mapping[str, tuple[Layer, str]]

INITS = ("keep", "scale", "he")


def sparsify(
    model: M,
    topology: Topologies,
    names: str | Sequence[str] | None = None,
    *,
    masked: bool = False,
    kernel: str | Mapping[str, str] = "auto",
    init: str = "keep",
    generator: torch.Generator | None = None,
    batch: int = BATCH,
) -> M:
    """Put a topology on a model, in place: replace dense layers by sparse ones, or mask their weights.

    nn.Linear becomes SparseLinear, nn.Conv2d SparseConv2d, nn.MultiheadAttention SparseAttention, whose projections
    `q`, `k`, `v` and `out_proj` are filled one by one. A sparse layer stores and multiplies one number per edge.
    `topokit.placement.place` says which layer of the topology fills which weight: its names, if the model knows them;
    otherwise the shapes, in order. All other weights stay dense; `report` lists both. Biases, device, dtype,
    requires_grad, the training mode and the hooks of modules are kept. Make the optimizer afterwards, as the parameters
    are new ones.

    Args:
        model: any module.
        topology: a topology, a description such as "radix-net radices=10,10 kron=8,3,1", a file, or what
            `topokit_train.extract` returned; several that do not chain; or a mapping {name or pattern: one of these, a
            layer or a mask}, for example {"encoder.*.linear1": "bernoulli density=.1 seed=0"}, in which `*` stands for
            any characters.
        names: the only weights that may be filled, in this order ("fc1" is "fc1.weight"). Names that the topology
            itself has do not count then.
        masked: keep the modules and mask their weights with torch.nn.utils.prune, at dense cost: `weight` is
            `weight_orig` times `weight_mask`, both of which are in the state_dict. A mask that a weight has already is
            replaced; what it masked is 0. Attention becomes SparseAttention here too, with masked projections.
        kernel: a name in KERNELS, "auto" or "tuned", see `topokit_train.layers.choice.choose`; or a mapping {module's
            name: such a name}. Not with `masked`.
        init: the first values. "keep" leaves the model's numbers; "scale" multiplies them by the square root of the
            dense fan-in over the real one of each output unit, so that outputs keep their size; "he" draws them by
            the real fan-in, in the model's order. A layer on the meta device has no numbers to keep: its sparse one is
            drawn by "he", and is on torch's default device.
        generator: draws for "he"; a CPU generator, torch's global one if omitted.
        batch: the inputs of a step for which "auto" chooses kernels.

    Returns:
        The model; or, if it is a bare nn.Linear, nn.Conv2d or nn.MultiheadAttention, the module that replaces it.

    Raises:
        InvalidSpecError: the topology does not fit, a name is not known, or a weight cannot be filled. The model is
            then as it was.
        InvalidGraphError: a mask holds something else than 0 and 1.

    Cost: O(edges) to choose kernels; with `masked`, as much memory again as the weights for the masks.
    """
    _require_arguments(model, masked, kernel, init)
    batch = integer(batch, "batch", 1)
    owned = owned_weights(model, masked)
    filled = _filled(owned, topology, names)
    kernels = dict.fromkeys(filled, kernel if isinstance(kernel, str) else "auto")
    if not isinstance(kernel, str):
        kernels |= {known_name(name, filled): one for name, one in kernel.items()}
    attentions: dict[nn.Module, nn.Module] = {
        module: SparseAttention.of(module)
        for module in {owned[name].module for name in filled}
        if isinstance(module, nn.MultiheadAttention)
    }
    parts = {name: _part(owned[name], attentions) for name in filled}
    _require_numbers(parts, init, masked)
    if masked:
        masks = [
            (parts[name], torch.from_numpy(owned[name].weight.mask(layer)), _first(parts[name], layer, init, generator))
            for name, (layer, _) in filled.items()
        ]
        for part, mask, first in masks:
            put_mask(part, mask, first)
            part.init = init  # type: ignore[assignment]  # for `report`
        return _swapped(model, attentions)
    replaced: dict[nn.Module, nn.Module] = {}
    for name, (layer, source) in filled.items():
        sparse = _sparse(parts[name], layer, kernels[name], init, generator, batch)
        sparse.source, sparse.init = source, init
        replaced[parts[name]] = sparse
    return _swapped(_swapped(model, attentions), replaced)


def _require_arguments(model: object, masked: bool, kernel: object, init: str) -> None:
    if isinstance(model, DistributedDataParallel):
        raise InvalidSpecError("wrap the model in DistributedDataParallel after sparsify, as it keeps parameters")
    if not isinstance(kernel, str | Mapping):
        raise InvalidSpecError(f"kernel must be a name or a mapping of names, not {kernel!r}")
    if init not in INITS:
        raise InvalidSpecError(f"init must be one of {', '.join(INITS)}, not {init!r}")
    if masked and kernel != "auto":
        raise InvalidSpecError(f"kernel={kernel!r} is for sparse layers: masked=True keeps the dense ones")


def _filled(
    owned: Mapping[str, Owned], topology: Any, names: str | Sequence[str] | None
) -> dict[str, tuple[Layer, str]]:
    """The edges of each weight that is filled, by the names of attention's projections, in the model's order."""
    lazy = [name for name, one in owned.items() if one.weight.obstacle == LAZY]
    if lazy and names is None and not isinstance(topology, Mapping):  # which weights come first is not known
        raise InvalidSpecError(f"{lazy[0]} {LAZY}")
    return _apart(fill(_masks_in(topology), {name: one.weight for name, one in owned.items()}, names), owned)


def _masks_in(topology: Any) -> Any:
    """The same with tensors of a mapping as NumPy arrays."""
    if isinstance(topology, torch.Tensor | np.ndarray | Layer):
        raise InvalidSpecError("a mask or a layer needs the name of its weight: give {name: mask}")
    if not isinstance(topology, Mapping):
        return topology
    return {name: _array(name, one) if isinstance(one, Tensor) else one for name, one in topology.items()}


def _array(name: str, mask: Tensor) -> np.ndarray[Any, Any]:
    try:
        dense = mask.detach().cpu()
        dense = dense if dense.layout == torch.strided else dense.to_dense()
        return (dense if dense.dtype == torch.bool else dense.double()).numpy()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        said = str(error).splitlines()[0]
        raise InvalidSpecError(f"the mask of {name} cannot be read ({said}): give 0 and 1") from None


def _part(owned: Owned, attentions: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """The module that has the weight once attention has four projections."""
    return attentions[owned.module].get_submodule(owned.projection) if owned.projection else owned.module


def _require_numbers(parts: Mapping[str, Any], init: str, masked: bool) -> None:
    """Refuse first values that a module cannot have."""
    for name, part in parts.items():
        if masked and init != "keep" and not isinstance(part, nn.Linear | nn.Conv2d):
            raise InvalidSpecError(f"init={init!r} is for nn.Linear and nn.Conv2d, not for {type(part).__name__}")
        if part.weight.is_meta and (masked or init != "he"):
            advice = "" if masked else ', or give init="he"'
            raise InvalidSpecError(f"{name} is on the meta device and has no numbers yet: load the model first{advice}")


def densify(model: M) -> M:
    """Replace the sparse layers of a model by dense ones that compute the same, in place; take off `sparsify`'s masks.

    The result is a plain torch model: nn.Linear, nn.Conv2d and nn.MultiheadAttention whose weights are 0 off the
    edges. So a model can be exported, to ONNX for example, or given to programs without topokit.

    Args:
        model: any module.

    Returns:
        The model; or, if it is a bare sparse layer, the module that replaces it.

    Raises:
        TooLargeError: there is not enough free memory for the dense weights; the model is then as it was.
    """
    require_module(model)
    replaced: dict[nn.Module, nn.Module] = {
        part: part.dense() for part in model.modules() if isinstance(part, SparseAttention)
    }
    inside = {child for part in replaced for child in part.children()}
    outside = [part for part in model.modules() if part not in inside]
    replaced |= {part: part.dense() for part in outside if isinstance(part, SparseModule)}
    for part in outside:
        if release in part._forward_hooks.values():
            unmask(part)
    return _swapped(model, replaced)


def _apart(filled: Filled, owned: Mapping[str, Owned]) -> dict[str, tuple[Layer, str]]:
    """Name all weights of attention by their projections; split the edges of a packed in_proj_weight in three."""
    parts: dict[str, tuple[Layer, str]] = {}
    for name, (layer, source) in filled.items():
        prefix, _, own = name.rpartition(".")
        projection = owned[name].projection
        split = {name: layer}
        if projection is not None and own != "weight":
            prefix = f"{prefix}." if prefix else ""
            layers = thirds(layer) if projection == "qkv" else [layer]
            split = {f"{prefix}{part}.weight": one for part, one in zip(projection, layers, strict=True)}
        for whole, one in split.items():
            if whole in parts or (whole != name and whole in filled):
                raise InvalidSpecError(f"two layers are for {whole}, one of them by the name {own}: give it one")
            parts[whole] = (one, source)
    order = {name: i for i, name in enumerate(owned)}
    return dict(sorted(parts.items(), key=lambda item: order[item[0]]))


@torch.no_grad()
def _sparse(
    module: nn.Module, layer: Layer, kernel: str, init: str, generator: torch.Generator | None, batch: int = BATCH
) -> SparseModule:
    """A sparse layer in place of a dense one, with its first values."""
    weight, bias = current(module, "weight"), current(module, "bias")
    about: dict[str, Any] = {
        "bias": bias is not None,
        "kernel": kernel,
        "device": None if weight.is_meta else weight.device,
        "dtype": weight.dtype,
        "generator": torch.Generator(),  # the draw is overwritten: leave torch's global generator alone
    }
    sparse: SparseModule
    if isinstance(module, nn.Linear):
        sparse = SparseLinear(layer, batch=batch, **about)
    else:
        assert isinstance(module, nn.Conv2d)
        sparse = SparseConv2d(layer, module.in_channels, **settings_of(module), **about)
    if not weight.is_meta:
        sparse.take(weight)
    sparse.values.requires_grad_(weight.requires_grad)
    if sparse.bias is not None:
        if not bias.is_meta:
            sparse.bias.copy_(bias)
        sparse.bias.requires_grad_(bias.requires_grad)
    if init == "scale":
        sparse.rescale()
    elif init == "he":
        sparse.draw(generator)
    return sparse


def _first(module: nn.Module, layer: Layer, init: str, generator: torch.Generator | None) -> Tensor | None:
    """The first weight of a module that is to be masked; None if it keeps its own."""
    return None if init == "keep" else _sparse(module, layer, "masked", init, generator).dense_weight()


def _swapped(model: M, replaced: Mapping[nn.Module, nn.Module]) -> M:
    """The model with new modules in all places of old ones. A root that is replaced itself comes back as a new one."""
    for old, new in replaced.items():
        inherit(new, old)
    for name, part in list(model.named_modules(remove_duplicate=False)):  # a module may be in several places
        if name and part in replaced:
            model.set_submodule(name, replaced[part])
    model = replaced.get(model, model)  # type: ignore[assignment]
    _call_all_layers(model)
    return model


def _call_all_layers(model: nn.Module) -> None:
    """Let torch's transformers call their sparse layers in evaluation too: its fast path reads weights instead."""
    for part in model.modules():
        kinds = nn.TransformerEncoder | nn.TransformerEncoderLayer
        parts = part.modules() if isinstance(part, kinds) else ()
        if not any(isinstance(one, SparseModule | SparseAttention) for one in parts):
            continue
        if isinstance(part, nn.TransformerEncoder):
            part.use_nested_tensor = False  # which only the fast path can read
        else:
            part.activation_relu_or_gelu = 0  # type: ignore[assignment]  # as if it had another one: no fast path
