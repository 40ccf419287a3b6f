"""Whole training steps of perceptrons, each in one call of the native library.

A step of a small network takes less time than torch's calls for it. Here one call fetches the samples of the batch,
computes the outputs, the cross-entropy and all gradients, and updates the parameters and the optimizer's state. These
are torch's own tensors, which are changed in place, so a step of torch can follow.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from topokit._native import native
from topokit.errors import InvalidSpecError
from topokit_train.fusing import LINEAR, FusedSequential, is_plain
from topokit_train.kernels.native import NativePlan
from topokit_train.layers.linear import SparseLinear
from topokit_train.layers.stacks import StackedSparse
from topokit_train.native import (
    BACKWARD,
    BIAS,
    FORWARD,
    LOSS,
    OPTIMIZE,
    PACK,
    TYPES,
    VALUES,
    Chain,
    Pattern,
    address,
    dense_pattern,
    run,
)
from topokit_train.tasks import Classification

if TYPE_CHECKING:
    from topokit_train.training import Trainer

logger = logging.getLogger(__name__)

_SINGLE: WeakKeyDictionary[StackedSparse, NativePlan] = WeakKeyDictionary()
OPTIMIZERS = {torch.optim.SGD: 0, torch.optim.Adam: 1, torch.optim.AdamW: 2}  # as native/topokit.h numbers them
MOMENTS = {0: ("momentum_buffer",), 1: ("exp_avg", "exp_avg_sq"), 2: ("exp_avg", "exp_avg_sq")}


class FusedSteps:
    """Steps of networks of one shape, each with its own parameters.

    Args:
        layers: sparse layers of kernel native and small dense layers, each with whether ReLU follows it.
        optimizer: SGD, Adam or AdamW of torch, of all their parameters, without amsgrad, maximize or nesterov.
        inputs: shape (samples, ...), of the type of the parameters, or bytes.
        labels: shape (samples,), int64, the class of each sample.
        networks: number of networks.
        shared: whether all networks get the same batches.
        scale: (a, b) if the inputs are bytes: a byte becomes (byte - a) * b.

    Raises:
        NotImplementedError: the library does not compute these steps; the message says why.
    """

    def __init__(
        self,
        layers: Sequence[tuple[nn.Module, bool]],
        optimizer: torch.optim.Optimizer,
        inputs: Tensor,
        labels: Tensor,
        networks: int = 1,
        *,
        shared: bool = True,
        scale: tuple[float, float] | None = None,
    ):
        self.optimizer, self.networks, self.shared = optimizer, networks, shared or networks == 1
        self.kind = next((OPTIMIZERS[kind] for kind in type(optimizer).mro() if _steps_like(optimizer, kind)), None)
        self.inputs, self.labels = inputs.reshape(len(inputs), -1), labels
        self._scale = scale if inputs.dtype == torch.uint8 else None
        self.dtype = torch.float32 if self._scale else inputs.dtype
        self._patterns = [_pattern(layer, networks) for layer, _ in layers]
        self._parameters: list[tuple[Tensor, Any]] = [(_values(layer), layer.bias) for layer, _ in layers]
        self._forms: dict[int, tuple[Any, Any, Any]] = {}
        self.is_open, self._count = False, 0
        _require(self.kind is not None and self.dtype in TYPES, f"optimizer {type(optimizer).__name__}")
        self._require_plain()
        self.chain = Chain(self._patterns, [relu for _, relu in layers])
        _require(inputs.is_contiguous() and self.inputs.shape[1] == self.chain.widths[0], "the layout of the inputs")
        _require(labels.dtype == torch.int64 and labels.is_contiguous() and labels.ndim == 1, "the type of the labels")
        low, high = map(int, labels.aminmax())
        _require(low >= 0 and high < self.chain.widths[-1] and len(labels) == len(inputs), "labels without an output")

    def _require_plain(self) -> None:
        """Refuse settings of the optimizer that the library lacks, and parameters that it does not update."""
        groups = self.optimizer.param_groups
        members = {id(one) for group in groups for one in group["params"]}
        ours = [one for pair in self._parameters for one in pair if one is not None]
        _require(members == {id(one) for one in ours}, "parameters outside the layers")
        _require(len(ours) == len(members), "shared parameters")
        _require(all(one.requires_grad and one.dtype == self.dtype for one in ours), "frozen parameters or other types")
        _require(all(one.is_contiguous() for one in ours), "the layout of parameters")
        hooks = ("_backward_hooks", "_post_accumulate_grad_hooks")
        _require(not any(getattr(one, name) for one in ours for name in hooks), "hooks of parameters")
        odd = ["amsgrad", "maximize", "nesterov", "dampening", "differentiable", "capturable"]
        odd += ["decoupled_weight_decay"] * (self.kind == OPTIMIZERS[torch.optim.Adam])
        _require(not any(group.get(name) for group in groups for name in odd), "settings of the optimizer")
        common = [{key: group.get(key) for key in ("lr", "betas", "eps", "momentum")} for group in groups]
        _require(all(one == common[0] for one in common), "groups of parameters that differ")
        _require(
            not (self.optimizer._optimizer_step_pre_hooks or self.optimizer._optimizer_step_post_hooks),
            "hooks of the optimizer",
        )

    @contextmanager
    def steps(self) -> Iterator[FusedSteps]:
        """Inside, call the object for each step.

        Until the end, nothing else may change parameters, settings or the optimizer's state, except learning rates and
        numbers in place. The optimizer's counters of steps are updated only at the end.

        Raises:
            NotImplementedError: the library does not continue from the optimizer's state.
        """
        self.begin()
        try:
            yield self
        finally:
            self.end()

    def __call__(self, index: Tensor) -> Tensor:
        """Compute a step.

        Args:
            index: numbers of the samples, shape (batch,), or (batch, networks) if each network has its own.

        Returns:
            Each network's mean loss before the step, shape (networks,), float64.

        Raises:
            NotImplementedError: groups of parameters have different learning rates.
            InvalidSpecError: there are no such samples, or the call is not between `begin` and `end`.
        """
        size = len(index)
        rates = {float(group["lr"]) for group in self.optimizer.param_groups}
        _require(len(rates) == 1, "groups of parameters that differ")
        low, high = map(int, index.aminmax()) if index.numel() else (0, -1)
        if not self.is_open or low < 0 or high >= len(self.labels):
            raise InvalidSpecError(f"steps must be inside `steps`, with samples from 0 to {len(self.labels) - 1}")
        job, _, _ = self._forms.get(size) or self._form(size)
        losses = torch.empty(self.networks, dtype=torch.float64, device="cpu")
        index = index.contiguous()
        job.index = address(index, size * (1 if self.shared else self.networks), torch.int64)
        job.loss = losses.data_ptr()
        group = self.optimizer.param_groups[0]
        self._count += 1
        (job.rate,) = rates
        if self.kind:
            job.beta1, job.beta2 = group["betas"]
            job.correction1, job.correction2 = (1 - beta**self._count for beta in group["betas"])
        else:
            job.beta1 = group["momentum"]
        run(job)
        self.optimizer._opt_called = True  # type: ignore[attr-defined]  # the scheduler warns if there was no step
        return losses

    def begin(self) -> None:
        """Check the optimizer's state, and create it if there was no step yet; see `steps`."""
        groups = self.optimizer.param_groups
        self._names = MOMENTS[self.kind or 0] if self.kind or groups[0]["momentum"] else ()
        members = [one for group in groups for one in group["params"]]
        states = [self.optimizer.state.get(one, {}) for one in members]
        counts = {float(state.get("step", 0)) for state in states}
        _require(len(counts) == 1, "parameters with different numbers of steps")
        for state, one in zip(states, members, strict=True):
            moments = [state[name] for name in self._names if state.get(name) is not None]
            alike = all(each.shape == one.shape and each.dtype == one.dtype for each in moments)
            _require(alike and all(each.is_contiguous() for each in moments), "the optimizer's state")
        self._count = int(counts.pop())
        for one in members:
            state = self.optimizer.state[one]
            if self.kind and "step" not in state:
                state["step"] = torch.zeros((), dtype=torch.float32, device="cpu")
            for name in self._names:
                if state.get(name) is None:
                    state[name] = torch.zeros_like(one)
        self.is_open = True

    def end(self) -> None:
        """Write the optimizer's counters of steps, and forget all addresses; see `steps`."""
        for state in self.optimizer.state.values():
            if self.is_open and "step" in state:
                state["step"].fill_(self._count)
        self.is_open = False
        self._forms.clear()

    def _form(self, size: int) -> tuple[Any, Any, Any]:
        """Return the job of batches of a size, its layers, and the memory that it needs."""
        form = self.chain.form(size, self.dtype)
        threads = max(1, min(torch.get_num_threads(), self.networks if self.networks > 1 else size))
        arenas = threads if self.networks > 1 else 1
        job, layers = form.copied()
        new = self._parameters[0][0].new_empty
        memory = [new(arenas * count) for count in (form.saved, form.scratch, size)]
        decays = {id(one): group["weight_decay"] for group in self.optimizer.param_groups for one in group["params"]}
        for layer, pattern, pair in zip(layers, self._patterns, self._parameters, strict=True):
            addresses: list[tuple[int | None, int | None]] = []
            for which, (one, count) in enumerate(zip(pair, (pattern.edges, pattern.shape[0]), strict=True)):
                if one is None:
                    addresses.append((None, None))
                    continue
                grad = new(arenas * count)
                memory.append(grad)
                whole = count * self.networks
                addresses.append((address(one, whole, self.dtype), grad.data_ptr()))
                for number, name in enumerate(self._names):
                    moment = self.optimizer.state[one][name]
                    layer.moments[2 * which + number] = address(moment, whole, self.dtype)
                layer.decay[which] = decays[id(one)]
            (layer.values, layer.values_grad), (layer.bias, layer.bias_grad) = addresses
            layer.wanted = VALUES + BIAS * (pair[1] is not None)
        job.what = PACK | FORWARD | LOSS | BACKWARD | OPTIMIZE
        job.threads, job.networks, job.shared = threads, self.networks, self.shared
        job.saved, job.scratch, job.losses = (one.data_ptr() for one in memory[:3])
        job.saved_size, job.scratch_size = form.saved, form.scratch
        job.x.point_to(self.inputs.T)
        if self._scale:
            job.x_bytes, (job.x_shift, job.x_scale) = True, self._scale
        job.labels, job.optimizer = self.labels.data_ptr(), self.kind
        if self.kind:
            job.epsilon = self.optimizer.param_groups[0]["eps"]
        self._forms[size] = job, layers, memory
        return self._forms[size]


