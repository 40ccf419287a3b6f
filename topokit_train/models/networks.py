"""ModelSource: the origin of a run's networks; build_model and build_stack: networks with topologies."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from math import prod
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import nn

from topokit._registry import nearest
from topokit.errors import InvalidSpecError
from topokit.layered import Layered
from topokit.placement.weights import Weight
from topokit.spec import network
from topokit_train.conversion import sparsify
from topokit_train.conversion.weights import owned_weights
from topokit_train.functions import call, is_function, load_function
from topokit_train.initialisation import draw_by_fan_in, draw_others, draw_truncated_normal
from topokit_train.kernels.base import BATCH
from topokit_train.layers.linear import SparseLinear
from topokit_train.layers.sparse import SparseModule
from topokit_train.layers.stacks import StackedLinear, StackedSparse, copies_in
from topokit_train.models import DEFAULT, MODELS, OF_WIDTHS

if TYPE_CHECKING:
    from topokit_train.datasets import Dataset

Model = str | nn.Module | Callable[..., nn.Module]

RESERVED = ("optimizer", "method", "pruning")
"""Names that no part of a model may have: other tensors in a checkpoint begin with them."""

OWN = "own"
"""The first weights are those that the function or the module has; of a sparse layer, see `ModelSource`."""


@dataclass(frozen=True)
class Shape:
    """What a model must know of data.

    Args:
        input_shape: the shape of one input.
        classes: the number of classes.
    """

    input_shape: tuple[int, ...]
    classes: int

    @property
    def outputs(self) -> int:
        """The number of outputs."""
        return self.classes


Data: TypeAlias = "Dataset | Shape"

MNIST = Shape((1, 28, 28), 10)


@dataclass(frozen=True)
class ModelSource:
    """The origin of a run's networks: a model of topokit, a function of the user, or a module object.

    Args:
        name: for messages and records.
        make: called with `input_shape`, `outputs`, `classes` and `widths`.
        version: SHA-256 of the user's file, or the version of the package, which must not change before a resume; None
            for a model of topokit.
        module: the object, which is itself trained.
    """

    name: str
    make: Callable[..., Any] | None
    version: str | None = None
    module: nn.Module | None = None

    @property
    def builtin(self) -> bool:
        """Whether topokit draws the first weights."""
        return self.name in MODELS

    def module_for(self, data: Data, topologies: Sequence[Layered] = (), seed: int = 0) -> nn.Module:
        """Return the dense model: a new one on the meta device if it is topokit's, one under a seed if it is a user's.

        Raises:
            InvalidSpecError: the function has other arguments, fails or does not return a module.
        """
        if self.module is not None:
            return self.module
        assert self.make is not None
        offered: dict[str, object] = {"input_shape": data.input_shape, "outputs": data.outputs}
        if len(topologies) == 1:
            offered["widths"] = topologies[0].widths
        if data.classes is not None:
            offered["classes"] = data.classes
        if self.builtin:
            with torch.device("meta"):
                built: nn.Module = call(self.make, self.name, **offered)
            require_untied(built, self.name)
            return built
        with under_seed(seed):
            made = call(self.make, self.name, **offered)
        if isinstance(made, tuple) and len(made) == 2:  # with an example input, as `extract` needs it
            made = made[0]
        if not isinstance(made, nn.Module):
            raise InvalidSpecError(f"{self.name} returned {type(made).__name__}: it must return an nn.Module")
        if any(parameter.is_meta for parameter in made.parameters()):
            raise InvalidSpecError(f"{self.name} returned a model on the meta device: return one with numbers")
        for name, parameter in made.named_parameters():
            if parameter.dtype != torch.float32:
                raise InvalidSpecError(f"{self.name}: {name} is of type {parameter.dtype}: return model.float()")
        return made

    def weights(self, data: Data, topologies: Sequence[Layered] = ()) -> dict[str, Weight]:
        """Return the weights of the dense model that topologies can fill, by name, in the model's order."""
        return {name: owned.weight for name, owned in owned_weights(self.module_for(data, topologies)).items()}


