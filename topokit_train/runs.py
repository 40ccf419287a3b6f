"""train: a whole training run with its folder, from the settings to the result, and going on with it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from topokit.errors import InvalidSpecError
from topokit.families.radix_net import RadixNet
from topokit.formats import load_all
from topokit.layered import Layered
from topokit.topology import fingerprint
from topokit.transforms import crop
from topokit_train.checkpoints import Checkpoint, Origin, load, restore, save
from topokit_train.config import TrainConfig, flag
from topokit_train.datasets import Dataset, load_dataset
from topokit_train.machine import cpu_threads, resolve_device, suitable_threads
from topokit_train.models import MODELS, Wiring, as_sequence, slots_for
from topokit_train.progress import Progress
from topokit_train.results import Result, results_of
from topokit_train.run_folder import CHECKPOINT, CONFIG, RESULT, RunFolder
from topokit_train.training import Trainer

SEED = "seed"  # and its number: the folder of one of several runs


@dataclass(frozen=True)
class _Job:
    """A run on its way: its settings, its folder and where it stood."""

    config: TrainConfig
    folder: RunFolder
    checkpoint: Checkpoint | None

    @property
    def place(self) -> tuple[object, ...]:
        """Runs are trained together only from the same place: after so many epochs, in the same way."""
        if self.checkpoint is None:
            return ()
        origin = self.checkpoint.origin
        return len(self.checkpoint.metrics), origin.device, str(origin.kernels), origin.threads


def train(
    config: TrainConfig,
    wiring: Wiring = None,
    *,
    run: Path | str | None = None,
    resume: bool = False,
    force: bool = False,
    explain: bool = False,
) -> Result:
    """Train a model, and keep all that is needed to go on after each epoch.

    On the CPU one seed gives one network, bit for bit, with the same number of threads; a run that was
    interrupted at any moment and resumed gives the same as one that was not. Progress goes to stderr.

    Args:
        config: the settings.
        wiring: a topology that fills the model's slots, or several, each those that are left; None for a dense model.
        run: the run's folder; where left out, a new one in runs/ that is named after the settings.
        resume: go on with the run in that folder; where it has no checkpoint yet, start it.
        force: replace a run that is there.
        explain: say on stderr which kernel each sparse layer has, and why.

    Raises:
        InvalidSpecError: settings that do not fit together, or a run to resume that was started with others.
        OutputExistsError: the folder holds a run, and neither resume nor force is set.
        FileFormatError: a damaged dataset or checkpoint.
        TopokitError: data that is not to be had, a full disk, a folder in use.
        KeyboardInterrupt: Ctrl-C; the checkpoint of the last whole epoch is kept.
    """
    return _train([config], as_sequence(wiring), [None if run is None else Path(run)], resume, force, explain)[0]


def train_seeds(
    config: TrainConfig,
    wiring: Wiring,
    seeds: Sequence[int],
    *,
    run: Path | str | None = None,
    resume: bool = False,
    force: bool = False,
    explain: bool = False,
) -> list[Result]:
    """Train a model once for each seed, all in one program; see `topokit_train.stacks`.

    Each run has a folder of its own, as if it had been trained alone, and equals that run up to rounding. Where
    `config.order_seed` is set, all use the same batches, and the first layers are one product.

    Args:
        config: the settings; `config.seed` does not matter.
        wiring: a topology that fills the model's slots, or several, each those that are left; None for a dense model.
        seeds: of the weights and, without `config.order_seed`, of the images' order; all different.
        run: a folder that holds, or gets, a folder seed<N> for each; new ones in runs/ where left out.
        resume: go on with the runs in these folders.
        force: replace runs that are there.
        explain: say on stderr which kernel each sparse layer has, and why.

    Raises:
        InvalidSpecError: no seeds, or one twice; else as `train`.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise InvalidSpecError(f"--seeds must be different numbers, at least one, not {','.join(map(str, seeds))}")
    configs, nets = [replace(config, seed=seed) for seed in seeds], as_sequence(wiring)
    if run is None:
        return _train(configs, nets, [None] * len(seeds), resume, force, explain)
    parent = Path(run)
    parent.mkdir(exist_ok=True)
    try:
        return _train(configs, nets, [parent / f"{SEED}{seed}" for seed in seeds], resume, force, explain)
    finally:
        with suppress(OSError):  # it stays if anything is in it
            parent.rmdir()