def steps_of(trainer: Trainer) -> Generator[Callable[[], Tensor]]:
    """Yield a function for each step of a trainer's next epoch, to be called at once; it returns what `step` returns.

    The steps are fused if nothing prevents it; the log says at level DEBUG what does. Close the generator at the end.
    """
    try:
        current = fused_steps(trainer)
        current.begin()
    except NotImplementedError as reason:
        logger.debug("the steps are not fused: %s", reason)
        yield from (partial(trainer.step, *batch) for batch in trainer.batches())
        return
    watched = trainer.runs_own_code  # which may change anything between two steps

    def step(index: Tensor) -> Tensor:
        nonlocal current
        try:
            if not current.is_open:
                current = fused_steps(trainer)
                current.begin()
            losses = current(index)
        except NotImplementedError as reason:
            logger.debug("a step is not fused: %s", reason)
            current.end()
            return trainer.step(*trainer.feed.batch(index))
        if watched:
            current.end()
        trainer.scheduler.step()
        return losses.to(torch.float32)

    order = trainer.feed.order(trainer.epochs_done)
    try:
        yield from (partial(step, index) for index in torch.split(order, trainer.config.batch_size))
    finally:
        current.end()


def fused_steps(trainer: Trainer) -> FusedSteps:
    """Return the fused steps of a trainer.

    Raises:
        NotImplementedError: something needs the gradients, or the library does not compute these steps; the message
            says why.
    """
    feed, config = trainer.feed, trainer.config
    _require(native() is not None and trainer.device.type == "cpu", "no native library here")
    _require(not trainer.ranks.several and not trainer.needs_gradients, "hooks or processes that need gradients")
    _require(type(trainer.task) is Classification and config.loss is None, "another loss")
    _require(feed.inputs.crop is None and not feed.inputs.augmented, "augmented inputs")
    _require(not torch.is_autocast_enabled("cpu"), "autocast")
    layers = list(_layers(trainer.model, config.relu_logits))
    networks, scale = len(trainer.seeds), feed.inputs.scale
    return FusedSteps(layers, trainer.optimizer, feed.images, feed.labels, networks, shared=feed.shared, scale=scale)


