"""The weights of a model that a topology can fill, and why it cannot fill others."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod

from topokit.errors import InvalidSpecError
from topokit.placement.weights import Weight
from topokit_train.conversion.masks import release
from topokit_train.layers.sparse import SparseModule

_REPLACED = (nn.Linear, NonDynamicallyQuantizableLinear, nn.Conv2d)
"""Types that have a sparse counterpart: a subclass may compute something else."""

_LISTED = (SparseModule, nn.Linear, _ConvNd, nn.Embedding, nn.EmbeddingBag, nn.Bilinear)
"""Types whose `weight` is listed, whether or not it can be filled."""


@dataclass(frozen=True)
class Owned:
    """A weight, and the module that owns it.

    Args:
        module: an nn.Linear, a convolution, an embedding; or an nn.MultiheadAttention.
        weight: its shape, and whether a topology can fill it.
        projection: of attention: "q", "k", "v" or "out_proj", or "qkv" for a packed in_proj_weight; None in other
            modules.
    """

    module: nn.Module
    weight: Weight
    projection: str | None = None


def require_module(model: object) -> None:
    """Refuse what is not a model.

    Raises:
        InvalidSpecError: says what was given.
    """
    if not isinstance(model, nn.Module):
        raise InvalidSpecError(f"the model must be an nn.Module, not {type(model).__name__}")


def owned_weights(model: nn.Module, masked: bool = False) -> dict[str, Owned]:
    """List the weights of a model, in order, with the reason why a topology cannot fill one.

    nn.MultiheadAttention has the four weights of its projections, `q.weight`, `k.weight`, `v.weight` and
    `out_proj.weight`, also if they are packed.

    Args:
        model: any module.
        masked: whether they are to be masked, and not replaced by sparse layers.

    Returns:
        Name -> weight; one that cannot be filled has an obstacle.

    Raises:
        InvalidSpecError: not an nn.Module.
    """
    require_module(model)
    tied = _tied(model)
    found: dict[str, Owned] = {}
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        if isinstance(module, nn.MultiheadAttention):
            found |= {f"{prefix}{own}": owned for own, owned in _attention(module, tied).items()}
        elif isinstance(module, _LISTED) and f"{prefix}weight" not in found:
            found[f"{prefix}weight"] = Owned(module, _weight(module, masked, tied))
    return found


def _attention(module: nn.MultiheadAttention, tied: dict[int, list[str]]) -> dict[str, Owned]:
    """The weights of its projections, and those of its own parameters, under their names."""
    size = module.embed_dim
    shapes = {"q": (size, size), "k": (size, module.kdim), "v": (size, module.vdim), "out_proj": (size, size)}
    packed = module.in_proj_weight is not None
    own = ["in_proj_weight"] if packed else ["q_proj_weight", "k_proj_weight", "v_proj_weight"]
    obstacle = None if type(module) is nn.MultiheadAttention else _subclass(module, nn.MultiheadAttention)
    biases = [] if module.in_proj_bias is None else [module.in_proj_bias, module.out_proj.bias]
    parameters = [*(getattr(module, name) for name in own), module.out_proj.weight, *biases]
    obstacle = obstacle or _lost(module, parameters)
    for parameter in parameters:
        obstacle = obstacle or _tie(parameter, tied)
    if parametrize.is_parametrized(module) or parametrize.is_parametrized(module.out_proj):
        obstacle = _PARAMETRIZED
    named = {f"{part}.weight": Owned(module, Weight(shape, obstacle=obstacle), part) for part, shape in shapes.items()}
    for name in own:
        shape = (3 * size, size) if packed else shapes[name[0]]
        named[name] = Owned(module, Weight(shape, only_by_name=True, obstacle=obstacle), "qkv" if packed else name[0])
    return named


_PARAMETRIZED = (
    "is computed from other parameters (weight_norm or another parametrization): remove that first, for example with "
    "torch.nn.utils.parametrize.remove_parametrizations"
)


LAZY = (
    "has no shape yet, as its layer is lazy: call the model once, such as model(torch.zeros(1, *input_shape)), "
    "before it is filled or pruned"
)


def _weight(module: Any, masked: bool, tied: dict[int, list[str]]) -> Weight:
    if isinstance(module, SparseModule):
        return Weight(
            module.dense_shape,
            getattr(module, "groups", 1),
            only_by_name=True,
            obstacle="is sparse already: densify it first",
        )
    # torch.nn.utils.prune's pair is a weight; the old spectral_norm has a weight_orig too
    known = module._parameters.get("weight_orig" if hasattr(module, "weight_mask") else "weight")
    if isinstance(known, UninitializedParameter):
        return Weight((0, 0), obstacle=LAZY)
    replaceable = isinstance(module, nn.Linear | nn.Conv2d)
    convolution = isinstance(module, _ConvNd)
    obstacle = None
    if known is None or parametrize.is_parametrized(module, "weight"):
        obstacle = _PARAMETRIZED
    elif not replaceable and not (masked and convolution):
        fits = "; masks fit it (masked=True)" if convolution else ""
        fillable = "nn.Linear, nn.Conv2d and nn.MultiheadAttention"
        obstacle = f"belongs to {type(module).__name__}: a topology can fill {fillable}{fits}"
    elif type(module) not in _REPLACED and not masked:
        obstacle = _subclass(module, nn.Linear if isinstance(module, nn.Linear) else nn.Conv2d)
    elif not masked and (lost := _lost(module, [known, getattr(module, "bias", None)])):
        obstacle = f"{lost}, or mask it (masked=True)"
    for parameter in (known,) if masked else (known, getattr(module, "bias", None)):
        obstacle = obstacle or (None if parameter is None else _tie(parameter, tied))
    groups = module.groups if convolution else 1
    shape = _shape(module) if known is None else tuple(known.shape)
    if known is not None and isinstance(module, _ConvTransposeNd):  # stored as (in, out / groups, ...)
        return replace(Weight.of(shape, "in-out", groups), only_by_name=True, obstacle=obstacle)
    return Weight(shape, groups, only_by_name=not replaceable, obstacle=obstacle)


def _shape(module: Any) -> tuple[int, ...]:
    """The shape of a weight that is computed: reading the weight itself may change the model's state."""
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    if isinstance(module, nn.Conv2d):
        return module.out_channels, module.in_channels // module.groups, *module.kernel_size
    return (1, 1)  # filled only by name, and then refused


