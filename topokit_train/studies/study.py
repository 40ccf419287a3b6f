"""Study: experiments that run as a sweep, and the report on them."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from topokit.errors import FileFormatError, InvalidSpecError, TopokitError
from topokit_train.json_files import read_json, write_json
from topokit_train.runs.folder import RESULT
from topokit_train.studies import report
from topokit_train.sweeps.folder import RUN, State, SweepFolder
from topokit_train.sweeps.grid import read_grid
from topokit_train.sweeps.known import read_known
from topokit_train.sweeps.planned import Planned
from topokit_train.sweeps.summary import Summary
from topokit_train.sweeps.sweep import sweep

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
        """Do the unfinished runs of a budget, and write the tables for its report.

        Args:
            budget: a key of `grids`.
            out: the study's folder, which is also a sweep's; its parent must exist.
            where: as for `plan`.
            workers: number of processes on this machine.
            scheduler: address of a Dask scheduler to use instead.
            retry: repeat the failed runs.
            known: folders of tables of this study, whose finished runs are copied and not repeated.

        Returns:
            The states of all runs.

        Raises:
            MissingDependencyError: a package that the report needs is not installed.
            FileFormatError: `known` are not tables of this study.
            TopokitError: as `sweep`; a later call continues.
        """
        report.require_packages()  # before days of runs
        runs = self.plan(budget, where)
        earlier = [part for about in map(read_about, known) for part in (*about.pop("earlier", ()), about)]
        copied = read_known(known)
        try:
            found = sweep(runs, out, workers=workers, scheduler=scheduler, retry=retry, known=copied)
        except BaseException:
            with suppress(TopokitError):  # the user must see the first error
                self._write_about(budget, runs, out, earlier)
            raise
        self._write_about(budget, runs, out, earlier)
        return found

    def write_report(self, tables: Path, out: Path, *, force: bool = False) -> Path:
        """Write the report on a study's tables: `topokit_train.studies.report.write_report`."""
        return report.write_report(tables, out, force=force)

    def _write_about(self, budget: str, runs: Sequence[Planned], out: Path, earlier: Sequence[Any]) -> None:
        """Write study.json beside the tables, if there are any."""
        from topokit_train.machine import processor  # imports torch, which a report does not need

        folder = SweepFolder(out, make=False)
        if not folder.tables.exists():
            return
        finished = [name for name in {run.name for run in runs} if folder.state(name) is State.FINISHED]
        times = [(folder.run(name) / file).stat().st_mtime for name in finished for file in (RUN, RESULT)]
        days = {"started": min(times), "ended": max(times)} if times else {}
        about = {
            "format": FORMAT,
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
            **{name: date.fromtimestamp(time).isoformat() for name, time in days.items()},
        }
        write_json(folder.tables / ABOUT, about | ({"earlier": earlier} if earlier else {}))


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