def _train(
    configs: Sequence[TrainConfig],
    topologies: Sequence[Layered],
    paths: Sequence[Path | None],
    resume: bool,
    force: bool,
    explain: bool,
) -> list[Result]:
    if resume and None in paths:
        raise InvalidSpecError("--resume needs the folder of the run to go on with: --run DIR")
    with ExitStack() as held:
        jobs = []
        for config, path in zip(configs, paths, strict=True):
            folder = held.enter_context(RunFolder(path, _name(config, topologies)))
            jobs.append(_job(config, topologies, folder, resume, force))
        dataset = load_dataset(configs[0].dataset, configs[0].data_dir)
        again = _resumed_with([job.folder.path for job in jobs], configs)
        results = [
            result
            for group in _groups(jobs, topologies, dataset)
            for result in _train_together(group, topologies, dataset, again, resume, explain)
        ]
    return sorted(results, key=lambda result: [config.seed for config in configs].index(result.seed))


def _resumed_with(paths: Sequence[Path], configs: Sequence[TrainConfig]) -> str:
    """The flags that go on with runs, those that have not yet begun included."""
    if len(paths) == 1:
        return f"--run {paths[0]} --resume"
    return f"--run {paths[0].parent} --seeds {','.join(str(config.seed) for config in configs)} --resume"


def _groups(jobs: Sequence[_Job], topologies: Sequence[Layered], dataset: Dataset) -> Iterable[Sequence[_Job]]:
    """The runs that are trained together."""
    model = jobs[0].config.model
    table = slots_for(model, topologies, image=dataset.input_shape, classes=dataset.classes)
    if len(jobs) > 1 and any(len(shape) == 4 for shape in table.values()):
        _say(f"{model}: convolutions of several seeds are no faster together, so the seeds are trained in turn")
        return [[job] for job in jobs]
    together: dict[tuple[object, ...], list[_Job]] = {}
    for job in jobs:
        together.setdefault(job.place, []).append(job)
    return together.values()


def _job(config: TrainConfig, topologies: Sequence[Layered], folder: RunFolder, resume: bool, force: bool) -> _Job:
    checkpoint = load(folder.checkpoint) if resume and folder.checkpoint.exists() else None
    if checkpoint:
        _require_same(checkpoint, config, topologies, folder.path)
    elif not force:
        folder.require_free()
    return _Job(config, folder, checkpoint)


def _train_together(
    jobs: Sequence[_Job],
    topologies: Sequence[Layered],
    dataset: Dataset,
    again: str,
    resume: bool,
    explain: bool,
) -> list[Result]:
    config, folders = jobs[0].config, [job.folder for job in jobs]
    checkpoints = [job.checkpoint for job in jobs if job.checkpoint]
    origin = (
        replace(checkpoints[0].origin, config=config)
        if checkpoints
        else _origin(config, topologies, dataset, len(jobs))
    )
    with cpu_threads(origin.threads):
        trainer = Trainer(
            config,
            topologies,
            dataset,
            device=resolve_device(origin.device),
            kernel=origin.kernels,
            seeds=[job.config.seed for job in jobs],
        )
        for layer, choice in trainer.choices.items() if explain else ():
            reason = "the run was started with it" if checkpoints else choice.reason
            _say(f"{layer}: kernel {choice.kernel}, {reason}")
        if checkpoints:
            _require_same_data(origin, dataset, folders[0].path)
            restore(checkpoints, trainer)
        else:
            origin = replace(origin, kernels=trainer.kernels)
            for folder in folders:
                if resume:
                    _say(f"there is no checkpoint in {folder.path} yet: starting from the beginning")
                folder.remove_result()
            save([folder.checkpoint for folder in folders], trainer, origin, topologies)
        for job, history in zip(jobs, trainer.histories, strict=True):
            job.folder.write_json(CONFIG, job.config.to_json())
            job.folder.write_metrics(history)
        _run_epochs(trainer, folders, origin, topologies, again)
        results = results_of(trainer, [str(folder.path) for folder in folders])
    for folder, result in zip(folders, results, strict=True):
        folder.write_json(RESULT, result.to_json())
    return results


def default_topology() -> Layered:
    """What is trained where nothing else is said: 784-300-100, 90 % sparse, 3 paths from each input to each output."""
    return crop(RadixNet(radices=((10, 10),), kron=(8, 3, 1)), (784, 300, 100))


