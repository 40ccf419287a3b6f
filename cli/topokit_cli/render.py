"""What goes to stdout: one JSON object, or aligned lines for a person."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pathlib import Path

    from topokit.layered import Layered


def as_json(value: Mapping[str, Any]) -> None:
    """Print `value` as one JSON object."""
    click.echo(json.dumps(value, allow_nan=False))


def table(rows: Iterable[tuple[str, str]]) -> None:
    """Print name and value in two aligned columns."""
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:<{width}}  {value}")


def notes(net: Layered) -> None:
    """Tell the user, on stderr, what the topology's maker wants said."""
    for note in net.notes:
        click.echo(f"note: {note}", err=True)


@contextmanager
def warnings() -> Iterator[None]:
    """Print warnings as one line each, on stderr."""
    import warnings as standard

    def show(message: object, *_: object, **__: object) -> None:
        click.echo(f"warning: {' '.join(str(message).split())}", err=True)

    with standard.catch_warnings():
        standard.showwarning = show
        yield


@contextmanager
def progress(layers: int) -> Iterator[Callable[[str, int], None] | None]:
    """A function that shows, on a terminal's stderr, what is being done and how many layers are done."""
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=layers, file=sys.stderr, show_eta=False, width=24) as bar:

        def show(doing: str, done: int) -> None:
            if doing != bar.label:
                bar.label, bar.pos = doing, 0
            bar.update(max(0, done - bar.pos))  # of two sweeps of one check the one further on is shown

        yield show


def describe(net: Layered, file: Path | None, fingerprint: str | None) -> dict[str, Any]:
    """The JSON object of `build` and `info`."""
    from topokit.measures.density import density

    share = density(net).whole
    return {
        "file": str(file) if file else None,
        "family": family_of(net),
        "widths": list(net.widths),
        "edges": net.edges,
        "layer_edges": list(net.layer_edges),
        "density": float(share),
        "sparsity": float(1 - share),
        "fingerprint": fingerprint,
    }


def family_of(net: Layered) -> str | None:
    """The family at the root of a topology's recipe, None where nobody knows."""
    recipe = net.recipe
    while isinstance(recipe, Mapping):
        if "family" in recipe:
            return str(recipe["family"])
        options = recipe.get("options")
        recipe = options.get("of") if isinstance(options, Mapping) else None
    return None


def widths(net: Layered) -> str:
    """Node layers' widths, joined by dashes; the middle of a deep network is left out."""
    joined = [str(width) for width in net.widths]
    return "-".join(joined if len(joined) <= 12 else [*joined[:5], "...", *joined[-5:]])


def layers(net: Layered, structure: Sequence[str]) -> None:
    """Print a line per edge layer: shape, edges, density, smallest and largest degrees, structure."""
    from topokit.measures.degrees import degrees as measure

    click.echo("layer  sources  targets       edges   density  out-degree   in-degree  structure")
    for i, ((sources, targets), edges, summary, found) in enumerate(
        zip(pairwise(net.widths), net.layer_edges, measure(net), structure, strict=True)
    ):
        out_degree, in_degree = (_span(side) for side in (summary.outgoing_range, summary.incoming_range))
        share = edges / (sources * targets)
        size = f"{sources:>7}  {targets:>7}  {edges:>10,}  {share:>8.4g}"
        click.echo(f"{i:>5}  {size}  {out_degree:>10}  {in_degree:>10}  {found}")


def _span(ends: tuple[int, int]) -> str:
    low, high = ends
    return str(low) if low == high else f"{low}..{high}"
