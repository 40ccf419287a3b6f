"""The report's numbers as small tables: everything that it shows, for whoever wants to compute with it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from typing import Any

from topokit_train.studies.charts.model import Chart
from topokit_train.studies.findings import Effect, Judged, within
from topokit_train.studies.samples import samples
from topokit_train.studies.tables import Tables

Table = tuple[Sequence[str], list[Sequence[Any]]]
"""(names of the columns, rows)."""

TRAINED = ("retrained", "same-size", "same-edges")


def as_csv(table: Table) -> str:
    """A table as CSV, its numbers to nine digits: more would tell one release of a library from another."""
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table[0])
    writer.writerows([f"{cell:.9g}" if isinstance(cell, float) else cell for cell in row] for row in table[1])
    return file.getvalue()


def means(tables: Tables) -> Table:
    """The mean test accuracy of each arm."""
    columns = ("experiment", "model", "dataset", "recipe", "epochs", "arm", "density_or_times", "seeds", "mean")
    rows: list[Sequence[object]] = []
    for experiment in TRAINED:
        for found in samples(tables, experiment):
            case = found.case
            for (arm, x), mean in found.means().items():
                known = [run.dead_classes for run in found.arms[arm, x].values() if run.dead_classes is not None]
                dead = sum(1 for classes in known if classes) if known else None
                about = (experiment, case.model, case.dataset, case.recipe, case.epochs, arm, x)
                rows.append(
                    (*about, mean.n, mean.mean, mean.half, mean.deviation, mean.least, mean.most, dead),
                )
    return (*columns, "half_width", "standard_deviation", "least", "most", "runs_with_dead_classes"), rows


def claims(judged: Iterable[Judged]) -> Table:
    """Each finding: its effect, p-values as found and as corrected over its claim, and the verdict."""
    columns = ("claim", "case", "at", "compared", "seeds", "effect", "half_width", "unit", "p_holds", "p_fails")
    rows: list[Sequence[object]] = []
    for one in judged:
        found, p = one.finding, (one.finding.p_holds, one.finding.p_fails, one.holds, one.fails)
        rows.append(
            (one.key, found.where, *_headline(found.headline), *p, one.verdict.value, one.alone.value, found.missing)
        )
    return (*columns, "p_holds_holm", "p_fails_holm", "verdict", "verdict_alone", "missing"), rows


def effects(judged: Iterable[Judged]) -> Table:
    """Each comparison that a finding rests on, with p-values corrected within the finding."""
    columns = ("claim", "case", "at", "compared", "seeds", "effect", "half_width", "unit", "p_no_difference")
    rows: list[Sequence[object]] = [
        (one.key, one.finding.where, *_headline(effect), effect.zero, holds, fails, verdict)
        for one, effect, holds, fails, verdict in comparisons(judged)
    ]
    return (*columns, "p_holds_holm", "p_fails_holm", "verdict"), rows


def comparisons(judged: Iterable[Judged]) -> Iterator[tuple[Judged, Effect, float | None, float | None, str | None]]:
    """(finding, effect, p_holds, p_fails, verdict) of each comparison; no verdict on one that decides nothing."""
    for one in judged:
        corrected = within(one.finding.effects)
        for effect, (holds, fails, verdict) in zip(one.finding.effects, corrected, strict=True):
            yield one, effect, holds, fails, None if holds is None and fails is None else verdict.value


def _headline(effect: Effect | None) -> tuple[object, ...]:
    if effect is None:
        return (None,) * 6
    unit = "share of runs" if effect.is_share else "difference of accuracies"
    return effect.where, effect.what, effect.seeds, effect.value, effect.half, unit


def chart(found: Chart) -> Table:
    """All points of a chart."""
    rows: list[Sequence[object]] = [
        (panel.title, series.style, series.look == "paper", value.x, value.y, value.half, value.n, number)
        for panel in found.panels
        for number, series in enumerate(panel.series)
        for value in series.values
    ]
    return ("panel", "series", "from_the_paper", "x", "y", "half_width", "runs", "line"), rows
