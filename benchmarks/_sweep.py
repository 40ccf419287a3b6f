"""What a sweep over width and density says: how much faster than dense each way is, and where it stops being so."""

from __future__ import annotations

import statistics
from itertools import groupby, pairwise
from math import exp, log
from pathlib import Path
from typing import Any

LINES = {"dense": "-", "masked": ":", "torch": "--", "topokit": "-"}  # by the first word; peers are dash-dotted
FASTER = 1.05  # times; less than this is noise


def median(result: dict[str, Any], way: str) -> float | None:
    """Milliseconds: the median of the processes' medians, or None where the way was left out."""
    return statistics.median(run[way][1] for run in result["runs"]) if way in result["runs"][0] else None


def speedup(result: dict[str, Any], way: str, to: str = "dense") -> float | None:
    """How many times faster than another way: the median of the processes' ratios."""
    if not {way, to} <= result["runs"][0].keys():
        return None
    return statistics.median(run[to][1] / run[way][1] for run in result["runs"])


def ratio_cell(ratio: float | None) -> str:
    """A cell of a table, eight characters wide."""
    return "       -" if ratio is None else f"{ratio:>8.2f}"


def panels(results: list[dict[str, Any]]) -> list[tuple[tuple[str, int], list[dict[str, Any]], list[str]]]:
    """(family, width), the results by falling density, and the ways that any of them has."""
    found = []
    for key, group in groupby(results, lambda result: (result["family"], result["width"])):
        rows = sorted(group, key=lambda result: -result["density"])
        found.append((key, rows, list(dict.fromkeys(way for row in reversed(rows) for way in row["runs"][0]))))
    return found


def crossover(rows: list[dict[str, Any]], way: str) -> float | None:
    """The density below which a way stays FASTER than dense, between two measured ones by a power law.

    The largest density it was timed at where it is faster there already; None where it is not at the smallest.
    """
    measured = [(row["density"], log(ratio / FASTER)) for row in rows if (ratio := speedup(row, way)) is not None]
    if not measured or measured[-1][1] <= 0:
        return None
    for (sparser, gain), (denser, loss) in pairwise(reversed(measured)):
        if loss <= 0:
            share = gain / (gain - loss)
            return exp((1 - share) * log(sparser) + share * log(denser))
    return measured[0][0]


def summary(results: list[dict[str, Any]], batch: int) -> str:
    """A table for each family and width: a row a way, a column a density."""
    lines = []
    for (family, width), rows, names in panels(results):
        densities = "".join(f"{row['density']:>8.3f}" for row in rows)
        lines += ["", f"{f'{family} {width}x{width}, batch {batch}':<32}{densities}  faster than dense"]
        dense = "".join(f"{median(row, 'dense'):>8.2f}" for row in rows)
        lines.append(f"{'dense, median ms':<32}{dense}")
        for way in names[1:]:
            ratios = "".join(ratio_cell(speedup(row, way)) for row in rows)
            lines.append(f"{way:<32}{ratios}  {_where(rows, way)}")
    return "\n".join(lines[1:])


def _where(rows: list[dict[str, Any]], way: str) -> str:
    at = crossover(rows, way)
    if at is None:
        return "nowhere"
    faster_at_all = [row["density"] for row in rows if way in row["runs"][0]]
    return "wherever timed" if at == max(faster_at_all) else f"below {at:.3f}"


def plot(results: list[dict[str, Any]], batch: int, path: str) -> None:
    """Step time against density, a panel for each family and width; a dot where a way gets faster than dense."""
    from matplotlib.figure import Figure

    from topokit.drawing import save_figure
    from topokit.drawing._style import INK, SHIFTS, house_style

    found = panels(results)
    names = list(dict.fromkeys(way for _, _, ways in found for way in ways))
    colours = dict(zip(names, [INK, *(SHIFTS[i % len(SHIFTS)] for i in range(len(names) - 1))], strict=True))
    columns = len({key[1] for key, _, _ in found})
    with house_style():
        figure = Figure(figsize=(2.6 * max(columns, 2), 5.6), layout="constrained")
        grid = figure.subplots(-(-len(found) // columns), columns, squeeze=False, sharex=True, sharey="col")
        for axes, ((family, width), rows, ways) in zip(grid.flat, found, strict=True):
            for way in ways:
                timed = [(row["density"], time) for row in rows if (time := median(row, way)) is not None]
                style = LINES.get(way.split()[0], "-.")
                thick = 1.6 if way == "dense" or way.startswith("topokit") else 0.9
                axes.loglog(*zip(*timed, strict=True), style, color=colours[way], linewidth=thick, label=way)
                at = crossover(rows, way) if way != "dense" else None
                if at is not None and at < timed[0][0]:
                    axes.plot(at, _dense_at(rows, at), "o", color=colours[way], markersize=3.5)
            axes.set_title(f"{family} {width}×{width}")
            axes.minorticks_off()
            axes.yaxis.set_major_formatter("{x:g}")  # powers of ten would be set as formulas
            axes.set_xticks([row["density"] for row in rows], [f"{row['density']:.2g}" for row in rows])
        for axes in grid[-1]:
            axes.set_xlabel("density")
        for axes in grid[:, 0]:
            axes.set_ylabel(f"ms a step, batch {batch}")
        handles = {
            label: line for axes in grid.flat for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=max(columns, 2) + 1, frameon=False)
        save_figure(figure, Path(path), force=True)


def _dense_at(rows: list[dict[str, Any]], density: float) -> float:
    """Dense's time there, between the two measured densities beside it."""
    times = [(row["density"], log(median(row, "dense") or 1)) for row in reversed(rows)]
    for (low, before), (high, after) in pairwise(times):
        if low <= density <= high:
            share = log(density / low) / log(high / low)
            return exp((1 - share) * before + share * after)
    return exp(times[-1][1])
