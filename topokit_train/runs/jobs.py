"""Jobs: runs on their way. Which are trained together, and how they start or go on, epoch after epoch, to results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from topokit.errors import InvalidSpecError, UnreachableError
from topokit.layered import Layered
from topokit_train.config import TrainConfig
from topokit_train.datasets import Dataset
from topokit_train.machine import cpu_threads, resolve_device
from topokit_train.models import slots_for
from topokit_train.pruning.config import PruneConfig, config_from_json
from topokit_train.pruning.pruner import Pruner, files_of
from topokit_train.pruning.results import pruned_results
from topokit_train.ranks import ALONE, Ranks
from topokit_train.results import Result, results_of
from topokit_train.runs.checkpoints import Checkpoint, Origin, load, restore, save
from topokit_train.runs.folder import CONFIG, RESULT, RunFolder
from topokit_train.runs.given_weights import start_from
from topokit_train.runs.memory import explained_shortage
from topokit_train.runs.progress import Progress, say
from topokit_train.runs.resuming import require_same_data, require_same_settings
from topokit_train.runs.threads import suitable_threads
from topokit_train.tasks import task_of
from topokit_train.training import Trainer


@dataclass(frozen=True)
class Job:
    """A run on its way: its settings, its folder, where it stood, and files of the run that it replaces."""

    config: TrainConfig
    folder: RunFolder
    checkpoint: Checkpoint | None
    replaced: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[object, ...]:
        """Runs are trained together only from the same place: after so many epochs, in the same way."""
        if self.checkpoint is None:
            return ()
        origin = self.checkpoint.origin
        return len(self.checkpoint.metrics), origin.device, str(origin.kernels), origin.threads


def groups(jobs: Sequence[Job], topologies: Sequence[Layered], dataset: Dataset) -> Iterable[Sequence[Job]]:
    """The runs that are trained together: stacked seeds that stand at the same place, or one at a time.

    Raises:
        InvalidSpecError: the topologies do not fit the model.
    """
    model = jobs[0].config.model
    table = slots_for(model, topologies, image=dataset.input_shape, classes=dataset.outputs)
    if len(jobs) > 1 and not task_of(dataset, jobs[0].config.loss).stacks:
        say(f"{dataset.name}: only the cross-entropy of classes is stacked, so the seeds are trained in turn")
        return [[job] for job in jobs]
    if len(jobs) > 1 and any(len(shape) == 4 for shape in table.values()):
        say(f"{model}: convolutions of several seeds are no faster together, so the seeds are trained in turn")
        return [[job] for job in jobs]
    together: dict[tuple[object, ...], list[Job]] = {}
    for job in jobs:
        together.setdefault(job.place, []).append(job)
    return together.values()


def job_of(config: TrainConfig, topologies: Sequence[Layered], folder: RunFolder, resume: bool, force: bool) -> Job:
    """The run that a folder holds or gets.

    Raises:
        InvalidSpecError: the run to resume was started with other settings or another topology.
        OutputExistsError: the folder holds a run, and neither resume nor force is set.
        FileFormatError: a damaged checkpoint.
    """
    checkpoint = load(folder.checkpoint) if resume and folder.checkpoint.exists() else None
    if checkpoint:
        require_same_settings(checkpoint, config, topologies, folder.path)
        return Job(config, folder, checkpoint)
    if force:  # other files in the folder are the user's: a topology to train may be there
        return Job(config, folder, None, replaced=(RESULT, *_files_of(folder)))
    folder.require_free(*(() if resume else files_of(config.to_json())))
    return Job(config, folder, None)


def _files_of(folder: RunFolder) -> list[str]:
    """The files that the pruning run in a folder left; none where its settings are not to be read."""
    try:
        return files_of(config_from_json(folder.settings()).to_json())
    except (InvalidSpecError, TypeError):
        return []


def train_together(
    jobs: Sequence[Job],
    topologies: Sequence[Layered],
    dataset: Dataset,
    again: str,
    resume: bool,
    explain: bool,
    ranks: Ranks = ALONE,
) -> list[Result]:
    """Train the networks of one group, from the start or from their checkpoints, and write all files of their runs.

    Args:
        jobs: a group, as `groups` gives them.
        topologies: of all of them; none for dense models.
        dataset: what they are trained on.
        again: the flags that go on with them, for the message after Ctrl-C.
        resume: whether the user wants to go on with runs.
        explain: say on stderr which kernel each sparse layer has, and why.
        ranks: the processes that train them; only the first one writes files.
    """
    folders = [job.folder for job in jobs]
    origin = ranks.agreed(lambda: _origin(jobs, topologies, dataset, ranks))
    with cpu_threads(origin.threads):
        if ranks.several and origin.kernels == "tuned":  # each has a stopwatch, and the first one's counts
            timed = ranks.agreed(lambda: _trainer(jobs, topologies, dataset, origin, ranks).kernels)
            origin = replace(origin, kernels=ranks.shared(timed))
        trainer, pruner = ranks.agreed(lambda: _prepared(jobs, topologies, dataset, origin, explain, ranks))
        ranks.align(trainer.parameters)
        origin = replace(origin, kernels=trainer.kernels, processes=ranks.size)
        if jobs[0].checkpoint is None:
            _start(jobs, trainer, origin, topologies, pruner, resume)
        for job, history in zip(jobs, trainer.histories, strict=True):
            job.folder.write_json(CONFIG, job.config.to_json())
            job.folder.write_metrics(history)
        _run_epochs(trainer, folders, origin, topologies, pruner, again)
        results = results_of(trainer, [str(folder.path) for folder in folders])
        results = pruned_results(results, pruner) if pruner else results
    for folder, result in zip(folders, results, strict=True):
        folder.write_json(RESULT, result.to_json())
    return results


def _start(
    jobs: Sequence[Job],
    trainer: Trainer,
    origin: Origin,
    topologies: Sequence[Layered],
    pruner: Pruner | None,
    resume: bool,
) -> None:
    """Put the first checkpoints in place of what the folders held."""
    for job in jobs:
        if resume:
            say(f"there is no checkpoint in {job.folder.path} yet: starting from the beginning")
        job.folder.remove(*job.replaced)
    if pruner:
        pruner.start()
    _save([job.folder for job in jobs], trainer, origin, topologies, pruner)


def _save(
    folders: Sequence[RunFolder],
    trainer: Trainer,
    origin: Origin,
    topologies: Sequence[Layered],
    pruner: Pruner | None,
) -> None:
    if folders[0].writes:
        save([folder.checkpoint for folder in folders], trainer, origin, topologies, pruner)


def _prepared(
    jobs: Sequence[Job],
    topologies: Sequence[Layered],
    dataset: Dataset,
    origin: Origin,
    explain: bool,
    ranks: Ranks,
) -> tuple[Trainer, Pruner | None]:
    """The networks of a group, before their first step or where their checkpoints were taken. Writes nothing."""
    trainer = _trainer(jobs, topologies, dataset, origin, ranks)
    config, checkpoints = origin.config, [job.checkpoint for job in jobs if job.checkpoint]
    folders = [job.folder.path if job.folder.writes else None for job in jobs]
    pruner = Pruner(config, trainer, folders) if isinstance(config, PruneConfig) else None
    for layer, choice in trainer.choices.items() if explain else ():
        reason = "the run was started with it" if checkpoints else choice.reason
        say(f"{layer}: kernel {choice.kernel}, {reason}")
    if checkpoints:
        require_same_data(origin, dataset, jobs[0].folder.path)
        restore(checkpoints, trainer, pruner)
        if origin.processes != ranks.size:
            say(f"started in {origin.processes} processes, going on in {ranks.size}: the last bits may differ")
    elif config.weights is not None:
        start_from(config.weights, trainer, topologies, dataset)
    return trainer, pruner


def _trainer(
    jobs: Sequence[Job], topologies: Sequence[Layered], dataset: Dataset, origin: Origin, ranks: Ranks
) -> Trainer:
    return Trainer(
        origin.config,
        topologies,
        dataset,
        device=ranks.device(resolve_device(origin.device)),
        kernel=origin.kernels,
        seeds=[job.config.seed for job in jobs],
        ranks=ranks,
    )


def _origin(jobs: Sequence[Job], topologies: Sequence[Layered], dataset: Dataset, ranks: Ranks) -> Origin:
    config = jobs[0].config
    if jobs[0].checkpoint:
        return replace(jobs[0].checkpoint.origin, config=config)
    return Origin(
        config=config,
        data=dataset.checksum(),
        device=str(resolve_device(config.device)),
        kernels=config.kernel,
        threads=config.threads or suitable_threads(config, topologies, dataset, len(jobs)),
        torch=torch.__version__,
        processes=ranks.size,
    )


def _run_epochs(
    trainer: Trainer,
    folders: Sequence[RunFolder],
    origin: Origin,
    topologies: Sequence[Layered],
    pruner: Pruner | None,
    again: str,
) -> None:
    epochs = trainer.config.epochs
    done = trainer.epochs_done
    try:
        with explained_shortage(trainer), Progress(epochs, done, trainer.steps_per_epoch) as progress:

            def after_step() -> None:
                if pruner:
                    pruner.after_step()
                progress.step()

            while done < epochs:
                metrics = trainer.run_epoch(after_step)
                metrics = pruner.after_epoch(metrics) if pruner else metrics
                _save(folders, trainer, origin, topologies, pruner)
                done = trainer.epochs_done
                for folder, entry in zip(folders, metrics, strict=True):
                    folder.add_metrics(entry)
                progress.epoch(metrics)
    except (KeyboardInterrupt, UnreachableError):
        say(f"stopped after {done} of {epochs} epochs: go on with {again}")
        raise
