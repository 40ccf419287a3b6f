"""train: start or resume a training run with its folder, from the settings to the result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from topokit.errors import InvalidSpecError
from topokit.fields import integers, path_of
from topokit.placement.filling import Topologies
from topokit_train.config import FUNCTIONS, TrainConfig
from topokit_train.datasets import Dataset, load_dataset
from topokit_train.datasets.given import as_dataset
from topokit_train.functions import load_function
from topokit_train.methods import Callback, Method, read
from topokit_train.models.networks import Model, ModelSource, digest_of, model_source
from topokit_train.pruning.config import PruneConfig
from topokit_train.ranks import Ranks, this_rank
from topokit_train.results import Kernels, Result, Results
from topokit_train.runs.folder import FolderElsewhere, RunFolder, made_folder, remove_empty
from topokit_train.runs.jobs import Setup, groups, job_of, kernels_of, recorded_start, train_together
from topokit_train.runs.parallel import join, require_same
from topokit_train.runs.progress import phase
from topokit_train.runs.resuming import SEED
from topokit_train.runs.topologies import DEFAULT_TOPOLOGY, is_default, require_inputs, run_name, starting_topologies
from topokit_train.seeds import MAX_SEED, parse_seeds

NEEDS_RUN = "`resume` needs the folder of the run to continue: `run` DIR"


def train(
    config: TrainConfig,
    topology: Topologies | None = DEFAULT_TOPOLOGY,
    *,
    model: Model | None = None,
    data: Any = None,
    method: Method | None = None,
    callbacks: Callback | str | Sequence[Callback | str] = (),
    run: Path | str | None = None,
    resume: bool = False,
    force: bool = False,
) -> Result:
    """Train a model, with a checkpoint after each epoch.

    On the CPU, equal seeds and numbers of threads give equal weights, bit for bit, even if the run was interrupted and
    resumed. Progress is printed to stderr. In processes that torchrun started, all processes call this function,
    train one network together and get the same result, see `topokit_train.ranks`.

    Args:
        config: the settings; with a PruneConfig the run prunes, and the result is a PruneResult.
        topology: as for `sparsify`: a topology, several, a description or a mapping of names to these; None or
            "dense" for a dense model. By default that of the resumed run; for a new run, lenet-300-100 has a default
            topology and other models are dense.
        model: a function that returns an nn.Module, which is called with those of the arguments input_shape, outputs,
            classes and widths that it has; or an nn.Module, which is trained in place and keeps its weights. By default
            the model that the settings name.
        data: a dataset, see `topokit_train.dataset`, or (x_train, y_train, x_test, y_test). By default the dataset that
            the settings name.
        method: the training method. By default the method that the settings name.
        callbacks: callbacks, see `topokit_train.methods`: objects, or strings such as "tensorboard".
        run: the folder of the run. By default a new folder in runs/ that is named after the settings.
        resume: continue the run in that folder; if the folder has no run, start one.
        force: replace an existing run in the folder.

    Raises:
        InvalidSpecError: settings contradict each other, or differ from those of the run to resume.
        OutputExistsError: the folder contains a run, and neither resume nor force is set.
        FileFormatError: a damaged dataset or checkpoint.
        TopokitError: data that cannot be found, a full disk, a folder in use, an error in the user's code.
        KeyboardInterrupt: Ctrl-C; the checkpoint of the last whole epoch is kept.
    """
    given: dict[str, Any] = {"model": model, "data": data, "method": method, "callbacks": callbacks}
    return train_all([config], topology, [run], resume=resume, force=force, **given)[0]


def train_seeds(
    config: TrainConfig,
    topology: Topologies | None = DEFAULT_TOPOLOGY,
    seeds: Sequence[int] | str = (),
    *,
    run: Path | str | None = None,
    resume: bool = False,
    **others: Any,
) -> Results:
    """Train a model once for each seed, in one process; see `topokit_train.layers.stacks`.

    Each seed has its own run folder, and equals a run that was trained alone up to rounding. If `config.order_seed` is
    set, all seeds use the same batches, and their first layers are one product. Only perceptrons are trained together;
    the seeds of other models are trained in turn.

    Args:
        config: the settings; `config.seed` is ignored.
        topology: as for `train`.
        seeds: different seeds of the weights and, without `config.order_seed`, of the order of the samples: numbers, or
            a string such as "0-4,7".
        run: the parent of the run folders, which are named seed<N>. By default a new folder in runs/.
        resume: continue the runs in these folders.
        others: other arguments of `train`.

    Raises:
        InvalidSpecError: no seeds, or a repeated seed; else as `train`.
    """
    seeds = parse_seeds(seeds) if isinstance(seeds, str) else integers(seeds, "`seeds`", 0, MAX_SEED)
    if not seeds or len(set(seeds)) != len(seeds):
        raise InvalidSpecError(f"`seeds` must be different numbers, at least one, not {','.join(map(str, seeds))}")
    if resume and run is None:
        raise InvalidSpecError(NEEDS_RUN)
    _require_types([config], topology)
    configs = [config.replaced(seed=seed) for seed in seeds]
    parent, made = Path(run or ""), list[Path]()
    if this_rank().first:
        data = others.get("data")
        (given,), *_ = _given([config], others.get("model"), data if isinstance(data, Dataset) else None)
        parent, made = made_folder(None if run is None else parent, f"{run_name(given, topology)}-{SEED}s")
    try:
        folders = [parent / f"{SEED}{seed}" for seed in seeds]
        return Results(train_all(configs, topology, folders, resume=resume, **others))
    finally:
        remove_empty(made)


def train_all(
    configs: Sequence[TrainConfig],
    topology: Topologies | None,
    runs: Sequence[Path | str | RunFolder | None],
    *,
    model: Model | None = None,
    data: Any = None,
    method: Method | None = None,
    callbacks: Callback | str | Sequence[Callback | str] = (),
    resume: bool = False,
    force: bool = False,
) -> list[Result]:
    """Train networks that differ only in their seeds, each in a given folder; else as `train`.

    Args:
        configs: the settings of each run. Only seed, device, threads and data_dir may differ.
        topology: as for `train`; the same for all runs, like the following arguments.
        runs: the folder of each run; None for a new folder in runs/. A RunFolder that is open remains open.
        model: the model.
        data: the dataset.
        method: the training method.
        callbacks: the callbacks.
        resume: continue the runs in these folders.
        force: replace existing runs.

    Returns:
        The results, in the order of `configs`.

    Raises:
        InvalidSpecError: other settings differ, or a seed or a folder is given twice; else as `train`.
    """
    callbacks = [callbacks] if isinstance(callbacks, str | Callback) else callbacks
    if not isinstance(callbacks, Iterable):
        raise InvalidSpecError(f"`callbacks` must be a list, not {shortened(callbacks)}")
    hooked = [read(one, "callback", Callback)[0] if isinstance(one, str) else one for one in callbacks]
    _require_types(configs, topology, method, hooked)
    configs, source, data = _given(configs, model, data, method)
    _require_stack(configs, source, method)
    ranks = join()
    with ExitStack() as opened:
        folders = _folders(configs, topology, runs, resume, opened, ranks)
        versions, kind, make_method = ranks.agreed(lambda: _code(configs[0], source, method))
        dataset = cache(lambda: data or _read(configs[0]))
        nets, given = ranks.agreed(lambda: starting_topologies(topology, configs[0], source, dataset, folders, resume))
        setup = Setup(source, nets, dataset, kind, make_method, tuple(hooked), versions, resume, ranks)
        jobs = ranks.agreed(
            lambda: [job_of(one, setup, at, force, given) for one, at in zip(configs, folders, strict=True)]
        )
        with recorded_start(jobs, setup, _resumed_with([folder.path for folder in folders], configs)):
            ranks.agreed(dataset)
            if given and is_default(topology):
                require_inputs(nets, dataset())
            require_same(jobs, setup)
            results = [
                result
                for group in ranks.agreed(lambda: list(groups(jobs, setup)))
                for result in train_together(group, setup)
            ]
    return sorted(results, key=lambda result: [config.seed for config in configs].index(result.seed))


def explain_kernels(
    config: TrainConfig,
    topology: Topologies | None = DEFAULT_TOPOLOGY,
    seeds: Sequence[int] | str = (),
    *,
    model: Model | None = None,
    data: Any = None,
) -> Kernels:
    """Return the kernel that a run would use for each sparse layer, and why. Trains nothing and writes no run.

    Args:
        config: the settings, as for `train`. The kernel "tuned" times each case that this machine has not timed before.
        topology: as for `train`.
        seeds: those of networks that would be trained together, as for `train_seeds`.
        model: the model, as for `train`.
        data: the dataset, as for `train`.

    Raises:
        InvalidSpecError: as `train`.
        FileFormatError: a damaged dataset.
        TopokitError: data that cannot be found, an error in the user's code.
    """
    _require_types([config], topology)
    (config,), source, data = _given([config], model, data)
    dataset = cache(lambda: data or _read(config))
    nets, _ = starting_topologies(topology, config, source, dataset, (), resume=False)
    if is_default(topology):
        require_inputs(nets, dataset())
    return kernels_of(config, Setup(source, nets, dataset), parse_seeds(seeds) if isinstance(seeds, str) else seeds)


def _folders(
    configs: Sequence[TrainConfig],
    topology: Topologies | None,
    runs: Sequence[Path | str | RunFolder | None],
    resume: bool,
    opened: ExitStack,
    ranks: Ranks,
) -> list[RunFolder]:
    """The open run folders in the first process; other processes get folders that they do not write to."""
    if resume and None in runs:
        raise InvalidSpecError(NEEDS_RUN)
    given = [path_of(run, "`run`").resolve() for run in runs if not isinstance(run, RunFolder | None)]
    if len(set(given)) != len(given):
        twice = next(path for path in given if given.count(path) > 1)
        raise InvalidSpecError(f"each network needs a folder of its own, but {twice} is given twice")

    def open_all() -> Iterator[RunFolder]:
        for config, run in zip(configs, runs, strict=True):
            if isinstance(run, RunFolder):
                yield run
            elif ranks.first:
                name = f"{run_name(config, topology)}-{SEED}{config.seed}"
                yield opened.enter_context(RunFolder(None if run is None else Path(run), name))

    folders = ranks.agreed(lambda: list(open_all()))
    where = ranks.shared([folder.path for folder in folders])
    return folders or [FolderElsewhere(path) for path in where]


def _code(
    config: TrainConfig, source: ModelSource, method: Method | None
) -> tuple[dict[str, str], type[Method], Callable[[], Method]]:
    """The versions of the user's code, the class of the method, and a function that returns a method."""
    made, versions = (method, {}) if method is not None else config.make_method()
    if source.version is not None and source.module is None:
        versions = {"model": source.version} | versions
    for name in FUNCTIONS:
        if (given := getattr(config, name)) is not None:
            versions = versions | {name: load_function(given, name).version}
    if method is not None:
        plain = {key: value for key, value in vars(method).items() if isinstance(value, int | float | str | tuple)}
        versions = versions | {"method": f"{digest_of(type(method))} {plain!r}"}
    return versions, type(made), lambda: made if method is not None else config.make_method()[0]