def _layers(model: nn.Module, last_relu: bool) -> Iterator[tuple[Any, bool]]:
    """Yield the linear layers of a perceptron, each with whether ReLU follows."""
    _require(type(model) in (nn.Sequential, FusedSequential), "a model other than nn.Sequential")
    _require(all(is_plain(part) for part in model.modules()), "hooks of a layer")
    parts = [part for part in model.children() if type(part) is not nn.Flatten]
    linear = [type(part) in LINEAR for part in parts]
    for number, part in enumerate(parts):
        _require(linear[number] or type(part) is nn.ReLU, f"a layer {type(part).__name__}")
        if linear[number]:
            yield part, last_relu if number + 1 == len(parts) else not linear[number + 1]
        else:
            _require(number > 0 and linear[number - 1], "ReLU without a layer before it")


def _steps_like(optimizer: torch.optim.Optimizer, kind: type) -> bool:
    """Return whether the library knows this kind of optimizer, and the optimizer has the kind's own step."""
    return kind in OPTIMIZERS and inspect.unwrap(type(optimizer).step) is inspect.unwrap(kind.step)  # type: ignore[attr-defined]


def _values(layer: Any) -> nn.Parameter:
    values: nn.Parameter = layer.values if isinstance(layer, SparseLinear) else layer.weight
    return values


def _pattern(layer: Any, networks: int) -> Pattern:
    """Return the edges of one of the networks; the values of the networks follow each other."""
    if isinstance(layer, SparseLinear):
        _require(layer.kernel == "native", f"kernel {layer.kernel}")
        pattern = _single(layer) if isinstance(layer, StackedSparse) else layer._plan.pattern(layer.values)
    else:
        into = layer.weight.shape[1]
        pattern = dense_pattern(1, prod(layer.weight.shape) // into // networks, into)
    _require(pattern is not None, "a large dense layer")
    assert pattern is not None
    return pattern


def _single(layer: StackedSparse) -> Pattern | None:
    """Return the pattern of one of the networks of a layer; it is computed once."""
    if layer not in _SINGLE:
        _SINGLE[layer] = NativePlan(layer.one)
    return _SINGLE[layer].pattern(layer.values)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise NotImplementedError(what)