def model_source(model: Model) -> ModelSource:
    """Return the origin of a model.

    Args:
        model: a name in MODELS, file.py:function, package.module:function, a function, or a module object.

    Raises:
        InvalidSpecError: no such model, file or function.
    """
    if isinstance(model, str):
        if is_function(model):
            loaded = load_function(model, "model")
            return ModelSource(model, loaded.function, loaded.version)
        if model not in MODELS:
            raise InvalidSpecError(
                f"no model is named {model}, and one of yours is file.py:function: {nearest(model, MODELS)}"
            )
        return ModelSource(model, MODELS[model])
    if isinstance(model, nn.Module):
        return ModelSource(_name_of(type(model)), None, "object", model)
    if callable(model):
        return ModelSource(_name_of(model), model, digest_of(model))
    raise InvalidSpecError(f"the model must be a name, a function or an nn.Module, not {type(model).__name__}")


def weights_on_images(model: str) -> dict[str, Weight]:
    """Return the weights that a model of topokit has for images of MNIST's shape; none if it refuses such inputs."""
    try:
        return model_source(model).weights(MNIST)
    except InvalidSpecError:
        return {}


def _name_of(thing: Any) -> str:
    while isinstance(thing, partial):
        thing = thing.func
    name = getattr(thing, "__qualname__", type(thing).__qualname__).rpartition(".")[2].replace("<lambda>", "function")
    return f"{getattr(thing, '__module__', None) or '__main__'}:{name}"


def digest_of(function: Callable[..., Any]) -> str:
    """Return the SHA-256 of the file that a function or class is in, and the arguments that a partial one has."""
    arguments = ""
    while isinstance(function, partial):
        arguments += f" {function.args!r} {function.keywords!r}"
        function = function.func
    with suppress(TypeError, OSError):
        file = inspect.getsourcefile(inspect.unwrap(function))
        if file:
            return hashlib.sha256(Path(file).read_bytes()).hexdigest() + arguments
    return f"function{arguments}"