def default_wiring(model: str) -> tuple[Layered, ...]:
    """The topologies of a model where nothing else is said: the default one.

    Raises:
        InvalidSpecError: it does not fit the model's convolutions; the message says what would.
    """
    convolutions = MODELS[model].convolutions
    if not convolutions:
        return (default_topology(),)
    raise InvalidSpecError(
        f"{model} has no topology of its own: give --topology FILE for each of its layers that is to be sparse, "
        "or --topology dense"
    )


def recorded_seeds(run: Path | str) -> list[int]:
    """The seeds of the runs that `train_seeds` keeps in a folder; none where it holds none."""
    names = (path.name.removeprefix(SEED) for path in Path(run).glob(f"{SEED}*"))
    return sorted(int(name) for name in names if name.isdecimal())


def recorded(run: Path | str) -> tuple[TrainConfig, tuple[Layered, ...]] | None:
    """The settings and the topologies that a run was started with; None where it has no checkpoint yet.

    Raises:
        FileFormatError: a damaged checkpoint.
    """
    path = Path(run) / CHECKPOINT
    if not path.exists():
        return None
    checkpoint = load(path)
    return checkpoint.origin.config, load_all(path) if checkpoint.fingerprints else ()


def _origin(config: TrainConfig, topologies: Sequence[Layered], dataset: Dataset, networks: int) -> Origin:
    return Origin(
        config=config,
        data=dataset.checksum(),
        device=str(resolve_device(config.device)),
        kernels=config.kernel,
        threads=config.threads or suitable_threads(config, topologies, dataset, networks),
        torch=torch.__version__,
    )


def _run_epochs(
    trainer: Trainer, folders: Sequence[RunFolder], origin: Origin, topologies: Sequence[Layered], again: str
) -> None:
    epochs = trainer.config.epochs
    checkpoints = [folder.checkpoint for folder in folders]
    done = trainer.epochs_done
    try:
        with Progress(epochs, done, trainer.steps_per_epoch) as progress:
            while done < epochs:
                metrics = trainer.run_epoch(progress.step)
                save(checkpoints, trainer, origin, topologies)
                done = trainer.epochs_done
                for folder, entry in zip(folders, metrics, strict=True):
                    folder.add_metrics(entry)
                progress.epoch(metrics)
    except KeyboardInterrupt:
        _say(f"stopped after {done} of {epochs} epochs: go on with {again}")
        raise


def _require_same(checkpoint: Checkpoint, config: TrainConfig, topologies: Sequence[Layered], path: Path) -> None:
    given, started = config.to_json(), checkpoint.origin.config.to_json()
    for name in given:  # in their order: what others depend on comes before them
        if name != "data_dir" and given[name] != started[name]:  # where the data lie does not change them
            raise InvalidSpecError(
                f"{flag(name)} is {given[name]}, but the run in {path} was started with {started[name]}: "
                "give the same, or choose another --run"
            )
    if checkpoint.fingerprints != tuple(map(fingerprint, topologies)):
        raise InvalidSpecError(
            f"the run in {path} was started with another topology: give the same, or choose another --run"
        )


def _require_same_data(origin: Origin, dataset: Dataset, path: Path) -> None:
    if dataset.checksum() != origin.data:
        raise InvalidSpecError(
            f"the dataset {dataset.name} is no longer the one that the run in {path} was started with: "
            "bring that back, or choose another --run"
        )
    if origin.torch != torch.__version__:
        _say(f"started with torch {origin.torch}, going on with {torch.__version__}: the last bits may differ")


def _name(config: TrainConfig, topologies: Sequence[Layered]) -> str:
    dataset = config.dataset.replace(":", "-").rpartition("/")[2]
    name = f"{config.model}-{dataset}-{_wiring(topologies)}-seed{config.seed}"
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name)


def _wiring(topologies: Sequence[Layered]) -> str:
    return "-".join(dict.fromkeys(map(_made_as, topologies))) or "dense"


def _made_as(topology: Layered) -> str:
    recipe: Any = topology.recipe
    while isinstance(recipe, Mapping) and "transform" in recipe:
        options = recipe.get("options")
        recipe = options.get("of") if isinstance(options, Mapping) else None
    return str(recipe["family"]) if isinstance(recipe, Mapping) and "family" in recipe else "sparse"


def _say(text: str) -> None:
    print(text, file=sys.stderr)