def _subclass(module: nn.Module, base: type) -> str:
    return (
        f"belongs to {type(module).__name__}, a subclass of nn.{base.__name__}: a sparse layer would not do what it "
        f"adds; put an nn.{base.__name__} there, or mask it (masked=True)"
    )


def _lost(module: nn.Module, parameters: Sequence[Tensor | None]) -> str | None:
    """What a module and its parameters do that a sparse layer in their place would not, though the types fit."""
    if "forward" in vars(module):
        return "has a forward of its own (module.forward = ...), which a sparse layer would not call: remove it"
    if any(one is not None and (one._backward_hooks or one._post_accumulate_grad_hooks) for one in parameters):
        return "or its bias has hooks, which the new parameters of a sparse layer would not have: remove them"
    return None


def _tied(model: nn.Module) -> dict[int, list[str]]:
    """The parameters that several modules share: id -> their names."""
    names: dict[int, list[str]] = defaultdict(list)
    for name, module in model.named_modules():
        for own, parameter in module._parameters.items():
            if parameter is not None:
                names[id(parameter)].append(f"{name}.{own}" if name else own)
    return {key: found for key, found in names.items() if len(found) > 1}


def _tie(parameter: Tensor, tied: dict[int, list[str]]) -> str | None:
    names = tied.get(id(parameter))
    if names is None:
        return None
    return f"is tied ({' and '.join(names)} are one parameter), and a sparse layer would break the tie: untie it first"


def inherit(new: nn.Module, old: nn.Module) -> None:
    """Give a module that replaces another one its mode and its hooks, except those that mask its weight."""
    new.train(old.training)
    for name, hooks in vars(old).items():
        if name.startswith(("_forward", "_backward")) and isinstance(hooks, dict):
            kept = {k: one for k, one in hooks.items() if one is not release and not isinstance(one, BasePruningMethod)}
            # the same dict if it can be, so that the handles of these hooks still remove them
            setattr(new, name, hooks if len(kept) == len(hooks) else OrderedDict(kept))
    new._is_full_backward_hook = old._is_full_backward_hook