@contextmanager
def under_seed(seed: int) -> Iterator[None]:
    """Inside, torch's global generators start from a seed; afterwards they are as before."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def build_model(
    model: str | ModelSource,
    topologies: Sequence[Layered] | Layered | None,
    data: Data,
    *,
    kernel: str | Mapping[str, str] = "auto",
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
    seed: int = 0,
    init: str = "he",
    batch: int = BATCH,
) -> nn.Module:
    """Build a model whose weights the layers of topologies fill, see `topokit.placement.place`; the others are dense.

    With init "he" and "truncated-normal" all weights are drawn from one generator, layer after layer, so a seed gives
    one network under every kernel. The other parameters, such as those of embeddings and norms, are drawn by their
    modules under `seed`. With "own" a function's weights are drawn by itself under `seed`, and those of a
    sparse layer are multiplied by the square root of the dense fan-in over the real one; a module object keeps its
    numbers.

    Args:
        model: a name in MODELS, or the model's origin.
        topologies: one, or several, each of which fills weights that are not filled yet; none for a dense model.
        data: the dataset, or its `Shape`.
        kernel: "auto" or a name in KERNELS; or such a name for each sparse layer, {"fc1": "csr", ...}.
        device: of the weights.
        generator: a CPU generator; torch's global one if omitted.
        seed: of a user's function, and of parameters that are not those of linear layers and convolutions.
        init: see above.
        batch: inputs in one step, for the choice of kernels.

    Raises:
        InvalidSpecError: a topology does not fit the model, the message says which shapes do; or the function fails.
    """
    source = model_source(model) if isinstance(model, str) else model
    nets = as_sequence(topologies)
    built = source.module_for(data, nets, seed)
    for name, _ in built.named_children():
        if name in RESERVED:
            raise InvalidSpecError(f"{source.name} has a child named {name}, which checkpoints use: rename it")
    if nets:
        keep = "keep" if source.module is not None else "scale"
        unused = torch.Generator()  # all weights are drawn together below
        first = keep if init == OWN else "he"
        with torch.device(device), _naming_another(source, nets, data):
            built = sparsify(built, nets, kernel=kernel, init=first, generator=unused, batch=batch)
    if init != OWN:
        draw_by_fan_in(built, device, generator)
    if source.builtin:
        with under_seed(seed):
            draw_others(built)
    if init == "truncated-normal":
        assert generator is not None
        draw_truncated_normal(built, generator)
    return built.to(device)


def build_stack(
    source: ModelSource,
    topologies: Sequence[Layered],
    data: Data,
    copies: int,
    *,
    shared: bool,
    kernel: str | Mapping[str, str],
    device: torch.device | str,
    batch: int = BATCH,
) -> nn.Module:
    """Build several networks in one, see `topokit_train.layers.stacks`; `load_network_states` fills the weights.

    Args:
        source: the model's origin.
        topologies: as for `build_model`.
        data: as for `build_model`.
        copies: number of networks.
        shared: whether they read the same inputs.
        kernel: as for `build_model`.
        device: of the weights.
        batch: inputs in one step.

    Raises:
        InvalidSpecError: see `build_model`; or the model cannot be stacked.
    """
    model = source.module_for(data, topologies)
    require_stackable(source, model)
    if topologies:
        unused = torch.Generator()
        with torch.device(device), _naming_another(source, topologies, data):
            model = sparsify(model, topologies, kernel="csr", init="he", generator=unused, batch=batch)
    for name, layer in model.named_children():
        if isinstance(layer, SparseLinear):
            one = kernel if isinstance(kernel, str) else kernel.get(name, "")
            edges = layer.topology_layer()
            setattr(model, name, StackedSparse(edges, copies, shared=shared, kernel=one, device=device, batch=batch))
        elif isinstance(layer, nn.Linear):
            into, out = layer.in_features, layer.out_features
            setattr(model, name, StackedLinear(copies, into, out, shared=shared, device=device))
        else:
            continue
        shared = False  # the first layer alone
    return model


@contextmanager
def _naming_another(source: ModelSource, nets: Sequence[Layered], data: Data) -> Iterator[None]:
    """Inside, the error of a topology that does not fit the default model names the model that has its widths."""
    try:
        yield
    except InvalidSpecError as error:
        if source.name != DEFAULT or len(nets) != 1 or nets[0].widths[0] != prod(data.input_shape):
            raise
        raise InvalidSpecError(f"{error}; or give `model` {OF_WIDTHS}, which has the widths of the topology") from None


def require_untied(model: nn.Module, name: str) -> None:
    """Refuse a model with a parameter that two modules share: each is drawn for itself, so the tie would be lost."""
    owners: dict[int, str] = {}
    for key, parameter in model.named_parameters(remove_duplicate=False):
        if owners.setdefault(id(parameter), key) != key:
            raise InvalidSpecError(
                f"{name}: {owners[id(parameter)]} and {key} are one parameter: a model of topokit has no tied weights, "
                "give each module its own"
            )


def require_stackable(source: ModelSource, model: nn.Module) -> None:
    """Refuse to stack what is not an nn.Sequential of nn.Flatten, then nn.Linear with biases and nn.ReLU."""
    parts = list(model) if type(model) is nn.Sequential else []
    stackable = parts and isinstance(parts[0], nn.Flatten) and parts[0].start_dim == 1
    stackable = stackable and all(isinstance(part, _STACKABLE) for part in parts) and len(set(parts)) == len(parts)
    biased = all(part.bias is not None for part in parts if hasattr(part, "bias"))
    if source.module is not None or not stackable or not biased:
        raise InvalidSpecError(
            f"{source.name}: only an nn.Sequential of nn.Flatten, nn.Linear and nn.ReLU is trained with several seeds "
            "at once: train one seed after the other"
        )


_STACKABLE = (nn.Flatten, nn.Linear, nn.ReLU, SparseLinear)


def as_sequence(topologies: Sequence[Layered] | Layered | None) -> tuple[Layered, ...]:
    """Return topologies as a tuple.

    Raises:
        InvalidSpecError: one is not a topology.
    """
    if topologies is None:
        return ()
    given = (topologies,) if isinstance(topologies, Layered | str | PathLike) else topologies
    return tuple(network(net, "the topology") for net in given)


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Count the parameters of each network of a model, biases included.

    Returns:
        "total", of the dense model of the same shape; "nonzero", of this one, with one number per edge.
    """
    nonzero = sum(parameter.numel() for parameter in model.parameters())
    sparse = [part for part in model.modules() if isinstance(part, SparseModule)]
    total = nonzero + sum(part.dense_weights - part.weights for part in sparse)
    copies = copies_in(model)
    return {"total": total // copies, "nonzero": nonzero // copies}
