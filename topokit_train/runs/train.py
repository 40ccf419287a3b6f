"""train: a whole training run with its folder, from the settings to the result, and going on with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from topokit.errors import InvalidSpecError
from topokit.families.radix_net import RadixNet
from topokit.formats import load_all
from topokit.layered import Layered
from topokit.transforms import crop
from topokit_train.config import TrainConfig
from topokit_train.models import MODELS, Wiring, as_sequence
from topokit_train.pruning.config import PruneConfig
from topokit_train.ranks import this_rank
from topokit_train.results import Result
from topokit_train.runs.checkpoints import load
from topokit_train.runs.folder import CHECKPOINT, FolderElsewhere, RunFolder, made_folder, remove_empty
from topokit_train.runs.held import train_held
from topokit_train.runs.parallel import join

SEED = "seed"  # and its number: the folder of one of several runs
NEEDS_RUN = "`resume` needs the folder of the run to go on with: `run` DIR"


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
    In processes that torchrun started it is one run, which all of them call and whose result all of them get: see
    `topokit_train.ranks`.

    Args:
        config: the settings; with a PruneConfig the run prunes, and the result is a PruneResult.
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
    return train_all([config], wiring, [run], resume=resume, force=force, explain=explain)[0]


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
    """Train a model once for each seed, all in one program; see `topokit_train.layers.stacks`.

    Each run has a folder of its own, as if it had been trained alone, and equals that run up to rounding. Where
    `config.order_seed` is set, all use the same batches, and the first layers are one product.

    Args:
        config: the settings; `config.seed` does not matter.
        wiring: a topology that fills the model's slots, or several, each those that are left; None for a dense model.
        seeds: of the weights and, without `config.order_seed`, of the images' order; all different.
        run: a folder that holds, or gets, a folder seed<N> for each; a new one in runs/ where left out.
        resume: go on with the runs in these folders.
        force: replace runs that are there.
        explain: say on stderr which kernel each sparse layer has, and why.

    Raises:
        InvalidSpecError: no seeds, or one twice; else as `train`.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise InvalidSpecError(f"`seeds` must be different numbers, at least one, not {','.join(map(str, seeds))}")
    if resume and run is None:
        raise InvalidSpecError(NEEDS_RUN)
    configs = [replace(config, seed=seed) for seed in seeds]
    parent, made = Path(run or ""), list[Path]()
    if this_rank().first:
        name = f"{_name(config, as_sequence(wiring))}-{SEED}s"
        parent, made = made_folder(None if run is None else parent, name)
    try:
        folders = [parent / f"{SEED}{seed}" for seed in seeds]
        return train_all(configs, wiring, folders, resume=resume, force=force, explain=explain)
    finally:
        remove_empty(made)


def train_all(
    configs: Sequence[TrainConfig],
    wiring: Wiring,
    runs: Sequence[Path | str | None],
    *,
    resume: bool = False,
    force: bool = False,
    explain: bool = False,
) -> list[Result]:
    """Train networks that differ in their seeds, each with a folder that is given; else as `train_seeds`.

    Args:
        configs: the settings of each, equal but for their seeds; device, threads and data_dir may differ too.
        wiring: as for `train`; the same for all.
        runs: the folder of each; None for a new one in runs/.
        resume: go on with the runs in these folders.
        force: replace runs that are there.
        explain: say on stderr which kernel each sparse layer has, and why.

    Returns:
        Their results, in the order of `configs`.

    Raises:
        InvalidSpecError: the settings differ in more than the seed and where the runs are done, or a seed or a folder
            is there twice; else as `train`.
    """
    paths = [None if run is None else Path(run) for run in runs]
    if resume and None in paths:
        raise InvalidSpecError(NEEDS_RUN)
    given = [path.resolve() for path in paths if path is not None]
    if len(set(given)) != len(given):
        twice = next(path for path in given if given.count(path) > 1)
        raise InvalidSpecError(f"each network needs a folder of its own, but {twice} is given twice")
    ranks = join()
    with ExitStack() as held:
        names = [f"{_name(config, as_sequence(wiring))}-{SEED}{config.seed}" for config in configs]
        opened = map(RunFolder, paths, names) if ranks.first else ()
        folders = ranks.agreed(lambda: [held.enter_context(folder) for folder in opened])
        where = ranks.shared([folder.path for folder in folders])
        folders = folders or [FolderElsewhere(path) for path in where]
        return train_held(configs, wiring, folders, resume=resume, force=force, explain=explain, ranks=ranks)


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
        f"{model} has no topology of its own: give `topology` FILE for each of its layers that is to be sparse, "
        "or `topology` dense"
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


def _name(config: TrainConfig, topologies: Sequence[Layered]) -> str:
    dataset = config.dataset.replace(":", "-").rpartition("/")[2]
    wiring = config.method if isinstance(config, PruneConfig) else _wiring(topologies)
    name = f"{config.model}-{dataset}-{wiring}"
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name)


def _wiring(topologies: Sequence[Layered]) -> str:
    return "-".join(dict.fromkeys(map(_made_as, topologies))) or "dense"


def _made_as(topology: Layered) -> str:
    recipe: Any = topology.recipe
    while isinstance(recipe, Mapping) and "transform" in recipe:
        options = recipe.get("options")
        recipe = options.get("of") if isinstance(options, Mapping) else None
    return str(recipe["family"]) if isinstance(recipe, Mapping) and "family" in recipe else "sparse"
