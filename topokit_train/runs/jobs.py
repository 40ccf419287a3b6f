"""Job and Setup: which runs are trained together; how they start, resume and finish."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from time import monotonic

import torch

from topokit.errors import InvalidSpecError, TopokitError, UnreachableError
from topokit.formats import load_all
from topokit.layered import Layered
from topokit.topologies import fingerprint
from topokit_train.config import TrainConfig
from topokit_train.datasets import Dataset
from topokit_train.functions import explained
from topokit_train.fusing import separate
from topokit_train.machine import cpu_threads, resolve_device
from topokit_train.methods import Callback, Method
from topokit_train.models import STACKED
from topokit_train.models.networks import ModelSource, require_stackable
from topokit_train.pruning.config import config_from_json
from topokit_train.ranks import ALONE, Ranks
from topokit_train.results import Kernels, Result, results_of
from topokit_train.runs.checkpoints import Checkpoint, Origin, load, restore, save, save_start
from topokit_train.runs.flat_inputs import explained_shape
from topokit_train.runs.folder import CONFIG, RESULT, START, RunFolder, begun
from topokit_train.runs.given_weights import start_from
from topokit_train.runs.memory import explained_shortage
from topokit_train.runs.progress import Progress, phase, say
from topokit_train.runs.resuming import require_same_data, require_same_settings
from topokit_train.tasks import task_of
from topokit_train.training import Trainer, replaced_by

INTERVAL = 1.0
"""Seconds between two checkpoints at least; writing one to the disk takes longer than an epoch on a small dataset."""


@dataclass(frozen=True)
class Setup:
    """What all runs of one call have in common.

    Args:
        source: where the model is from.
        topologies: that the runs start with; none for a dense model.
        read: returns what they are trained on.
        method: the class of the method.
        make_method: returns a method for each run that is trained alone, or for each stack.
        callbacks: called after the method.
        versions: of the user's code, by setting.
        resume: whether to continue runs.
        ranks: the processes that train; only the first one writes files.
    """

    source: ModelSource
    topologies: tuple[Layered, ...]
    read: Callable[[], Dataset]
    method: type[Method] = Method
    make_method: Callable[[], Method] = Method
    callbacks: tuple[Callback, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    resume: bool = False
    ranks: Ranks = ALONE

    @property
    def dataset(self) -> Dataset:
        """What they are trained on; `read` keeps it."""
        return self.read()


@dataclass(frozen=True)
class Job:
    """A run: its settings, its folder, its checkpoint if it resumes, and files of a run that it replaces."""

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


def groups(jobs: Sequence[Job], setup: Setup) -> Iterable[Sequence[Job]]:
    """The runs that are trained together: stacked seeds that stand at the same place, or one at a time."""
    why = _obstacle(setup, jobs[0].config) if len(jobs) > 1 else None
    if why:
        say(f"{why}, so the seeds are trained in turn")
        return [[job] for job in jobs]
    together: dict[tuple[object, ...], list[Job]] = {}
    for job in jobs:
        together.setdefault(job.place, []).append(job)
    return together.values()


def _obstacle(setup: Setup, config: TrainConfig) -> str | None:
    """Why several networks cannot be trained as one; None if they can."""
    if not task_of(setup.dataset, config.loss).stacks:
        return "only networks with the cross-entropy of classes are trained several at once"
    if setup.method is not Method and not setup.method.stacks:
        return f"the method {setup.method.__name__} does not train several networks at once"
    if setup.source.name not in STACKED:
        try:
            require_stackable(setup.source, setup.source.module_for(setup.dataset, setup.topologies))
        except InvalidSpecError:
            return f"{setup.source.name}: only perceptrons are trained several at once"
    return None


def job_of(config: TrainConfig, setup: Setup, folder: RunFolder, force: bool, given: bool = True) -> Job:
    """The run that a folder holds or gets.

    Args:
        config: its settings.
        setup: what it has in common with others.
        folder: its folder.
        force: whether it replaces a run that is there.
        given: whether the user gave the topologies; others need not be compared with those of the run.

    Raises:
        InvalidSpecError: the run to resume was started with other settings, code or topologies.
        OutputExistsError: the folder holds a run, and neither resume nor force is set.
        FileFormatError: a damaged checkpoint.
    """
    record = begun(folder.path)
    before = load(record) if setup.resume and record.exists() else None
    if before:
        prints = tuple(map(fingerprint, setup.topologies)) if given else before.fingerprints
        require_same_settings(before, config, prints, setup.versions, folder.path)
        if record == folder.checkpoint:
            return Job(config, folder, before)
    if not folder.writes:
        return Job(config, folder, None)
    if force or before:  # other files in the folder are the user's: a topology to train may be there
        return Job(config, folder, None, replaced=(RESULT, *_files_of(folder)))
    folder.require_free(*(() if setup.resume else config.files))
    return Job(config, folder, None)


def _files_of(folder: RunFolder) -> tuple[str, ...]:
    """The files that the method of the run in a folder left; none if its settings cannot be read."""
    try:
        return config_from_json(folder.settings()).files
    except (InvalidSpecError, TypeError):
        return ()


@contextmanager
def recorded_start(jobs: Sequence[Job], setup: Setup, again: str) -> Iterator[None]:
    """Inside, new runs can be resumed from the first moment on; a start that fails leaves nothing.

    Args:
        jobs: all runs.
        setup: what they have in common.
        again: the flags that resume them.
    """
    new = [job for job in jobs if job.folder.writes and not job.checkpoint]
    for job in new:
        save_start(job.folder.path / START, job.config, setup.topologies, setup.versions)
    try:
        yield
    except (KeyboardInterrupt, UnreachableError):
        say(f"stopped: continue with {again}")
        raise
    except Exception:
        for job in new:
            job.folder.remove(START)
        raise


def train_together(jobs: Sequence[Job], setup: Setup) -> list[Result]:
    """Train the networks of one group, from the start or from their checkpoints, and write all files of their runs.

    Args:
        jobs: a group, as `groups` gives them.
        setup: what they have in common with others.
    """
    ranks = setup.ranks
    folders = [job.folder for job in jobs if job.folder.writes]  # none if another process writes them
    prints = jobs[0].checkpoint.fingerprints if jobs[0].checkpoint else tuple(map(fingerprint, setup.topologies))
    origin = ranks.agreed(lambda: _origin(jobs, setup))
    phase("building the model")
    with cpu_threads(origin.threads), _users_errors(setup), ExitStack() as at_end:
        trainer = _aligned(jobs, setup, origin)
        at_end.callback(separate, trainer.model)
        origin = replace(origin, processes=ranks.size)

        due = 0.0  # on the clock of `monotonic`

        def keep() -> None:
            nonlocal due
            if folders and (monotonic() >= due or trainer.epochs_done == trainer.config.epochs):
                due = monotonic() + INTERVAL
                now = replace(origin, kernels=trainer.kernels)
                save([folder.checkpoint for folder in folders], trainer, now, prints)

        if jobs[0].checkpoint is None:
            _start(jobs, trainer, setup)
            keep()
        for folder, job, history in zip(folders, jobs, trainer.histories, strict=False):
            folder.remove(START)
            folder.write_json(CONFIG, job.config.to_json())
            folder.write_metrics(history)
        with explained_shortage(trainer), Progress(trainer) as progress:
            trainer.add(progress)
            while trainer.epochs_done < trainer.config.epochs:
                metrics = trainer.run_epoch()
                keep()
                for folder, entry in zip(folders, metrics, strict=False):
                    folder.add_metrics(entry)
                progress.epoch(metrics)
        results = results_of(trainer, [str(job.folder.path) for job in jobs])
        for one in (trainer.method, *setup.callbacks):
            results = replaced_by(one.end(trainer, results), results, Result, f"end of {type(one).__name__}")
    for folder, result in zip(folders, results, strict=False):
        folder.write_json(RESULT, result.to_json())
    return results


def _users_errors(setup: Setup) -> AbstractContextManager[None]:
    """Inside, an error of the user's code ends in one line; any other one is a fault of topokit, and is left alone."""
    kinds = [setup.method, *map(type, setup.callbacks)]
    own = {kind: f"{kind.__name__} failed" for kind in kinds if not kind.__module__.startswith("topokit")}
    model = "" if setup.source.builtin else f"{setup.source.name} failed"
    return explained(model or next(iter(own.values())), TopokitError, own) if own or model else nullcontext()


