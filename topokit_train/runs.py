"""train: a whole training run with its folder, from the settings to the result, and going on with it."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from topokit.errors import InvalidSpecError
from topokit.families.radix_net import RadixNet
from topokit.formats import load as load_topology
from topokit.layered import Layered
from topokit.topology import fingerprint
from topokit.transforms import crop
from topokit_train.checkpoints import Checkpoint, Origin, load, restore, save
from topokit_train.config import TrainConfig, flag
from topokit_train.datasets import Dataset, load_dataset
from topokit_train.given_weights import start_from
from topokit_train.machine import cpu_threads, resolve_device, suitable_threads
from topokit_train.progress import Progress
from topokit_train.pruning.config import PruneConfig
from topokit_train.pruning.pruner import Pruner
from topokit_train.pruning.results import pruned_results
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
    topology: Layered | None = None,
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
        config: the settings; with a PruneConfig the run prunes, and the result is a PruneResult.
        topology: fills the model's slots; None for a dense model.
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
    return _train([config], topology, [None if run is None else Path(run)], resume, force, explain)[0]


def train_seeds(
    config: TrainConfig,
    topology: Layered | None,
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
        topology: fills the model's slots; None for a dense model.
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
    configs = [replace(config, seed=seed) for seed in seeds]
    if run is None:
        return _train(configs, topology, [None] * len(seeds), resume, force, explain)
    parent = Path(run)
    parent.mkdir(exist_ok=True)
    try:
        return _train(configs, topology, [parent / f"{SEED}{seed}" for seed in seeds], resume, force, explain)
    finally:
        with suppress(OSError):  # it stays if anything is in it
            parent.rmdir()


def _train(
    configs: Sequence[TrainConfig],
    topology: Layered | None,
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
            folder = held.enter_context(RunFolder(path, _name(config, topology)))
            jobs.append(_job(config, topology, folder, resume, force))
        dataset = load_dataset(configs[0].dataset, configs[0].data_dir)
        together: dict[tuple[object, ...], list[_Job]] = {}
        for job in jobs:
            together.setdefault(job.place, []).append(job)
        results = [
            result
            for group in together.values()
            for result in _train_together(group, topology, dataset, resume, explain)
        ]
    return sorted(results, key=lambda result: [config.seed for config in configs].index(result.seed))


def _job(config: TrainConfig, topology: Layered | None, folder: RunFolder, resume: bool, force: bool) -> _Job:
    checkpoint = load(folder.checkpoint) if resume and folder.checkpoint.exists() else None
    if checkpoint:
        _require_same(checkpoint, config, topology, folder.path)
    elif not force:
        folder.require_free()
    return _Job(config, folder, checkpoint)


def _train_together(
    jobs: Sequence[_Job], topology: Layered | None, dataset: Dataset, resume: bool, explain: bool
) -> list[Result]:
    config, folders = jobs[0].config, [job.folder for job in jobs]
    checkpoints = [job.checkpoint for job in jobs if job.checkpoint]
    origin = (
        replace(checkpoints[0].origin, config=config) if checkpoints else _origin(config, topology, dataset, len(jobs))
    )
    with cpu_threads(origin.threads):
        trainer = Trainer(
            config,
            topology,
            dataset,
            device=resolve_device(origin.device),
            kernel=origin.kernels,
            seeds=[job.config.seed for job in jobs],
        )
        pruner = Pruner(config, trainer, [f.path for f in folders]) if isinstance(config, PruneConfig) else None
        for layer, choice in trainer.choices.items() if explain else ():
            reason = "the run was started with it" if checkpoints else choice.reason
            _say(f"{layer}: kernel {choice.kernel}, {reason}")
        if checkpoints:
            _require_same_data(origin, dataset, folders[0].path)
            restore(checkpoints, trainer, pruner)
        else:
            if config.weights is not None:
                start_from(config.weights, trainer, topology, dataset)
            origin = replace(origin, kernels=trainer.kernels)
            for folder in folders:
                if resume:
                    _say(f"there is no checkpoint in {folder.path} yet: starting from the beginning")
                folder.remove_result()
            if pruner:
                pruner.start()
            save([folder.checkpoint for folder in folders], trainer, origin, topology, pruner)
        for job, history in zip(jobs, trainer.histories, strict=True):
            job.folder.write_json(CONFIG, job.config.to_json())
            job.folder.write_metrics(history)
        _run_epochs(trainer, folders, origin, topology, pruner)
        results = results_of(trainer, [str(folder.path) for folder in folders])
        results = pruned_results(results, pruner) if pruner else results
    for folder, result in zip(folders, results, strict=True):
        folder.write_json(RESULT, result.to_json())
    return results


def default_topology() -> Layered:
    """What is trained where nothing else is said: 784-300-100, 90 % sparse, 3 paths from each input to each output."""
    return crop(RadixNet(radices=((10, 10),), kron=(8, 3, 1)), (784, 300, 100))


def recorded_seeds(run: Path | str) -> list[int]:
    """The seeds of the runs that `train_seeds` keeps in a folder; none where it holds none."""
    names = (path.name.removeprefix(SEED) for path in Path(run).glob(f"{SEED}*"))
    return sorted(int(name) for name in names if name.isdecimal())


def recorded(run: Path | str) -> tuple[TrainConfig, Layered | None] | None:
    """The settings and the topology that a run was started with; None where it has no checkpoint yet.

    Raises:
        FileFormatError: a damaged checkpoint.
    """
    path = Path(run) / CHECKPOINT
    if not path.exists():
        return None
    checkpoint = load(path)
    return checkpoint.origin.config, None if checkpoint.fingerprint is None else load_topology(path)


def _origin(config: TrainConfig, topology: Layered | None, dataset: Dataset, networks: int) -> Origin:
    return Origin(
        config=config,
        data=dataset.checksum(),
        device=str(resolve_device(config.device)),
        kernels=config.kernel,
        threads=config.threads or suitable_threads(config, topology, dataset, networks),
        torch=torch.__version__,
    )


def _run_epochs(
    trainer: Trainer,
    folders: Sequence[RunFolder],
    origin: Origin,
    topology: Layered | None,
    pruner: Pruner | None,
) -> None:
    epochs = trainer.config.epochs
    checkpoints = [folder.checkpoint for folder in folders]
    done = trainer.epochs_done
    try:
        with Progress(epochs, done, trainer.steps_per_epoch) as progress:

            def after_step() -> None:
                if pruner:
                    pruner.after_step()
                progress.step()

            while done < epochs:
                metrics = trainer.run_epoch(after_step)
                save(checkpoints, trainer, origin, topology, pruner)
                done = trainer.epochs_done
                for folder, entry in zip(folders, metrics, strict=True):
                    folder.add_metrics(entry)
                progress.epoch(metrics)
    except KeyboardInterrupt:
        where = folders[0].path if len(folders) == 1 else folders[0].path.parent
        _say(f"stopped after {done} of {epochs} epochs: go on with --run {where} --resume")
        raise


def _require_same(checkpoint: Checkpoint, config: TrainConfig, topology: Layered | None, path: Path) -> None:
    given, started = config.to_json(), checkpoint.origin.config.to_json()
    if given.keys() != started.keys():
        kind, other = ("prune", "train") if isinstance(config, PruneConfig) else ("train", "prune")
        raise InvalidSpecError(
            f"the run in {path} was started by topokit {other}, not {kind}: go on with that, or choose another --run"
        )
    for name in given.keys() - {"data_dir"}:  # where the data lie does not change them
        if given[name] != started[name]:
            raise InvalidSpecError(
                f"{flag(name)} is {given[name]}, but the run in {path} was started with {started[name]}: "
                "give the same, or choose another --run"
            )
    if checkpoint.fingerprint != (None if topology is None else fingerprint(topology)):
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


def _name(config: TrainConfig, topology: Layered | None) -> str:
    dataset = config.dataset.replace(":", "-").rpartition("/")[2]
    wiring = config.method if isinstance(config, PruneConfig) else _wiring(topology)
    name = f"{config.model}-{dataset}-{wiring}-seed{config.seed}"
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name)


def _wiring(topology: Layered | None) -> str:
    if topology is None:
        return "dense"
    recipe: Any = topology.recipe
    while isinstance(recipe, Mapping) and "transform" in recipe:
        options = recipe.get("options")
        recipe = options.get("of") if isinstance(options, Mapping) else None
    return str(recipe["family"]) if isinstance(recipe, Mapping) and "family" in recipe else "sparse"


def _say(text: str) -> None:
    print(text, file=sys.stderr)
