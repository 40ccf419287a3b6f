"""apply_masks puts a topology's masks on the modules of a user's own model, as torch.nn.utils.prune does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from numpy.typing import ArrayLike
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.utils import prune

from topokit.convolutions import Mask, first_fit, shown
from topokit.errors import InvalidSpecError
from topokit.layered import Layered
from topokit.masking import checked_masks, masks

M = TypeVar("M", bound=nn.Module)


def apply_masks(model: M, net: Layered | Mapping[str, ArrayLike], names: Sequence[str] | None = None) -> M:
    """Mask the weights of nn.Linear and nn.Conv2d modules with torch.nn.utils.prune.custom_from_mask, in place.

    Each weight becomes `weight_orig` times `weight_mask` before every forward; both are in the state_dict. The
    masks last: through training, deepcopy, state_dict and torch.save. A module that is pruned already gets the new
    mask in place of its old one. Make the optimizer afterwards. Outside of a forward a module's `weight` has no
    gradient: a penalty on it is one on `weight_orig * weight_mask`. `sparsify` replaces modules by ones that store and
    multiply nothing but the edges; here the model keeps its modules and its speed.

    Args:
        model: any module.
        net: the topology; or masks, module's or parameter's name ("fc1", "fc1.weight") -> 0 or 1 in the shape of
            the weight. A layer fills a convolution by channel or by weight, whichever its number of sources fits.
        names: of the modules for the topology's layers, one for each, in order; where left out, each layer takes
            the next module that it fits, and the other modules stay as they are.

    Returns:
        The model itself. If anything is raised, it is unchanged.

    Raises:
        InvalidSpecError: the shapes do not match, or a name is not that of an nn.Linear or nn.Conv2d.
        InvalidGraphError: masks that are not of 0 and 1.

    Cost: as much memory again as the weights for the masks.
    """
    modules = _modules(model)
    shapes = {name: _weight_shape(module) for name, module in modules.items()}
    if isinstance(net, Layered):
        taken = [_known(name, modules) for name in names or first_fit(net.widths, shapes)]
        made = masks(net, taken, [shapes[name] for name in taken])
    elif names is not None:
        raise InvalidSpecError("names are for a topology's layers: masks are named already")
    else:
        made = {_known(name, modules): mask for name, mask in checked_masks(net).items()}
    for name, mask in made.items():
        if mask.shape != shapes[name]:
            raise InvalidSpecError(
                f"the mask of {name} has the shape {shown(mask.shape)}, but its weight has {shown(shapes[name])}"
            )
    for name, mask in made.items():
        _put(modules[name], mask)
    return model


def _modules(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that can be masked, by their names."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
        # attention reads the weight of its own kind of Linear without calling it, which masks nothing
        and not isinstance(module, NonDynamicallyQuantizableLinear)
    }


def _known(name: str, modules: Mapping[str, nn.Module]) -> str:
    for known in (name, name.removesuffix(".weight")):
        if known in modules:
            return known
    held = ", ".join(modules) or "none"
    raise InvalidSpecError(f"the model has no nn.Linear or nn.Conv2d named {name!r}: it has {held}")


def _weight_shape(module: nn.Module) -> tuple[int, ...]:
    weight: Any = module.weight
    return tuple(weight.shape)


@torch.no_grad()
def _put(module: nn.Module, mask: Mask) -> None:
    tensor = torch.from_numpy(mask)
    if hasattr(module, "weight_mask"):
        pruned: Any = module
        pruned.weight_mask.copy_(tensor)
        pruned.weight = pruned.weight_orig * pruned.weight_mask
    else:
        weight: Any = module.weight
        prune.custom_from_mask(module, "weight", tensor.to(weight))  # type: ignore[no-untyped-call]
    if _release not in module._forward_hooks.values():
        module.register_forward_hook(_release)
    _release(module)


def _release(module: nn.Module, *_: Any) -> None:
    """Keep the masked weight, but not how it was computed: torch does not deepcopy what autograd has computed."""
    pruned: Any = module
    if not isinstance(pruned.weight, nn.Parameter):  # as it is again after prune.remove
        pruned.weight = pruned.weight.detach()