def _read(config: TrainConfig) -> Dataset:
    phase(f"reading {config.dataset}")
    return load_dataset(config.dataset, config.data_dir)


def common(config: TrainConfig) -> TrainConfig:
    """Return the settings without those that may differ between networks that are trained together."""
    return replace(config, seed=0, device="auto", threads=None, data_dir=None)


def _require_stack(configs: Sequence[TrainConfig], source: ModelSource, method: Method | None) -> None:
    kinds = set(map(common, configs))
    seeds = [config.seed for config in configs]
    if len(kinds) != 1 or len(set(seeds)) != len(seeds):
        raise InvalidSpecError(
            f"runs trained together may differ only in their seed; there are {len(kinds)} kinds of settings, and the "
            f"seeds {','.join(map(str, seeds))}"
        )
    if len(configs) > 1 and (source.module is not None or method is not None):
        what = "a module has one set of weights" if source.module is not None else "a method holds one run's state"
        raise InvalidSpecError(f"{what}: give one seed, or the function or class that makes it")


def _given(
    configs: Sequence[TrainConfig], model: Model | None, data: Any, method: Method | None = None
) -> tuple[list[TrainConfig], ModelSource, Dataset | None]:
    """The settings with the names of the model, data and method that were given as objects; the model; the data."""
    source = model_source(configs[0].model if model is None else model)
    changed: dict[str, Any] = {"model": source.name}
    if data is not None:
        data = data if isinstance(data, Dataset) else as_dataset(data, "given:data")
        changed["dataset"] = data.name
    if method is not None and not isinstance(configs[0], PruneConfig):
        changed["method"] = f"{type(method).__module__}:{type(method).__name__}"
    return [config.replaced(**changed) for config in configs], source, data


def _require_types(
    configs: Sequence[object], topology: object, method: object = None, callbacks: Sequence[object] = ()
) -> None:
    for config in configs:
        if not isinstance(config, TrainConfig):
            raise InvalidSpecError(f"`config` must be a TrainConfig or PruneConfig, not {shortened(config)}")
    if (
        isinstance(topology, list | tuple) and not topology
    ):  # an empty list may be a mistake; "dense" or None is explicit
        raise InvalidSpecError("no topology is given: write dense, or None, for a dense model")
    kinds = [("method", method, Method), *(("callbacks", one, Callback) for one in callbacks)]
    for what, one, kind in kinds:
        if one is not None and not isinstance(one, kind):
            raise InvalidSpecError(f"`{what}` must be a topokit_train.{kind.__name__} object, not {shortened(one)}")


def _resumed_with(paths: Sequence[Path], configs: Sequence[TrainConfig]) -> str:
    """Return the flags that resume runs, including runs that have not started."""
    if len(paths) == 1:
        return f"--run {paths[0]} --resume"
    return f"--run {paths[0].parent} --seeds {','.join(str(config.seed) for config in configs)} --resume"
