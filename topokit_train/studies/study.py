"""Study: experiments that are run as a sweep and told as a report."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from topokit.errors import InvalidSpecError, TopokitError
from topokit_train.json_files import write_json
from topokit_train.machine import processor
from topokit_train.runs.folder import RESULT
from topokit_train.studies.tables import ABOUT, read_about
from topokit_train.sweeps.folder import RUN, State, SweepFolder
from topokit_train.sweeps.grid import read_grid
from topokit_train.sweeps.known import read_known
from topokit_train.sweeps.planned import Planned
from topokit_train.sweeps.summary import Summary
from topokit_train.sweeps.sweep import sweep

PACKAGES = ("topokit", "torch", "numpy", "scipy", "python-graphblas")


@dataclass(frozen=True, kw_only=True)
class Study:
    """Experiments, in several sizes, and the report on them.

    Args:
        name: in STUDIES.
        grids: budget -> the TOML file of its runs.
        report: the module of write_report(tables, out, *, force) -> the report's file, and of require_packages().
    """

    name: str
    grids: Mapping[str, Path]
    report: str

    def plan(self, budget: str, where: Mapping[str, Any] | None = None) -> tuple[Planned, ...]:
        """The runs of a budget.

        Args:
            budget: a key of `grids`.
            where: settings that say where runs are done: "data_dir", "device" and "threads".

        Raises:
            InvalidSpecError: no such budget.
        """
        if budget not in self.grids:
            raise InvalidSpecError(f"`budget` must be one of {', '.join(self.grids)}, not {budget!r}")
        return read_grid(self.grids[budget], where)

    def run(
        self,
        budget: str,
        out: Path,
        *,
        where: Mapping[str, Any] | None = None,
        workers: int = 1,
        scheduler: str | None = None,
        retry: bool = False,
        known: Sequence[Path] = (),
    ) -> Summary:
        """Do all runs of a budget that have not ended, and write the tables that a report is made of.

        Args:
            budget: a key of `grids`.
            out: the study's folder, which is a sweep's; made if missing, but not the folders above it.
            where: as for `plan`.
            workers: processes on this machine.
            scheduler: address of a Dask scheduler instead.
            retry: do the failed runs again.
            known: folders of tables of this study, whose finished runs are not done again; the tables have them too.

        Returns:
            What became of all runs.

        Raises:
            MissingDependencyError: a package that the report needs is not installed.
            FileFormatError: `known` are no tables of this study.
            TopokitError: as `sweep` does; a later call goes on.
        """
        import_module(self.report).require_packages()  # better now than after days of runs
        runs = self.plan(budget, where)
        earlier = _earlier(known)
        told = read_known(known)
        try:
            found = sweep(runs, out, workers=workers, scheduler=scheduler, retry=retry, known=told)
        except BaseException:
            with suppress(TopokitError):  # what went wrong before is what the user is told
                self._tell(budget, runs, out, earlier)
            raise
        self._tell(budget, runs, out, earlier)
        return found

    def _tell(self, budget: str, runs: Sequence[Planned], out: Path, earlier: Sequence[Mapping[str, Any]]) -> None:
        """Write study.json beside the tables, where there are any."""
        folder = SweepFolder(out, make=False)
        if folder.tables.exists():
            about = self._about(budget, runs, folder)
            write_json(folder.tables / ABOUT, about | ({"earlier": earlier} if earlier else {}))

    def write_report(self, tables: Path, out: Path, *, force: bool = False) -> Path:
        """Write the report on the tables of a study, and nothing else: no run is done or looked at.

        Args:
            tables: the folder of runs.csv, epochs.csv, prunings.csv and study.json.
            out: the folder that gets report.html, report.md and what they show.
            force: replace a report that is there.

        Returns:
            The HTML file.

        Raises:
            FileFormatError: tables that are missing, damaged or of another version.
            OutputExistsError: there is a report, and force is not set.
        """
        written: Path = import_module(self.report).write_report(tables, out, force=force)
        return written

    def _about(self, budget: str, runs: Sequence[Planned], folder: SweepFolder) -> dict[str, Any]:
        """What study.json says: which study this is, and where its runs were done."""
        finished = [name for name in {run.name for run in runs} if folder.state(name) is State.FINISHED]
        return {
            "format": 1,
            "study": self.name,
            "budget": budget,
            "machine": {
                "processor": processor(),
                "cores": psutil.cpu_count(),
                "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
                "system": platform.platform(terse=True),
            },
            "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
            "seconds": round(sum(folder.result(name)["train_seconds"] for name in finished), 1),
            **_days(folder, finished),
        }


def _earlier(known: Iterable[Path]) -> list[dict[str, Any]]:
    """The "earlier" of study.json: what each study.json beside known tables says, and what that calls earlier."""
    found: list[dict[str, Any]] = []
    for folder in known:
        about = read_about(folder)
        found += (*about.pop("earlier", ()), about)
    return found


def _days(folder: SweepFolder, finished: Sequence[str]) -> dict[str, str]:
    """The days on which the first run was begun and the last one ended, as the files say."""
    times = [(folder.run(name) / file).stat().st_mtime for name in finished for file in (RUN, RESULT)]
    if not times:
        return {}
    return {
        name: date.fromtimestamp(time).isoformat() for name, time in (("started", min(times)), ("ended", max(times)))
    }
