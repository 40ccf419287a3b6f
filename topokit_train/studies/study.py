"""study: experiments that run as a sweep, and the report on them."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from topokit.errors import FileFormatError, InvalidSpecError, TopokitError
from topokit_train.json_files import read_json, write_json
from topokit_train.runs.folder import RESULT
from topokit_train.studies import STUDIES
from topokit_train.studies.report import require_packages, write_report
from topokit_train.sweeps.folder import RUN, State, SweepFolder
from topokit_train.sweeps.grid import read_grid
from topokit_train.sweeps.known import read_known
from topokit_train.sweeps.planned import Planned
from topokit_train.sweeps.summary import Summary
from topokit_train.sweeps.sweep import sweep, where_to_run

ABOUT, FORMAT = "study.json", 1
PACKAGES = ("topokit", "torch", "numpy", "scipy", "python-graphblas")


@dataclass(frozen=True, kw_only=True)
class Study:
    """Experiments, in several sizes, and the report on them.

    Args:
        name: in STUDIES.
        grids: budget -> the TOML file of its runs.
    """

    name: str
    grids: Mapping[str, Path]

    def plan(self, budget: str, where: Mapping[str, Any] | None = None) -> tuple[Planned, ...]:
        """Return the runs of a budget.

        Args:
            budget: a key of `grids`.
            where: settings of the machine: "data_dir", "device" and "threads".

        Raises:
            InvalidSpecError: unknown budget.
        """
        if budget not in self.grids:
            raise InvalidSpecError(f"`budget` must be one of {', '.join(self.grids)}, not {budget!r}")
        return read_grid(self.grids[budget], where)


class Studied(NamedTuple):
    """What `study` did: the summary of the runs, None if it did none, and the report's file."""

    summary: Summary | None
    report: Path


def study(
    name: str,
    *,
    budget: str = "smoke",
    out: str | Path | None = None,
    tables: str | Path | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    retry: bool = False,
    known: str | Path | Iterable[str | Path] = (),
    data_dir: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    force: bool = False,
) -> Studied:
    """Run a study's experiments and write the report on them; the same call continues an interrupted study.

    Args:
        name: in STUDIES.
        budget: smoke, small or full.
        out: folder of the runs, tables and report; NAME-BUDGET if omitted.
        tables: tables to report on into `out`, without any run.
        workers: number of processes, see `sweep`.
        scheduler: address of a Dask scheduler instead.
        retry: do the failed runs again.
        known: folders of tables of this study, whose finished runs are not done again.
        data_dir: folder of the datasets' files.
        device: "cpu", "cuda", "mps" or "auto".
        threads: of each process; 1 if there are several.
        force: replace a report that is in `out`, with `tables`.

    Raises:
        InvalidSpecError: no such study or budget.
        TopokitError: as `sweep`.
    """
    chosen: Study = STUDIES[name]
    if tables is not None:
        if out is None:
            raise InvalidSpecError("`tables` needs `out`, the folder of the report")
        return Studied(None, write_report(Path(tables), Path(out), force=force))
    require_packages()  # before days of runs
    out = Path(out or f"{name}-{budget}")
    runs = chosen.plan(budget, where_to_run(workers, scheduler, data_dir, device, threads))
    folders = [Path(one) for one in ([known] if isinstance(known, str | Path) else known)]
    earlier = [part for about in map(read_about, folders) for part in (*about.pop("earlier", ()), about)]
    about = {"format": FORMAT, "study": name, "budget": budget, **({"earlier": earlier} if earlier else {})}
    copied = read_known(folders)
    try:
        found = sweep(runs, out, workers=workers, scheduler=scheduler, retry=retry, known=copied)
    except BaseException:
        with suppress(TopokitError):  # the user must see the first error
            _write_about(about, runs, out)
        raise
    _write_about(about, runs, out)
    return Studied(found, write_report(out / "tables", out, force=True))  # of this folder's runs


def _write_about(about: Mapping[str, Any], runs: Sequence[Planned], out: Path) -> None:
    """Write study.json beside the tables, if there are any: what is given, the machine, the versions and the time."""
    from topokit_train.machine import processor  # imports torch, which a report does not need

    folder = SweepFolder(out, make=False)
    if not folder.tables.exists():
        return
    finished = [name for name in {run.name for run in runs} if folder.state(name) is State.FINISHED]
    times = [(folder.run(name) / file).stat().st_mtime for name in finished for file in (RUN, RESULT)]
    days = {"started": min(times), "ended": max(times)} if times else {}
    added = {
        "machine": {
            "processor": processor(),
            "cores": psutil.cpu_count(),
            "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
            "system": platform.platform(terse=True),
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "seconds": round(sum(folder.result(name)["train_seconds"] for name in finished), 1),
        **{name: date.fromtimestamp(time).isoformat() for name, time in days.items()},
    }
    write_json(folder.tables / ABOUT, {**about, **added})


def read_about(folder: Path) -> dict[str, Any]:
    """Return the study.json of a folder of tables.

    Raises:
        FileFormatError: it is missing, damaged or of a later release.
    """
    about = read_json(folder / ABOUT)
    if about.get("format", FORMAT) != FORMAT:
        found = f"{folder / ABOUT} has format {about['format']}"
        raise FileFormatError(f"{found}, but this release reads format {FORMAT}: use the release that wrote it")
    return about


_GRIDS = Path(__file__).parent / "training_behavior"
TRAINING_BEHAVIOR = Study(
    name="training-behavior",
    grids={budget: _GRIDS / f"{budget}.toml" for budget in ("smoke", "small", "full")},
)
"""The study of arXiv:1810.00299: its experiments, with several seeds.

"Training Behavior of Sparse Neural Network Topologies", Alford, Robinett, Milechin, Kepner 2018. Each budget is a grid,
a TOML file that `topokit sweep` reads too.
"""
