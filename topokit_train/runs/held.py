"""train_held: whole runs in folders that this process holds, started or gone on with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from topokit.errors import InvalidSpecError
from topokit.spec import Spec
from topokit_train.config import TrainConfig
from topokit_train.datasets import load_dataset
from topokit_train.models import Wiring, as_sequence, slots_for
from topokit_train.pruning.config import PruneConfig
from topokit_train.pruning.notes import notes
from topokit_train.ranks import ALONE, Ranks
from topokit_train.results import Result
from topokit_train.runs.folder import RunFolder
from topokit_train.runs.jobs import groups, job_of, train_together
from topokit_train.runs.parallel import require_same
from topokit_train.runs.progress import say


def train_held(
    configs: Sequence[TrainConfig],
    wiring: Wiring,
    folders: Sequence[RunFolder],
    *,
    resume: bool = False,
    force: bool = False,
    explain: bool = False,
    ranks: Ranks = ALONE,
) -> list[Result]:
    """Train networks that differ in their seeds, in folders that stay held; else as `train_all`.

    Args:
        configs: the settings of each, equal but for their seeds and where they are trained.
        wiring: as for `train`; the same for all.
        folders: of each.
        resume: go on with the runs in these folders.
        force: replace runs that are there.
        explain: say on stderr which kernel each sparse layer has, and why.
        ranks: the processes that train them, all of which call this.

    Returns:
        Their results, in the order of `configs`.
    """
    _require_stack(configs)
    # a spec would draw its edges anew for every checkpoint
    topologies = tuple(net.build() if isinstance(net, Spec) else net for net in as_sequence(wiring))
    begun = (job_of(one, topologies, at, resume, force) for one, at in zip(configs, folders, strict=True))
    jobs = ranks.agreed(lambda: list(begun))
    dataset = ranks.agreed(lambda: load_dataset(configs[0].dataset, configs[0].data_dir))
    require_same(ranks, jobs, topologies, dataset)
    if isinstance(configs[0], PruneConfig) and not all(job.checkpoint for job in jobs):
        table = slots_for(configs[0].model, topologies, image=dataset.input_shape, classes=dataset.outputs)
        for note in notes(configs[0], table):
            say(f"note: {note}")
    again = _resumed_with([folder.path for folder in folders], configs)
    results = [
        result
        for group in ranks.agreed(lambda: groups(jobs, topologies, dataset))
        for result in train_together(group, topologies, dataset, again, resume, explain, ranks)
    ]
    return sorted(results, key=lambda result: [config.seed for config in configs].index(result.seed))


def common(config: TrainConfig) -> TrainConfig:
    """The settings without those in which networks that are trained together may differ."""
    return replace(config, seed=0, device="auto", threads=None, data_dir=None)


def _require_stack(configs: Sequence[TrainConfig]) -> None:
    kinds = set(map(common, configs))
    seeds = [config.seed for config in configs]
    if len(kinds) != 1 or len(set(seeds)) != len(seeds):
        raise InvalidSpecError(
            f"what is trained together must differ in its seeds and in nothing else; there are {len(kinds)} kinds of "
            f"settings, and the seeds {','.join(map(str, seeds))}"
        )


def _resumed_with(paths: Sequence[Path], configs: Sequence[TrainConfig]) -> str:
    """The flags that go on with runs, those that have not yet begun included."""
    if len(paths) == 1:
        return f"--run {paths[0]} --resume"
    return f"--run {paths[0].parent} --seeds {','.join(str(config.seed) for config in configs)} --resume"
