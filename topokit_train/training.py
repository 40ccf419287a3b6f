"""Trainer: the training loop and its state. It reads and writes no files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from topokit._registry import nearest
from topokit._signals import uninterrupted
from topokit.errors import InvalidSpecError, TopokitError
from topokit.layered import Layer, Layered
from topokit.topologies import Topology
from topokit_train.config import TrainConfig
from topokit_train.datasets import Dataset
from topokit_train.dense_gradients import DenseGradients
from topokit_train.feeding.feed import Feed
from topokit_train.fused_steps import steps_of
from topokit_train.fusing import fuse
from topokit_train.layers.choice import Choice
from topokit_train.layers.sparse import SparseModule, carried_over
from topokit_train.layers.stacks import load_network_states
from topokit_train.machine import now
from topokit_train.methods import HOOKS, Callback, Method
from topokit_train.metrics import Metrics
from topokit_train.models.networks import ModelSource, as_sequence, build_model, build_stack, model_source
from topokit_train.optimisation import make_optimizer, make_scheduler
from topokit_train.ranks import ALONE, Ranks
from topokit_train.streams import FORWARD, METHOD, WEIGHTS, torch_stream
from topokit_train.tasks import Task, dead_classes, require_finite, task_of, tested

T = TypeVar("T")

TEST_BATCH = 4096


class Trainer:
    """One network, or several stacked networks that differ in their seeds, with their optimizer and training loop.

    The result of an epoch depends only on the weights, the optimizer's state, the seed and the number of the epoch. So
    a resumed run gives exactly the same weights as an uninterrupted one, on the CPU and with as many threads.

    Args:
        config: the settings.
        topologies: the topologies that fill the model's weights, see `build_model`; none for a dense model.
        dataset: the training and test data.
        device: the device of the model and the data.
        kernel: as for `build_model`.
        seeds: the seeds of the networks to stack; by default the seed of `config`.
        ranks: the processes that train the same networks, each with its share of every batch.
        model: the source of the model; by default the model that `config` names.
        method: the training method; by default plain training.
        callbacks: callbacks, whose hooks are called after those of the method.
        folders: the run folder of each network, for the files of methods; None if another process writes the files.
        rewired: whether the topologies are from a checkpoint and were changed by a method before.

    Attributes:
        model: one module that contains all networks.
        topologies: the current topologies; `rewire` changes them.
        steps_done: the number of completed steps.
        dense_gradients: name of a sparse layer -> the gradient of its dense weight, shape (out, in, ...), so the edge
            from s to t has the entry [t, s]. It is set in the hooks `gradients` and `after_step` of a step if
            `want_dense_gradients` was called before the step, and empty otherwise.

    Raises:
        InvalidSpecError: a topology does not fit the model, no training samples are left, or all parameters are frozen.
    """

    def __init__(
        self,
        config: TrainConfig,
        topologies: Sequence[Layered] | Layered | None,
        dataset: Dataset,
        *,
        device: torch.device,
        kernel: str | dict[str, str],
        seeds: Sequence[int] | None = None,
        ranks: Ranks = ALONE,
        model: ModelSource | None = None,
        method: Method | None = None,
        callbacks: Sequence[Callback] = (),
        folders: Sequence[Path | None] | None = None,
        rewired: bool = False,
    ):
        self.config = config
        self.device = device
        self.ranks = ranks
        self.task: Task = task_of(dataset, config.loss, config.metric, config.better)
        self.seeds = tuple(seeds or (config.seed,))
        self.folders = tuple(folders or [None for _ in self.seeds])
        self.topologies = as_sequence(topologies)
        self.method = method or Method()
        self.histories: tuple[list[Metrics], ...] = tuple([] for _ in self.seeds)
        self.steps_done = 0
        self.rewired = rewired
        self.dense_gradients: dict[str, Tensor] = {}
        self._dense_wanted = False
        self._paused = 0.0
        self.feed = Feed(config, dataset, self.seeds, device, ranks)
        self.model = fuse(self._built(model or model_source(config.model), dataset, kernel))
        self._callbacks = (self.method, *callbacks)
        for one in self._callbacks:
            one.prepare(self)
        self._hooks = {name: [getattr(one, name) for one in self._callbacks if _overrides(one, name)] for name in HOOKS}
        self.parameters = tuple(one for one in self.model.parameters() if one.requires_grad)
        if not self.parameters:
            raise InvalidSpecError("all parameters of the model are frozen: set requires_grad of some")
        self.optimizer = make_optimizer(config, self.model)
        self.scheduler = make_scheduler(config, self.optimizer, self.steps)

    def _built(self, source: ModelSource, dataset: Dataset, kernel: str | dict[str, str]) -> nn.Module:
        nets, batch = self.topologies, -(-self.config.batch_size // self.ranks.size)

        def alone(seed: int, kernel: str | dict[str, str], device: torch.device | str) -> nn.Module:
            about: dict[str, Any] = {"generator": torch_stream(seed, WEIGHTS), "seed": seed, "init": self.config.init}
            return build_model(source, nets, dataset, kernel=kernel, device=device, batch=batch, **about)

        if len(self.seeds) == 1:
            return alone(self.seeds[0], kernel, self.device)
        about: dict[str, Any] = {"kernel": kernel, "device": self.device, "batch": batch}
        model = build_stack(source, nets, dataset, len(self.seeds), shared=self.feed.shared, **about)
        load_network_states(model, [alone(seed, "csr", "cpu").state_dict() for seed in self.seeds])
        return model

    @property
    def epochs_done(self) -> int:
        """Number of completed epochs."""
        return len(self.histories[0])

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch; the last batch may be smaller."""
        return len(self.feed.batch_sizes)

    @property
    def steps(self) -> int:
        """Number of steps of the whole run."""
        return self.config.epochs * self.steps_per_epoch

    @property
    def sparse_layers(self) -> dict[str, SparseModule]:
        """Name in the model -> sparse layer."""
        return {name: part for name, part in self.model.named_modules() if isinstance(part, SparseModule)}

    @property
    def kernels(self) -> dict[str, str]:
        """Name of a sparse layer -> name of its kernel."""
        return {name: part.kernel for name, part in self.sparse_layers.items()}

    @property
    def choices(self) -> dict[str, Choice]:
        """Name of a sparse layer -> its kernel and the reason for the choice."""
        return {name: part.choice for name, part in self.sparse_layers.items()}

    @property
    def needs_gradients(self) -> bool:
        """Whether a hook needs the gradients of each step, or acts before it."""
        after = (getattr(hook, "__self__", None) for hook in self._hooks["after_step"])
        read = any(getattr(one, "reads_gradients", True) for one in after)
        return read or bool(self._hooks["before_step"] or self._hooks["gradients"])

    @property
    def runs_own_code(self) -> bool:
        """Whether a hook of a user's class is called after each step."""
        owners = (type(getattr(hook, "__self__", None)) for hook in self._hooks["after_step"])
        return any(not owner.__module__.startswith("topokit_train.") for owner in owners)

    def add(self, callback: Callback) -> None:
        """Add a callback, whose hooks are called from the next step on."""
        self._callbacks = (*self._callbacks, callback)
        for name, hooks in self._hooks.items():
            if _overrides(callback, name):
                hooks.append(getattr(callback, name))

    def generator(self, *key: int) -> torch.Generator:
        """Return the random stream of a method for this step, which is equal in all processes and in a resumed run.

        Args:
            key: numbers that distinguish the streams of one step, such as the number of the layer; equal keys give
                equal streams.
        """
        return torch_stream(self.seeds[0], METHOD, self.steps_done, *key)

    def want_dense_gradients(self) -> None:
        """Request `dense_gradients` of this step; call it in `before_step`. Costs one dense product for each layer."""
        self._dense_wanted = True

    @torch.no_grad()
    def rewire(self, layers: Mapping[str, Layer]) -> None:
        """Replace the edges of sparse layers: in `after_step`, `after_epoch` or `prepare`.

        Kept edges keep their values and their optimizer state; new edges get 0 for both. All processes get the edges
        of the first one. In `prepare`, a resumed run ignores the call, because its checkpoint contains the edges.

        Args:
            layers: name of a sparse layer, "fc1" or "fc1.weight", -> its new edges, of the same shape.

        Raises:
            InvalidSpecError: there is no such layer, it shares its weights, the new edges have another shape, or
                several networks are stacked.
        """
        prepared = hasattr(self, "optimizer")
        if not prepared and self.rewired:  # the checkpoint contains these edges, or later ones
            return
        if len(self.seeds) > 1:
            raise InvalidSpecError("stacked networks share their edges: train one seed after the other")
        parts = self.sparse_layers
        for name, layer in self.ranks.shared(dict(layers)).items():
            if not isinstance(layer, Layer):
                raise InvalidSpecError(f"rewire needs a topokit.Layer for {name}, not {type(layer).__name__}")
            part = parts.get(name.removesuffix(".weight"))
            if part is None:
                raise InvalidSpecError(f"no sparse layer is named {name}: {nearest(name, parts)}")
            shared = [other for other, one in parts.items() if one.values is part.values and one is not part]
            if shared:
                raise InvalidSpecError(f"{name} shares its weights with {shared[0]}: rewire needs layers that do not")
            state = self.optimizer.state.get(part.values, {}) if prepared else {}
            moments = {key: part.to_canonical(one) for key, one in state.items() if one.ndim}
            origin = part.rewire(layer)
            for key, canonical in moments.items():
                state[key] = part.from_canonical(carried_over(canonical, origin))
            part.values.grad = None
        self.ranks.align(tuple(self.model.parameters()))
        self.rewired = True
        self.topologies = self._current_topologies()

    def _current_topologies(self) -> tuple[Topology, ...]:
        """The topologies of the current edges, with parameter names; layers that chain are one topology."""
        chains: list[dict[str, Layer]] = []
        outputs = None
        for name, part in self.sparse_layers.items():
            layer = part.topology_layer()
            if layer.shape[0] != outputs:
                chains.append({})
            chains[-1][f"{name}.weight"] = layer
            outputs = layer.shape[1]
        return tuple(Topology([*chain.values()], names=[*chain]) for chain in chains)

    def run_epoch(self) -> list[Metrics]:
        """Train on each sample once, in the order of this epoch, and then test.

        Returns:
            The metrics of each network; the seconds are its share of the time.

        Raises:
            TopokitError: a loss is not a finite number.
        """
        total = torch.zeros(len(self.seeds), device=self.device)
        lr = self._paused = 0.0
        self.model.train()
        started = now(self.device)
        with self._seeded(), closing(steps_of(self)) as steps, uninterrupted() as interruptible:
            for step, size in zip(steps, self.feed.batch_sizes, strict=True):
                lr = self.optimizer.param_groups[0]["lr"]
                total.add_(step(), alpha=size)  # on the device, because reading it would wait for the step
                self.steps_done += 1
                for hook in self._hooks["after_step"]:
                    hook(self)
                interruptible()
        seconds = (now(self.device) - started - self._paused) / len(self.seeds)
        self.ranks.align([*self.parameters, *(one for one in self.model.buffers() if one.is_floating_point())])
        losses = total / len(self.feed.labels)
        for seed, loss in zip(self.seeds, losses.tolist(), strict=True):
            if not math.isfinite(loss):
                own = f" {self.config.loss}" if self.config.loss else ""
                raise TopokitError(
                    f"the loss{own} is {loss} in epoch {self.epochs_done + 1} of seed {seed}: "
                    f"{own and 'correct it, or '}give {self.smaller()}"
                )
        tests = self.scores(*self.feed.test)
        held_out = self.scores(*self.feed.held_out) if self.config.validation else [{} for _ in self.seeds]
        about: dict[str, Any] = {"epoch": self.epochs_done + 1, "seconds": seconds, "lr": lr}
        metrics = [
            Metrics.of(self.task.metric, tested, validated, train_loss=loss, **about)
            for loss, tested, validated in zip(losses.tolist(), tests, held_out, strict=True)
        ]
        for one in self._callbacks:
            metrics = replaced_by(
                one.after_epoch(self, metrics), metrics, Metrics, f"after_epoch of {type(one).__name__}"
            )
        for history, entry in zip(self.histories, metrics, strict=True):
            history.append(entry)
        return metrics

    def smaller(self) -> str:
        """Return what to give if numbers are not finite, as the end of a message: smaller values of settings."""
        given = {name: getattr(self.config, name) for name in ("lr", "l2", "weight_decay")}
        return " or ".join(f"a smaller `{name}` than {value}" for name, value in given.items() if value)

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """Seed torch's global generators, which dropout uses, from seed, epoch and process; restore them at the end."""
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            key = (FORWARD, self.epochs_done, self.ranks.rank)
            torch.manual_seed(torch_stream(self.seeds[0], *key).initial_seed())
            yield

    def rehearse(self) -> None:
        """Run one batch and a small test without changing the model, so that errors in the user's code appear early."""
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        with self._seeded():
            self.model.train()
            with uninterrupted():
                self.own_gradients(*next(self.batches()))
            self.scores(*(part[:2] for part in self.feed.test))
        with torch.no_grad():
            for buffer, before in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(before)
        for parameter in self.parameters:
            parameter.grad = None

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the batches of this epoch, (images, labels) as `step` takes them."""
        return self.feed.batches(self.epochs_done)

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Exclude a block between two steps, such as a test, from the seconds in the metrics."""
        started = now(self.device)
        yield
        self.model.train()
        self._paused += now(self.device) - started

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Take one optimisation step on a batch; an epoch takes fused steps instead if it can, see `steps_of`.

        Args:
            images: shape (batch, ...), or (batch, networks, ...) if each network has its own images.
            labels: shape (batch,), or (batch, networks).

        Returns:
            The loss of each network before the step, shape (networks,), on the device.
        """
        for hook in self._hooks["before_step"]:
            hook(self)
        losses = self.gradients(images, labels)
        for hook in self._hooks["gradients"]:
            hook(self)
        self.optimizer.step()
        self.scheduler.step()
        return losses

    def gradients(self, images: Tensor, labels: Tensor) -> Tensor:
        """Compute the gradients of a batch into the parameters. Arguments and result are those of `step`."""
        wanted, self._dense_wanted = self._dense_wanted, False
        with DenseGradients(self.sparse_layers if wanted else {}) as dense:
            losses = self.own_gradients(images, labels)
        self.dense_gradients = dense.mean()
        if not self.ranks.several:
            return losses
        return self.ranks.average(self.parameters, losses, len(labels), list(self.dense_gradients.values()))

    def own_gradients(self, images: Tensor, labels: Tensor) -> Tensor:
        """Compute the gradients of a share of a batch, without the mean over processes."""
        for parameter in self.parameters:
            parameter.grad = None  # as zero_grad does, but ten times as fast
        if not len(labels):  # a batch may have fewer samples than there are processes
            return torch.zeros(len(self.seeds), device=self.device)
        loss, losses = self._losses(self.logits(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        return losses.detach()

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits, shape (batch, networks * classes), after the ReLU of `relu_logits` if it is set."""
        logits: Tensor = self.model(images)
        if not isinstance(logits, Tensor):
            raise InvalidSpecError(f"the model gives {type(logits).__name__}: its forward must return one tensor")
        return logits.relu() if self.config.relu_logits and self.task.classes else logits

    def _losses(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of the losses of all networks, and the loss of each network, shape (networks,)."""
        if len(self.seeds) == 1:
            loss = self.task.loss(outputs, targets)
            return loss, loss.detach()[None]
        losses = self.task.losses(outputs, targets, len(self.seeds))
        return losses.sum(), losses

    def scores(self, inputs: Tensor, targets: Tensor) -> list[dict[str, float]]:
        """Return the metrics of each network on samples such as `Feed.test`; the first metric of the task is first.

        Raises:
            TopokitError: a metric is not a finite number.
        """
        found = [self.task.scores(kept, targets) for kept in self._kept(inputs, targets)]
        for seed, scores in zip(self.seeds, found, strict=True):
            require_finite(scores, f"in epoch {self.epochs_done + 1} of seed {seed}")
        return found

    def dead_classes(self) -> list[list[int] | None]:
        """Return for each network the classes that it predicts for no test sample; None if its task has no classes."""
        _, targets = self.feed.test
        return [dead_classes(self.task, kept, targets) for kept in self._kept(*self.feed.test)]

    def _kept(self, inputs: Tensor, targets: Tensor) -> list[Tensor]:
        """For each network, the part of its outputs for all samples that the task needs."""
        self.model.eval()
        networks = len(self.seeds)

        def outputs(part: Tensor) -> Tensor:
            batch = self.feed.inputs.of_tests(part)
            seen = batch if self.feed.shared else batch[:, None].expand(-1, networks, *batch.shape[1:])
            found = self.logits(seen)
            return found if networks == 1 else found.reshape(len(batch), networks, -1)

        kept = tested(self.task, outputs, inputs, targets, samples_at_once(self.config.batch_size, targets, networks))
        return [kept] if networks == 1 else list(kept.unbind(1))


def samples_at_once(batch_size: int, targets: Tensor, networks: int = 1) -> int:
    """Return how many samples to test at once: fewer if a sample has several targets, but at least a batch."""
    if targets.ndim == 1:
        return max(1, TEST_BATCH // networks)
    return max(batch_size, TEST_BATCH // targets[0].numel())


def replaced_by(given: object, before: Sequence[T], kind: type[T], hook: str) -> list[T]:
    """Return the objects from before if a hook returned None, with more metrics if it returned a dict, or its own list.

    Raises:
        InvalidSpecError: the hook returned something else, or a metric that is not a finite number or has a known name.
    """
    if given is None:
        return list(before)
    if isinstance(given, Mapping):
        return [_with_metrics(one, given, hook) for one in before]
    fine = isinstance(given, list | tuple) and len(given) == len(before) and all(isinstance(one, kind) for one in given)
    if not fine:
        raise InvalidSpecError(
            f"{hook} must return None, a dict of numbers or a list of {len(before)} {kind.__name__}, not {given!r:.60}"
        )
    return list(given)  # type: ignore[call-overload, no-any-return]


def _with_metrics(one: Any, more: Mapping[Any, Any], hook: str) -> Any:
    """Return Metrics or a Result with more numbers in `test_metrics`."""
    for name, value in more.items():
        if not isinstance(name, str) or not isinstance(value, Real) or not math.isfinite(value):
            raise InvalidSpecError(f"{hook} must return finite numbers by name, not {name!r}: {value!r:.60}")
        if name in (one.metric, *one.test_metrics):
            raise InvalidSpecError(f"{hook} returned {name!r}, which is a metric already: give it another name")
    return replace(one, test_metrics=one.test_metrics | {name: float(value) for name, value in more.items()})


def _overrides(one: Callback, hook: str) -> bool:
    return getattr(type(one), hook) is not getattr(Callback, hook)
