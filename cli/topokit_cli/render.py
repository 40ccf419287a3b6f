"""What goes to stdout: one JSON object, or aligned lines for a person."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any

import click

from topokit.errors import with_flags
from topokit.reprs import aligned
from topokit_cli.paths import typed

if TYPE_CHECKING:
    from pathlib import Path

    from topokit.extraction import Extraction
    from topokit.layered import Layer, Layered


LOGGER = logging.getLogger("topokit")


class Stderr(logging.Handler):
    """Prints remarks and warnings on stderr, each as a line that says which it is."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = "note" if record.levelno == logging.INFO else record.levelname.lower()
        context = click.get_current_context(silent=True)
        text = with_flags(record.getMessage(), flags_of(context.command) if context else ())
        click.echo(typed(f"{kind}: {text}"), err=True)


def flags_of(command: click.Command) -> set[str]:
    """Return the names of the flags of a command, as Python writes them."""
    return {opt[2:].replace("-", "_") for param in command.params for opt in param.opts if opt.startswith("--")}


def as_json(value: Mapping[str, Any]) -> None:
    """Print `value` as one JSON object."""
    click.echo(typed(json.dumps(value, allow_nan=False)))


def table(rows: Sequence[tuple[str, str]]) -> None:
    """Print name and value in two aligned columns."""
    click.echo(typed("\n".join(aligned(rows))))


def notes(*nets: Layered | Extraction, file: str | None = None) -> None:
    """Print the notes of topologies on stderr, each once; and of which file, if there are several."""
    from topokit.layered import BY_CHANNEL, Layered

    found = [note for net in nets for note in net.notes]
    by_channel = [BY_CHANNEL] if any(isinstance(net, Layered) and net.by_channel for net in nets) else []
    for note in dict.fromkeys((*found, *by_channel)):
        LOGGER.info(f"{file}: {note}" if file else note)


@contextmanager
def warnings() -> Iterator[None]:
    """Print warnings as one line each, on stderr."""
    import warnings as standard

    def show(message: object, *_: object, **__: object) -> None:
        LOGGER.warning(" ".join(str(message).split()))

    with standard.catch_warnings():
        standard.showwarning = show
        yield


@contextmanager
def progress(layers: int) -> Iterator[Callable[[str, int], None] | None]:
    """A function that shows, on a terminal's stderr, what is being done and how many layers are done."""
    if not sys.stderr.isatty() or not LOGGER.isEnabledFor(logging.INFO):
        yield None
        return
    with click.progressbar(length=layers, file=sys.stderr, show_eta=False, width=24) as bar:

        def show(doing: str, done: int) -> None:
            if doing != bar.label:
                bar.label, bar.pos = doing, 0
            bar.update(max(0, done - bar.pos))  # of two sweeps of one check the one further on is shown

        yield show


LARGE = 2**30
"""Bytes of a file from which its size and the free space are printed before it is written."""


def saved(net: Layered, path: str | Path, *, to: str | None = None, force: bool = False) -> str:
    """Save a topology and return its fingerprint; on a terminal show the progress."""
    from topokit.formats import free_bytes, least_bytes, save

    size = least_bytes(net, path, to=to)
    if size >= LARGE:
        sizes = f"at least {size / 2**30:,.1f} GiB; {free_bytes(path) / 2**30:,.1f} GiB are free on its disk"
        click.echo(f"note: {path} takes {sizes}", err=True)
    with progress(len(net)) as show:
        return save(_reporting(net, show) if show else net, path, to=to, force=force)


def _reporting(net: Layered, show: Callable[[str, int], None]) -> Layered:
    """The network, which reports each layer that is read from its stream."""

    def stream() -> Iterator[Layer]:
        for done, layer in enumerate(net.stream()):
            show("writing", done)
            yield layer

    watched = copy(net)
    object.__setattr__(watched, "stream", stream)  # a frozen dataclass, as a spec is, takes no other way
    return watched


def describe(net: Layered, file: Path | str | None, fingerprint: str | None) -> dict[str, Any]:
    """The JSON object of `build` and `info`."""
    from topokit.measures.density import density
    from topokit.recipes import family_of

    share = density(net).whole
    return {
        "file": str(file) if file else None,
        "family": family_of(net.recipe),
        "widths": list(net.widths),
        "edges": net.edges,
        "layer_edges": list(net.layer_edges),
        "density": float(share),
        "sparsity": float(1 - share),
        "fingerprint": fingerprint,
    }


def summary(net: Layered, about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The lines of `build` and `extract` on a topology that was saved."""
    return [
        ("file", about["file"]),
        ("widths", widths(net)),
        ("edges", f"{net.edges:,}"),
        ("density", f"{about['density']:.6g}"),
        ("fingerprint", about["fingerprint"]),
    ]


def description(net: Layered) -> str | None:
    """The description that a topology's recipe gives, None if it has no recipe or one that no text describes."""
    from topokit.descriptions import describe
    from topokit.errors import InvalidSpecError

    try:
        return describe(net)
    except InvalidSpecError:
        return None


def widths(net: Layered) -> str:
    """The widths of the node layers, joined by dashes, without the middle of a deep network."""
    joined = [str(width) for width in net.widths]
    return "-".join(joined if len(joined) <= 12 else [*joined[:5], "...", *joined[-5:]])


def chains(nets: Sequence[Layered]) -> list[tuple[str, str]]:
    """The lines on several topologies: number and summary of each."""
    return [("chains", f"{len(nets):,}"), *((f"chain {i}", net.summary()) for i, net in enumerate(nets))]


def joint(one: Mapping[str, Any]) -> str:
    """The line on how some chains are connected."""
    name = f" {one['name']}" if "name" in one else ""
    return f"{one['kind']}{name}: {', '.join(one['from'])} -> {', '.join(one['to']) or '(output)'}"


def grid(head: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[str] = (), *, err: bool = False) -> None:
    """Print rows below their headings, each column as wide as it must be; those named in `left` begin at the left."""
    right = [column for column, name in enumerate(head) if name not in left]
    click.echo("\n".join(aligned([head, *rows], right)), err=err)