def _aligned(jobs: Sequence[Job], setup: Setup, origin: Origin) -> Trainer:
    """The trainer of a group, the same in all processes."""
    ranks = setup.ranks
    if ranks.several and origin.kernels == "tuned":  # each has a stopwatch, and the first one's counts
        timed = ranks.agreed(lambda: _trainer(jobs, setup, origin).kernels)
        origin = replace(origin, kernels=ranks.shared(timed))
    trainer = ranks.agreed(lambda: _prepared(jobs, setup, origin))
    ranks.align(trainer.parameters)
    return trainer


def _start(jobs: Sequence[Job], trainer: Trainer, setup: Setup) -> None:
    """Print the notes of new runs, and remove the files that they replace."""
    for note in trainer.method.notes:
        say(f"note: {note}")
    for job in jobs:
        if setup.resume:
            say(f"there is no checkpoint in {job.folder.path} yet: starting from the beginning")
        if job.folder.writes:
            job.folder.remove(*job.replaced)


def _prepared(jobs: Sequence[Job], setup: Setup, origin: Origin) -> Trainer:
    """The networks of a group, before their first step or where their checkpoints were taken. Writes nothing."""
    trainer = _trainer(jobs, setup, origin)
    config, checkpoints = origin.config, [job.checkpoint for job in jobs if job.checkpoint]
    if checkpoints:
        require_same_data(origin, setup.dataset, jobs[0].folder.path)
        restore(checkpoints, trainer)
        if origin.processes != setup.ranks.size:
            say(f"started in {origin.processes} processes, going on in {setup.ranks.size}: the last bits may differ")
    elif config.weights is not None:
        start_from(config.weights, trainer, setup.source, setup.dataset)
    if not checkpoints and (setup.versions or setup.source.module is not None):
        with explained_shortage(trainer), explained_shape(trainer, setup.source.name):
            trainer.rehearse()
    return trainer


