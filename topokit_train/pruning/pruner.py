"""Pruner: the training method that prunes a network while it is trained, and saves the topology of each target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from topokit.convolutions import Mask, break_in
from topokit.errors import InvalidSpecError, TopokitError
from topokit.formats import replacing, save, save_masks
from topokit.masking import from_masks
from topokit.reprs import counted
from topokit_train.layers.stacks import network_states
from topokit_train.methods import Method
from topokit_train.metrics import Metrics
from topokit_train.pruning.config import INITIAL, REWIND, PruneConfig, file_name
from topokit_train.pruning.magnitude import NetworkRows, all_together, below, per_layer, pruned, threshold
from topokit_train.pruning.masks import Masks
from topokit_train.pruning.results import PruneMetrics, PruneResult
from topokit_train.pruning.schedule import Stage, schedule_of
from topokit_train.results import Result
from topokit_train.training import Trainer

FEW = 3  # weights of a class: of a LeNet-300-100 with fewer, classes died


class Pruner(Method):
    """Prune networks, one or stacked, each by its own weights, while they are trained.

    A pruned weight is set back to zero after each step, so it is exactly 0 whenever a network is used, whatever the
    optimizer does; its moments do no harm, as an optimizer treats each weight by itself.

    Args:
        config: the settings.

    Raises:
        InvalidSpecError: in `prepare`: excluded layers that the model lacks, too few steps, or a sparsity that leaves a
            layer empty.

    Cost: a product per weight in each step; a selection among the weights that are left in each pruning.
    """

    stacks = True

    def __init__(self, config: PruneConfig):
        self.config = config

    def prepare(self, trainer: Trainer) -> None:
        config, self.trainer = self.config, trainer
        self.masks = Masks(trainer.model, config.keep)
        self.notes = notes(config, self.masks.shapes)
        self.schedule = schedule_of(config, trainer.steps)
        self.topologies: list[list[dict[str, Any]]] = [[] for _ in trainer.seeds]  # see `PruneResult`
        self.thresholds: list[float | None] = [None for _ in trainer.seeds]
        self._rewind_step = self._step_of_rewind()
        self._require_possible()

    def _step_of_rewind(self) -> int | None:
        rewind, per_epoch = self.config.rewind, self.trainer.steps_per_epoch
        if rewind is None:
            return None
        step, first = 0 if rewind == INITIAL else int(rewind) * per_epoch, self.schedule.begin
        if step > first:
            raise InvalidSpecError(
                f"`rewind` {rewind} is step {step}, but pruning begins after step {first}: "
                f"give at most {counted(first // per_epoch, 'epoch')}, or {INITIAL}"
            )
        return step

    def _require_possible(self) -> None:
        """Refuse before hours of training what must fail after them."""
        for target in self.schedule.targets if self.config.scope == "layer" else ():
            for name, rows in self.masks.kept.items():
                weights = rows.shape[1]
                if pruned(weights, target) == weights:
                    raise InvalidSpecError(
                        f"`to` {float(target):g} leaves nothing of {name}, which has {counted(weights, 'weight')}: "
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
        weights = np.sum([(~rows).sum(1) for rows in self.masks.kept.values()], 0)
        gone = (weights + np.array(self.masks.zero_biases()) * self.config.biases).tolist()
        ended: list[Result] = []
        for result, sparsity, saved, zeros in zip(results, self.masks.sparsities(), self.topologies, gone, strict=True):
            parameters = result.parameters | {"nonzero": result.parameters["nonzero"] - zeros}
            topologies = [one | {"file": f"{result.run}/{one['file']}"} for one in saved]
            known = vars(result) | {"parameters": parameters}
            ended.append(PruneResult(**known, sparsity=sparsity, topologies=topologies))
        return ended

    def _prune(self, stages: Sequence[Stage]) -> None:
        self.trainer.ranks.align(self.trainer.parameters)  # so that all processes prune the same
        magnitudes, kept, choices = self.masks.magnitudes(), self.masks.kept, []
        self._require_finite(magnitudes)
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
            if self.config.biases and self.config.threshold is not None:
                self.masks.prune_biases(self.config.threshold)
            if stage.wanted:
                with self.trainer.pause():
                    self._save_topologies(stage, before)

    def _left(self, stage: Stage, magnitudes: NetworkRows, kept: NetworkRows) -> NetworkRows:
        if stage.sparsity is None:
            return below(magnitudes, kept, self.config.threshold or 0.0)
        choose = all_together if self.config.scope == "global" else per_layer
        return choose(magnitudes, kept, stage.sparsity)

    def _require_finite(self, magnitudes: NetworkRows) -> None:
        for name, rows in magnitudes.items():
            for seed, largest in zip(self.trainer.seeds, rows.max(1), strict=True):
                if not np.isfinite(largest):
                    raise TopokitError(
                        f"{name} has a weight that is not a finite number, after step {self.trainer.steps_done} of "
                        f"seed {seed}: give {self.trainer.smaller()}"
                    )

    def _require_no_empty(self, magnitudes: NetworkRows, kept: NetworkRows) -> None:
        to, threshold = self.config.to, self.config.threshold
        for name, rows in kept.items():
            for seed, left, weights in zip(self.trainer.seeds, rows.sum(1), magnitudes[name], strict=True):
                if not left:
                    asked = f"`to` {to[-1]:g}" if to else f"`threshold` {threshold:g}"
                    raise TopokitError(
                        f"{asked} leaves nothing of {name} of seed {seed}, whose largest weight is "
                        f"{weights.max():.3g} after step {self.trainer.steps_done}: give less, or "
                        f"`keep` {name.removesuffix('.weight')}"
                    )

    def _tested(self) -> list[float]:
        return [scores[self.trainer.task.metric] for scores in self.trainer.scores(*self.trainer.feed.test)]

    def _save_topologies(self, stage: Stage, before: Sequence[float]) -> None:
        target = None if stage.sparsity is None else float(stage.sparsity)
        masks, left, sparsities = self.masks.of_shapes(), self.masks.left(), self.masks.sparsities()
        weights = {name: rows.shape[1] for name, rows in self.masks.kept.items()}
        for k, after in enumerate(self._tested()):
            if folder := self.trainer.folders[k]:
                save_kept(masks[k], folder / file_name(target))
            self.topologies[k].append(
                {
                    "target": target,
                    "sparsity": sparsities[k],
                    "layer_sparsity": {name: (weights[name] - left[k][name]) / weights[name] for name in weights},
                    "edges": sum(left[k].values()),
                    "file": file_name(target),
                    "step": self.trainer.steps_done,
                    "accuracy_before": before[k],
                    "test_accuracy": after,
                }
            )

    def _save_weights(self) -> None:
        for folder, state in zip(self.trainer.folders, network_states(self.trainer.model), strict=True):
            if folder:
                arrays = {name: tensor.cpu().contiguous().numpy() for name, tensor in state.items()}
                with replacing(folder / REWIND, force=True) as temporary:
                    temporary.write_bytes(safetensors.numpy.save(arrays))

    def state_dicts(self, _networks: int) -> list[dict[str, Any]]:
        return [
            {**{f"mask.{name}": bits for name, bits in masks.items()}, "topologies": saved}
            for masks, saved in zip(self.masks.packed(), self.topologies, strict=True)
        ]

    def load_state_dicts(self, states: Sequence[dict[str, Any]]) -> None:
        self.masks.restore([{name: state[f"mask.{name}"] for name in self.masks.kept} for state in states])
        self.topologies = [state["topologies"] for state in states]
        latest = [history[-1] if history else None for history in self.trainer.histories]
        self.thresholds = [one.threshold if isinstance(one, PruneMetrics) else None for one in latest]


def save_kept(masks: Mapping[str, Mask], path: Path) -> None:
    """Save masks of weights, in order: as a topology if all are (out, in) and chain, else as masks.

    Raises:
        TopokitError: the file cannot be written; what was there is left.
    """
    shapes = [mask.shape for mask in masks.values()]
    if all(len(shape) == 2 for shape in shapes) and break_in(shapes) is None:
        save(from_masks(masks), path, force=True)
    else:
        save_masks(masks, path, force=True)


def notes(config: PruneConfig, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """Return a note if the target sparsity of the last layer, which is small, leaves few weights for each class.

    Args:
        config: the settings.
        shapes: of the model's weights, by name, in order.
    """
    *_, (name, shape) = shapes.items()
    layer = name.removesuffix(".weight")
    if config.scope != "layer" or not config.to or {name, layer} & set(config.keep):
        return ()
    weights = prod(shape)
    left = weights - pruned(weights, Fraction(str(config.to[-1])))
    if left >= FEW * shape[0]:
        return ()
    return (
        f"to {config.to[-1]:g} leaves {left:,} of {weights:,} weights of {layer}, fewer than {FEW} for each class, "
        f"and classes may be lost: add keep {layer} or scope global",
    )
