"""Summary of a sweep: the states and results of the runs of each entry."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from topokit.reprs import Tabular, aligned
from topokit.statistics import mean_and_ci95
from topokit_train.metrics import ACCURACY, shown
from topokit_train.sweeps.folder import State, SweepFolder
from topokit_train.sweeps.planned import Planned, about


@dataclass(frozen=True, kw_only=True)
class Group:
    """The runs of a grid's entry that differ in their seeds only.

    Args:
        label: of the entry.
        axes: the values of the entry's other axes, such as "recipe=paper"; empty if it has none.
        runs: their number.
        finished, failed, running, waiting: the number of runs in each state.
        metric: name of the first metric of the finished ones; None if there are none.
        mean: its mean on the test samples: of accuracies a fraction.
        ci95: half the width of its 95 % confidence interval; None for fewer than two.
    """

    label: str
    axes: str
    runs: int
    finished: int
    failed: int
    running: int
    waiting: int
    metric: str | None
    mean: float | None
    ci95: float | None


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A run that failed, or that cannot begin because of one that did.

    Args:
        run: its name.
        label: of its entry in the grid.
        axes: the values of the entry's axes other than the seed, such as "recipe=paper"; empty if it has none.
        seed: of the run.
        error: the reason why it failed; None for one that waits.
        needs: the name of the failed run that it waits for; None for one that failed itself.
    """

    run: str
    label: str
    axes: str
    seed: int
    error: str | None
    needs: str | None


@dataclass(frozen=True, kw_only=True)
class Summary(Tabular):
    """The states and results of a sweep's runs; a run of two entries counts once in `states`.

    Args:
        states: number of runs in each state.
        groups: in the grid's order.
        troubles: the failed runs, and those that wait for one.
        tables: the folder of runs.csv and the other tables; None before there is one.
    """

    states: dict[str, int]
    groups: tuple[Group, ...]
    troubles: tuple[Trouble, ...]
    tables: Path | None = field(default=None, compare=False)

    columns = tuple(field.name for field in dataclasses.fields(Group))

    @property
    def complete(self) -> bool:
        """Whether all runs are finished."""
        return sum(self.states.values()) == self.states[State.FINISHED]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON-able values."""
        return dataclasses.asdict(self) | {"tables": self.tables and str(self.tables)}

    def records(self) -> list[dict[str, Any]]:
        return [dataclasses.asdict(group) for group in self.groups]

    @property
    def title(self) -> str:
        return f"{self.states['finished']} of {sum(self.states.values())} runs are finished"

    @property
    def heads(self) -> tuple[str, ...]:
        """The columns whose cells are texts: label, axes if there are any, and the test metric."""
        metrics = {group.metric for group in self.groups if group.metric} or {ACCURACY}
        axes = ("axes",) if any(group.axes for group in self.groups) else ()
        return ("label", *axes, f"test {'metric' if len(metrics) > 1 else metrics.pop()}")

    def rows(self) -> list[tuple[str, ...]]:
        *left, test = self.heads
        states = ("finished", "failed", "running", "waiting")
        rows = [(*left, *states, test)]
        for group in self.groups:
            name = group.metric or ACCURACY
            mean = "-" if group.mean is None else shown(name, group.mean)
            prefix = f"{name} " if test == "test metric" and group.mean is not None else ""
            spread = "" if group.ci95 is None else f" ± {shown(name, group.ci95)}"
            texts = [str(getattr(group, column)) for column in (*left, *states)]
            rows.append((*texts, prefix + mean + spread))
        return rows

    def __str__(self) -> str:
        rows = self.rows()
        lines = [*aligned(rows, right=[i for i, name in enumerate(rows[0]) if name not in self.heads]), ""]
        for trouble in self.troubles:
            why = f"failed: {trouble.error}" if trouble.needs is None else f"waits for {trouble.needs}, which failed"
            lines.append(f"{trouble.run}  {about(trouble.label, trouble.axes, trouble.seed)}: {why}")
        return "\n".join(lines)


def summary_of(runs: Sequence[Planned], folder: SweepFolder) -> Summary:
    """Return the states and results of a grid's runs. Reads a few small files of each."""
    states = folder.states(runs)
    groups: dict[tuple[str, str], list[Planned]] = {}
    for run in runs:
        groups.setdefault((run.label, run.axes), []).append(run)
    return Summary(
        states=_counts(states.values()),
        groups=tuple(_group(label, axes, members, states, folder) for (label, axes), members in groups.items()),
        troubles=tuple(trouble for run in runs for trouble in _troubles(run, states, folder)),
        tables=folder.tables if folder.tables.exists() else None,
    )


def _group(label: str, axes: str, members: Sequence[Planned], states: dict[str, State], folder: SweepFolder) -> Group:
    tested = [folder.test_metric(run.name) for run in members if states[run.name] is State.FINISHED]
    mean, ci95 = mean_and_ci95([value for _, value in tested]) if tested else (None, None)
    return Group(
        label=label,
        axes=axes,
        runs=len(members),
        metric=tested[0][0] if tested else None,
        mean=mean,
        ci95=ci95,
        **_counts(states[run.name] for run in members),
    )


def _counts(states: Iterable[State]) -> dict[str, int]:
    found = Counter(states)
    return {str(state): found[state] for state in State}


def _troubles(run: Planned, states: dict[str, State], folder: SweepFolder) -> Iterator[Trouble]:
    of_run: dict[str, Any] = {"run": run.name, "label": run.label, "axes": run.axes, "seed": run.config.seed}
    if states[run.name] is State.FAILED:
        yield Trouble(**of_run, error=folder.error(run.name), needs=None)
    elif states[run.name] is State.WAITING:
        failed = (name for name in run.needs if folder.state(name) is State.FAILED)
        yield from (Trouble(**of_run, error=None, needs=name) for name in islice(failed, 1))
