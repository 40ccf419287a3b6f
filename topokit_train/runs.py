"""train: a whole training run with its folder, from the settings to the result, and going on with it."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Mapping
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
from topokit_train.machine import cpu_threads, resolve_device, suitable_threads
from topokit_train.models.networks import count_parameters
from topokit_train.progress import Progress
from topokit_train.run_folder import CHECKPOINT, CONFIG, RESULT, RunFolder
from topokit_train.training import Trainer


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a finished run came to.

    Args:
        run: its folder.
        model: name of the model.
        dataset: name of the dataset.
        kernel: of the sparse layers; several are joined by "+", and a dense model has "dense".
        device: where it was trained.
        seed: of the weights and of the images' order.
        epochs: how often each image was used.
        test_accuracy: fraction of the test images, after the last epoch.
        train_seconds: spent on optimisation steps.
        parameters: "total" of the dense model, and "nonzero", the numbers that are really there, biases included.
        dead_classes: classes that are predicted for no test image.
    """

    run: str
    model: str
    dataset: str
    kernel: str
    device: str
    seed: int
    epochs: int
    test_accuracy: float
    train_seconds: float
    parameters: dict[str, int]
    dead_classes: list[int]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON-able values: what result.json holds."""
        return dataclasses.asdict(self)


def train(
    config: TrainConfig,
    topology: Layered | None = None,
    *,
    run: Path | str | None = None,
    resume: bool = False,
    force: bool = False,
) -> Result:
    """Train a model, and keep all that is needed to go on after each epoch.

    On the CPU one seed gives one network, bit for bit, with the same number of threads; a run that was
    interrupted at any moment and resumed gives the same as one that was not. Progress goes to stderr.

    Args:
        config: the settings.
        topology: fills the model's slots; None for a dense model.
        run: the run's folder; where left out, a new one in runs/ that is named after the settings.
        resume: go on with the run in that folder; where it has no checkpoint yet, start it.
        force: replace a run that is there.

    Raises:
        InvalidSpecError: settings that do not fit together, or a run to resume that was started with others.
        OutputExistsError: the folder holds a run, and neither resume nor force is set.
        FileFormatError: a damaged dataset or checkpoint.
        TopokitError: data that is not to be had, a full disk, a folder in use.
        KeyboardInterrupt: Ctrl-C; the checkpoint of the last whole epoch is kept.
    """
    if resume and run is None:
        raise InvalidSpecError("--resume needs the folder of the run to go on with: --run DIR")
    with RunFolder(None if run is None else Path(run), _name(config, topology)) as folder:
        checkpoint = load(folder.checkpoint) if resume and folder.checkpoint.exists() else None
        if checkpoint:
            _require_same(checkpoint, config, topology, folder.path)
        elif not force:
            folder.require_free()
        dataset = load_dataset(config.dataset, config.data_dir)
        origin = replace(checkpoint.origin, config=config) if checkpoint else _origin(config, topology, dataset)
        with cpu_threads(origin.threads):
            trainer = Trainer(config, topology, dataset, device=resolve_device(origin.device), kernel=origin.kernels)
            if checkpoint:
                _require_same_data(origin, dataset, folder.path)
                restore(checkpoint, trainer)
            else:
                if resume:
                    _say(f"there is no checkpoint in {folder.path} yet: starting from the beginning")
                origin = replace(origin, kernels=trainer.kernels)
                folder.remove_result()
                save(folder.checkpoint, trainer, origin, topology)
            folder.write_json(CONFIG, config.to_json())
            folder.write_metrics(trainer.history)
            _run_epochs(trainer, folder, origin, topology)
            result = _result(trainer, folder.path)
            folder.write_json(RESULT, result.to_json())
            return result


def default_topology() -> Layered:
    """What is trained where nothing else is said: 784-300-100, 90 % sparse, 3 paths from each input to each output."""
    return crop(RadixNet(radices=((10, 10),), kron=(8, 3, 1)), (784, 300, 100))


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


def _origin(config: TrainConfig, topology: Layered | None, dataset: Dataset) -> Origin:
    return Origin(
        config=config,
        data=dataset.checksum(),
        device=str(resolve_device(config.device)),
        kernels=config.kernel,
        threads=config.threads or suitable_threads(config, topology, dataset),
        torch=torch.__version__,
    )


def _run_epochs(trainer: Trainer, folder: RunFolder, origin: Origin, topology: Layered | None) -> None:
    epochs = trainer.config.epochs
    done = len(trainer.history)
    try:
        with Progress(epochs, done, trainer.steps_per_epoch) as progress:
            while done < epochs:
                metrics = trainer.run_epoch(progress.step)
                save(folder.checkpoint, trainer, origin, topology)
                done = metrics.epoch
                folder.add_metrics(metrics)
                progress.epoch(metrics)
    except KeyboardInterrupt:
        _say(f"stopped after {done} of {epochs} epochs: go on with --run {folder.path} --resume")
        raise


def _require_same(checkpoint: Checkpoint, config: TrainConfig, topology: Layered | None, path: Path) -> None:
    given, started = config.to_json(), checkpoint.origin.config.to_json()
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


def _result(trainer: Trainer, path: Path) -> Result:
    config = trainer.config
    return Result(
        run=str(path),
        model=config.model,
        dataset=config.dataset,
        kernel="+".join(sorted(set(trainer.kernels.values()))) or "dense",
        device=str(trainer.device),
        seed=config.seed,
        epochs=config.epochs,
        test_accuracy=trainer.history[-1].test_accuracy,
        train_seconds=sum(metrics.seconds for metrics in trainer.history),
        parameters=count_parameters(trainer.model),
        dead_classes=trainer.dead_classes(),
    )


def _name(config: TrainConfig, topology: Layered | None) -> str:
    dataset = config.dataset.replace(":", "-").rpartition("/")[2]
    name = f"{config.model}-{dataset}-{_wiring(topology)}-seed{config.seed}"
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