def _trainer(jobs: Sequence[Job], setup: Setup, origin: Origin) -> Trainer:
    checkpoint = jobs[0].checkpoint
    rewired = checkpoint is not None and checkpoint.rewired
    return Trainer(
        origin.config,
        load_all(jobs[0].folder.checkpoint) if rewired else setup.topologies,
        setup.dataset,
        device=setup.ranks.device(resolve_device(origin.device)),
        kernel=origin.kernels,
        seeds=[job.config.seed for job in jobs],
        ranks=setup.ranks,
        model=setup.source,
        method=setup.make_method(),
        callbacks=setup.callbacks,
        folders=[job.folder.path if job.folder.writes else None for job in jobs],
        rewired=rewired,
    )


def kernels_of(config: TrainConfig, setup: Setup, seeds: Sequence[int] = ()) -> Kernels:
    """Return the kernel of each sparse layer of networks that would be trained together, without a run's folder."""
    seeds, device = seeds or (config.seed,), resolve_device(config.device)
    made = partial(Trainer, config, setup.topologies, setup.dataset, device=device, kernel=config.kernel)
    with cpu_threads(config.threads or suitable_threads(setup, config, len(seeds))), _users_errors(setup):
        trainer = made(seeds=seeds, model=setup.source)
    return Kernels((name, choice.kernel, choice.reason) for name, choice in trainer.choices.items())


SMALL_STEP = 10**8  # products of a weight and a number, in one step forward


def suitable_threads(setup: Setup, config: TrainConfig, networks: int = 1) -> int:
    """Return how many CPU threads to train with: one for a small model, torch's own choice for others.

    To divide a millisecond's work gains nothing, and if other programs use the cores as well, waiting for the slowest
    thread makes a step ten times as long.
    """
    pixels = prod(setup.dataset.input_shape[1:])  # a convolution multiplies by its weights for each of them
    weights = setup.source.weights(setup.dataset, setup.topologies).values()
    shapes = [weight.shape for weight in weights if weight.obstacle is None]
    products = sum(prod(shape) * (pixels if len(shape) > 2 else 1) for shape in shapes)
    return 1 if networks * config.batch_size * products < SMALL_STEP else torch.get_num_threads()


def _origin(jobs: Sequence[Job], setup: Setup) -> Origin:
    config = jobs[0].config
    if jobs[0].checkpoint:
        return replace(jobs[0].checkpoint.origin, config=config)
    return Origin(
        config=config,
        data=setup.dataset.checksum(),
        device=str(resolve_device(config.device)),
        kernels=config.kernel,
        threads=config.threads or suitable_threads(setup, config, len(jobs)),
        torch=torch.__version__,
        processes=setup.ranks.size,
        versions=setup.versions,
    )
