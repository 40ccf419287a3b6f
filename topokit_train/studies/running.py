"""study: the runs of a study and its report, by the study's name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from topokit.errors import InvalidSpecError
from topokit_train.studies import STUDIES
from topokit_train.sweeps.summary import Summary
from topokit_train.sweeps.sweep import where_to_run


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
    chosen = STUDIES[name]
    if tables is not None:
        if out is None:
            raise InvalidSpecError("`tables` needs `out`, the folder of the report")
        return Studied(None, chosen.write_report(Path(tables), Path(out), force=force))
    place = Path(out or f"{name}-{budget}")
    where = where_to_run(workers, scheduler, data_dir, device, threads)
    folders = [Path(one) for one in ([known] if isinstance(known, str | Path) else known)]
    found = chosen.run(budget, place, where=where, workers=workers, scheduler=scheduler, retry=retry, known=folders)
    return Studied(found, chosen.write_report(place / "tables", place, force=True))  # of this folder's runs
