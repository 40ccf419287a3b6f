"""TensorBoard: a callback that writes scalars, degree histograms and drawings of the topology of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from topokit.drawing import draw
from topokit.errors import needing
from topokit.topologies import Topology
from topokit_train.methods import Callback

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

    from topokit_train.metrics import Metrics
    from topokit_train.results import Result
    from topokit_train.training import Trainer

FOLDER = "tensorboard"  # in the run's folder
LARGEST = 20_000  # edges of a layer that is drawn


class TensorBoard(Callback):
    """Write scalars after each epoch, and degrees and drawings of the sparse layers whenever their edges change.

    The files are in the folder `tensorboard` of each run; a resumed run appends to them.

    Raises:
        MissingDependencyError: in `prepare`: tensorboard is not installed.
    """

    def prepare(self, trainer: Trainer) -> None:
        with needing("the callback tensorboard"):
            from torch.utils.tensorboard.writer import SummaryWriter
        self._writers: list[SummaryWriter | None] = [
            SummaryWriter(str(folder / FOLDER)) if folder else None for folder in trainer.folders
        ]
        self._drawn: dict[str, bytes] = {}

    def after_epoch(self, trainer: Trainer, metrics: Sequence[Metrics]) -> None:
        for writer, one in zip(self._writers, metrics, strict=True):
            for name, value in dataclasses.asdict(one).items():
                if writer and isinstance(value, int | float) and name != "epoch":
                    writer.add_scalar(name, value, trainer.steps_done)
        if len(trainer.seeds) == 1 and self._writers[0]:
            self._write_topology(self._writers[0], trainer)

    def _write_topology(self, writer: SummaryWriter, trainer: Trainer) -> None:
        for name, part in trainer.sparse_layers.items():
            digest = bytes(part.digest.tolist())
            if self._drawn.get(name) == digest:
                continue
            self._drawn[name] = digest
            layer, step = part.topology_layer(), trainer.steps_done
            for side, degrees in (("out_degree", layer.out_degrees), ("in_degree", layer.in_degrees)):
                writer.add_histogram(f"{name}/{side}", np.asarray(degrees), step)
            if layer.edges <= LARGEST:
                figure = draw(Topology([layer]), style="pattern")
                writer.add_figure(f"{name}/pattern", figure, step, close=True)

    def end(self, _trainer: Trainer, _results: Sequence[Result]) -> None:
        for writer in self._writers:
            if writer:
                writer.close()
