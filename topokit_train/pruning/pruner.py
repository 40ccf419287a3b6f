"""Pruner: prunes a Trainer's networks while they are trained, and saves the wiring of each wanted sparsity."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import safetensors.numpy
import torch

from topokit.errors import InvalidSpecError, TopokitError
from topokit.formats import replacing
from topokit_train.layers.stacks import network_states
from topokit_train.methods import Method
from topokit_train.metrics import Metrics
from topokit_train.pruning.config import INITIAL, REWIND, PruneConfig, file_name
from topokit_train.pruning.magnitude import Rows, all_together, below, per_layer, pruned, threshold
from topokit_train.pruning.masks import Masks
from topokit_train.pruning.metrics import PruneMetrics
from topokit_train.pruning.notes import notes
from topokit_train.pruning.results import pruned_results
from topokit_train.pruning.schedule import Gradual, Stage, schedule_of
from topokit_train.pruning.wiring import save_wiring
from topokit_train.results import Result
from topokit_train.training import Trainer


@dataclass(frozen=True, kw_only=True)
class SavedTopology:
    """The wiring of a network when a wanted sparsity was reached.

    Args:
        target: the wanted sparsity; None where an absolute threshold says what goes.
        sparsity: of the weights in slots that are pruned.
        layer_sparsity: of each such slot.
        edges: weights that are left in these slots.
        file: in the run's folder.
        step: after which it was reached.
        accuracy_before: first metric of the task on the test samples, such as their accuracy, right before, when fewer
            weights were pruned.
        test_accuracy: the same right after, before any training makes up for it.
    """

    target: float | None
    sparsity: float
    layer_sparsity: dict[str, float]
    edges: int
    file: str
    step: int
    accuracy_before: float
    test_accuracy: float


class Pruner(Method):
    """Prune networks, one or stacked, each by its own weights, while they are trained.

    A pruned weight is set back to zero after each step, so it is exactly 0 whenever a network is used, whatever the
    optimizer does; its moments do no harm, as an optimizer treats each weight by itself.

    Args:
        config: the settings.

    Raises:
        InvalidSpecError: in `prepare`: slots to keep that the model lacks, too few steps, or a sparsity that leaves a
            layer empty.

    Cost: a product per weight in each step; a selection among the weights that are left in each pruning.
    """

    stacks = True

    def __init__(self, config: PruneConfig):
        self.config = config

    def prepare(self, trainer: Trainer) -> None:
        config, self.trainer, self.folders = self.config, trainer, trainer.folders
        self.masks = Masks(trainer.model, config.keep)
        self.notes = notes(config, self.masks.shapes)
        self.schedule = schedule_of(config, trainer.steps)
        self.topologies: tuple[list[SavedTopology], ...] = tuple([] for _ in trainer.seeds)
        self.thresholds: list[float | None] = [None for _ in trainer.seeds]
        self._rewind_step = self._step_of_rewind()
        self._require_possible()

    @property
    def step(self) -> int:
        """How many steps there have been."""
        return self.trainer.steps_done

    def _step_of_rewind(self) -> int | None:
        rewind, per_epoch = self.config.rewind, self.trainer.steps_per_epoch
        if rewind is None:
            return None
        step = 0 if rewind == INITIAL else int(rewind) * per_epoch
        first = self.schedule.begin if isinstance(self.schedule, Gradual) else self.schedule.steps - 1
        if step > first:
            raise InvalidSpecError(
                f"`rewind` {rewind} is step {step}, but pruning begins after step {first}: "
                f"give at most {first // per_epoch} epochs, or {INITIAL}"
            )
        return step

    def _require_possible(self) -> None:
        """Refuse before hours of training what must fail after them."""
        for target in self.schedule.targets if self.config.scope == "layer" else ():
            for name in self.masks.names:
                weights = self.masks.kept[name].shape[1]
                if pruned(weights, target) == weights:
                    raise InvalidSpecError(
                        f"`to` {float(target):g} leaves nothing of {name}, which has {weights} weights: "
                        f"give less, or `keep` {name.removesuffix('.weight')}"
                    )

    def before_step(self, trainer: Trainer) -> None:
        if trainer.steps_done == self._rewind_step:
            with trainer.pause():
                self._save_weights()

    def after_step(self, trainer: Trainer) -> None:
        self.masks.impose()
        stages = self.schedule.due(trainer.steps_done)
        if stages:
            self._prune(stages)

    def after_epoch(self, _trainer: Trainer, metrics: Sequence[Metrics]) -> list[Metrics]:
        return [
            PruneMetrics(**vars(one), sparsity=sparsity, threshold=level)
            for one, sparsity, level in zip(metrics, self.masks.sparsities(), self.thresholds, strict=True)
        ]

    def end(self, _trainer: Trainer, results: Sequence[Result]) -> list[Result]:
        return pruned_results(results, self)

    def _prune(self, stages: Sequence[Stage]) -> None:
        self.trainer.ranks.align(self.trainer.parameters)  # so that all processes prune the same
        magnitudes, kept, choices = self.masks.magnitudes(), self.masks.kept, []
        for name, rows in magnitudes.items():
            self._require_each(rows.sum(1).isfinite(), f"{name} holds a weight that is no finite number")
        for stage in stages:
            kept = self._left(stage, magnitudes, kept)
            choices.append(kept)
        self._require_no_empty(magnitudes, kept)  # the last one holds the fewest
        levels = threshold(magnitudes, self.masks.kept, kept)
        self.thresholds = [level or old for level, old in zip(levels, self.thresholds, strict=True)]
        if any(stage.wanted for stage in stages):
            with self.trainer.pause():
                before = self._tested()
        for stage, chosen in zip(stages, choices, strict=True):
            self.masks.set(chosen)
            if self.config.threshold is not None and self.config.biases:
                self.masks.prune_biases(self.config.threshold)
            if stage.wanted:
                with self.trainer.pause():
                    self._save_topologies(stage, before)

    def _left(self, stage: Stage, magnitudes: Rows, kept: Rows) -> Rows:
        if stage.sparsity is None:
            return below(magnitudes, kept, self.config.threshold or 0.0)
        choose = all_together if self.config.scope == "global" else per_layer
        return choose(magnitudes, kept, stage.sparsity)

    def _require_each(self, holds: torch.Tensor, otherwise: str) -> None:
        for seed, fine in zip(self.trainer.seeds, holds.tolist(), strict=True):
            if not fine:
                raise TopokitError(f"{otherwise}, after step {self.step} of seed {seed}: give a smaller `lr`")

    def _require_no_empty(self, magnitudes: Rows, kept: Rows) -> None:
        for name, rows in kept.items():
            for k, left in enumerate(rows.sum(1).tolist()):
                if not left:
                    asked = (
                        f"`to` {self.config.to[-1]:g}" if self.config.to else f"`threshold` {self.config.threshold:g}"
                    )
                    raise TopokitError(
                        f"{asked} leaves nothing of {name} of seed {self.trainer.seeds[k]}, whose largest weight is "
                        f"{magnitudes[name][k].max():.3g} after step {self.step}: give less, or "
                        f"`keep` {name.removesuffix('.weight')}"
                    )

    def _tested(self) -> list[float]:
        return [scores[self.trainer.task.metric] for scores in self.trainer.scores(*self.trainer.feed.test)]

    def _save_topologies(self, stage: Stage, before: Sequence[float]) -> None:
        target = None if stage.sparsity is None else float(stage.sparsity)
        weights = {name: self.masks.kept[name].shape[1] for name in self.masks.names}
        tested = self._tested()
        wirings, left, sparsities = self.masks.wirings(), self.masks.left(), self.masks.sparsities()
        for k, folder in enumerate(self.folders):
            if folder:
                save_wiring(wirings[k], folder / file_name(target))
            saved = SavedTopology(
                target=target,
                sparsity=sparsities[k],
                layer_sparsity={name: (weights[name] - left[k][name]) / weights[name] for name in weights},
                edges=sum(left[k].values()),
                file=file_name(target),
                step=self.step,
                accuracy_before=before[k],
                test_accuracy=tested[k],
            )
            self.topologies[k].append(saved)

    def _save_weights(self) -> None:
        for folder, state in zip(self.folders, network_states(self.trainer.model), strict=True):
            if folder is None:
                continue
            arrays = {name: tensor.cpu().numpy() for name, tensor in state.items()}
            with replacing(folder / REWIND, force=True) as temporary:
                temporary.write_bytes(safetensors.numpy.save(arrays))

    def told(self) -> list[list[dict[str, Any]]]:
        """The saved topologies of each network, as JSON-able values."""
        return [[dataclasses.asdict(saved) for saved in network] for network in self.topologies]

    def state_dicts(self, _networks: int) -> list[dict[str, Any]]:
        return [
            {**{f"mask.{name}": bits for name, bits in masks.items()}, "topologies": told}
            for masks, told in zip(self.masks.packed(), self.told(), strict=True)
        ]

    def load_state_dicts(self, states: Sequence[dict[str, Any]]) -> None:
        self.masks.restore(
            [
                {name.removeprefix("mask."): one for name, one in state.items() if name.startswith("mask.")}
                for state in states
            ]
        )
        self.topologies = tuple([SavedTopology(**saved) for saved in state["topologies"]] for state in states)
        latest = [history[-1] if history else None for history in self.trainer.histories]
        self.thresholds = [one.threshold if isinstance(one, PruneMetrics) else None for one in latest]
