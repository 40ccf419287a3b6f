"""train: start or resume a training run with its folder, from the settings to the result."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from math import prod
from os import PathLike
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from topokit.descriptions import DENSE, split_pattern
from topokit.errors import InvalidSpecError
from topokit.families.radix_net import RadixNet
from topokit.fields import integers, path_of
from topokit.formats import load_all
from topokit.layered import Layered
from topokit.placement.filling import Topologies, named, opened
from topokit.placement.weights import Weight
from topokit.recipes import family_of
from topokit.reprs import counted
from topokit.spec import Spec
from topokit.transforms import crop
from topokit_train.config import FUNCTIONS, TrainConfig
from topokit_train.datasets import FUNCTION, Dataset, load_dataset, split_name
from topokit_train.datasets.given import as_dataset
from topokit_train.described import as_mapping
from topokit_train.functions import is_function, load_function
from topokit_train.methods import Callback, Method, read
from topokit_train.models import DEFAULT
from topokit_train.models.networks import Model, ModelSource, digest_of, model_source
from topokit_train.pruning.config import PruneConfig
from topokit_train.ranks import Ranks, this_rank
from topokit_train.results import Kernels, Result, Results
from topokit_train.runs.checkpoints import load
from topokit_train.runs.folder import FolderElsewhere, RunFolder, begun, made_folder, remove_empty
from topokit_train.runs.jobs import Setup, groups, job_of, kernels_of, recorded_start, train_together
from topokit_train.runs.parallel import join, require_same
from topokit_train.runs.progress import phase, say
from topokit_train.seeds import parse_seeds

DEFAULT_TOPOLOGY = "default"
"""In place of a topology: that of the resumed run, the default topology of lenet-300-100, or none (dense)."""
SEED = "seed"  # beginning of the folder name of one of several runs; the number of the seed follows
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
    seeds = parse_seeds(seeds) if isinstance(seeds, str) else integers(seeds, "`seeds`", 0)
    if not seeds or len(set(seeds)) != len(seeds):
        raise InvalidSpecError(f"`seeds` must be different numbers, at least one, not {','.join(map(str, seeds))}")
    if resume and run is None:
        raise InvalidSpecError(NEEDS_RUN)
    _require_types([config], topology)
    configs = [config.replaced(seed=seed) for seed in seeds]
    parent, made = Path(run or ""), list[Path]()
    if this_rank().first:
        given = _recorded_as(config, model_source(others.get("model") or config.model), others.get("data"), None)
        parent, made = made_folder(None if run is None else parent, f"{_name(given, topology)}-{SEED}s")
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
    source = model_source(configs[0].model if model is None else model)
    if data is not None and not isinstance(data, Dataset):
        data = as_dataset(data, "given:data")
    configs = [_recorded_as(one, source, data, method) for one in configs]
    _require_stack(configs, source, method)
    ranks = join()
    with ExitStack() as opened:
        folders = _folders(configs, topology, runs, resume, opened, ranks)
        versions, kind, make_method = ranks.agreed(lambda: _code(configs[0], source, method))
        dataset = cache(lambda: data or _read(configs[0]))
        nets, given = ranks.agreed(lambda: _topologies(topology, configs[0], source, dataset, folders, resume))
        setup = Setup(source, nets, dataset, kind, make_method, tuple(hooked), versions, resume, ranks)
        jobs = ranks.agreed(
            lambda: [job_of(one, setup, at, force, given) for one, at in zip(configs, folders, strict=True)]
        )
        with recorded_start(jobs, setup, _resumed_with([folder.path for folder in folders], configs)):
            ranks.agreed(dataset)
            if given and isinstance(topology, str) and topology == DEFAULT_TOPOLOGY:
                _require_inputs(nets, dataset())
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
    source = model_source(config.model if model is None else model)
    if data is not None and not isinstance(data, Dataset):
        data = as_dataset(data, "given:data")
    config = _recorded_as(config, source, data, None)
    dataset = cache(lambda: data or _read(config))
    nets, _ = _topologies(topology, config, source, dataset, (), resume=False)
    if isinstance(topology, str) and topology == DEFAULT_TOPOLOGY:
        _require_inputs(nets, dataset())
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
                name = f"{_name(config, topology)}-{SEED}{config.seed}"
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


def _topologies(
    topology: Topologies | None,
    config: TrainConfig,
    source: ModelSource,
    read: Callable[[], Dataset],
    folders: Sequence[RunFolder],
    resume: bool,
) -> tuple[tuple[Layered, ...], bool]:
    """The topologies at the start of the runs, and whether they were given rather than read from a run to resume."""
    if isinstance(topology, str) and topology == DEFAULT_TOPOLOGY:
        before = [path for folder in folders if resume and (path := begun(folder.path)).exists()]
        if before:
            return load_all(before[0]) if load(before[0]).fingerprints else (), False
        if source.name != DEFAULT or isinstance(config, PruneConfig):
            if not isinstance(config, PruneConfig):
                kept = "dense" if source.builtin else "as it is"
                say(f"{source.name}: {kept}, as no topology is given")
            return (), True
        topology = default_topology()
    phase("building the topology")
    nets = resolve(topology, lambda: source.weights(read()))
    # a Spec would compute its edges again for every checkpoint
    return tuple(net.build() if isinstance(net, Spec) else net for net in nets), True


def resolve(topology: Topologies | None, weights: Callable[[], Mapping[str, Weight]]) -> tuple[Layered, ...]:
    """Return the topologies that a user gave, in their order; none for a dense model.

    Args:
        topology: a topology, a description, a string 'PATTERN: DESCRIPTION' or a file; a sequence of these; "dense"; or
            a mapping of patterns to topologies, descriptions, layers or masks.
        weights: a function that returns the weights of the dense model; only patterns need it.

    Raises:
        InvalidSpecError: a description is wrong, or a pattern fits no parameter.
    """
    if isinstance(topology, Mapping):
        return named(topology, weights())
    several = isinstance(topology, Sequence) and not isinstance(topology, str)
    given: Sequence[Any] = [] if topology is None else topology if several else [topology]  # type: ignore[assignment]
    if DENSE in [one for one in given if isinstance(one, str)]:
        if len(given) > 1:
            raise InvalidSpecError("dense is a model without topologies: give no other `topology`")
        return ()
    pairs = [split_pattern(one) if isinstance(one, str) else (None, one) for one in given]
    if any(pattern is not None for pattern, _ in pairs):
        return named(as_mapping(pairs), weights())
    return tuple(net for _, one in pairs for net in opened(one))


def _require_inputs(nets: Sequence[Layered], dataset: Dataset) -> None:
    """Refuse the default topology for data with another number of inputs: the user did not choose it."""
    inputs = prod(dataset.input_shape)
    if nets and inputs != nets[0].widths[0]:
        raise InvalidSpecError(
            f"the default topology has {counted(nets[0].widths[0], 'input')}, and {dataset.name} {inputs}: give "
            "`topology` "
            f"'bernoulli widths={inputs},300,100 density=.1 seed=0', another one or dense"
        )


def default_topology() -> Layered:
    """Return the default topology: 784-300-100, 90 % sparse, 3 paths from each input to each output."""
    return crop(RadixNet(radices=((10, 10),), kron=(8, 3, 1)), (784, 300, 100))


def recorded_seeds(run: Path | str) -> list[int]:
    """Return the seeds of the runs that `train_seeds` wrote in a folder."""
    names = (path.name.removeprefix(SEED) for path in Path(run).glob(f"{SEED}*"))
    return sorted(int(name) for name in names if name.isdecimal())


def recorded(run: Path | str) -> TrainConfig | None:
    """Return the settings at the start of the run in a folder; None if the folder has no run.

    Raises:
        FileFormatError: a damaged checkpoint.
    """
    path = begun(Path(run))
    return load(path).origin.config if path.exists() else None


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


def _recorded_as(config: TrainConfig, source: ModelSource, data: Any, method: Method | None) -> TrainConfig:
    """The settings with the names of the model, data and method that were given as objects."""
    changed: dict[str, Any] = {"model": source.name}
    if isinstance(data, Dataset):
        changed["dataset"] = data.name
    if method is not None and not isinstance(config, PruneConfig):
        changed["method"] = f"{type(method).__module__}:{type(method).__name__}"
    return config.replaced(**changed)


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


def _name(config: TrainConfig, topology: Topologies | None) -> str:
    model = config.model.rpartition(":")[2] if is_function(config.model) else config.model
    function = split_name(config.dataset)[0] == FUNCTION
    dataset = config.dataset.rpartition(":")[2] if function else config.dataset
    dataset = dataset.replace(":", "-").rpartition("/")[2]
    if isinstance(topology, str) and topology == DEFAULT_TOPOLOGY:
        topology = default_topology() if model == DEFAULT else None
    if topology is None and is_function(config.model):
        topology = "own"  # a user's model may have sparse layers of its own
    name = f"{model}-{dataset}-{config.method if isinstance(config, PruneConfig) else _about(topology)}"
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name)


def _about(topology: Any) -> str:
    """A word for a run's name."""
    if isinstance(topology, PathLike):
        return Path(topology).stem
    if topology is None or isinstance(topology, str):
        return Path((topology or "dense").split(maxsplit=1)[0]).stem
    if isinstance(topology, Layered):
        return family_of(topology.recipe) or "sparse"
    if isinstance(topology, Mapping) or not isinstance(topology, Sequence):
        return "sparse"
    return "-".join(dict.fromkeys(map(_about, topology))) or "dense"
