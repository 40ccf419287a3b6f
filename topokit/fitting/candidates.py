"""Candidates: what `fit` proposes, as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from topokit.fitting.candidate import Candidate
from topokit.reprs import Tabular, aligned, in_words

HEADINGS = (
    *("", "radices", "density", "off", "layer densities", "cropped", "paths"),
    *("pairs lost", "dead units", "in-degree", "remarks"),
)

_LONGEST = 24  # characters of the radices; the command below the table has all


class Candidates(tuple[Candidate, ...], Tabular):
    """RadiX-Nets for wanted widths and a wanted density, the best first. Prints as a table, in a notebook too.

    Attributes:
        note: a remark on all networks that were examined, "" if one of them is sound and within the tolerance.
    """

    note: str

    def __new__(cls, found: Iterable[Candidate], examined: Sequence[Candidate] = ()) -> Candidates:
        made = super().__new__(cls, found)
        made.note = _note(examined)
        return made

    @property
    def title(self) -> str:
        return self.note

    def records(self) -> list[dict[str, Any]]:
        return [{**candidate.to_json(), "build": candidate.command} for candidate in self]

    def rows(self) -> Sequence[Sequence[str]]:
        return [HEADINGS, *((str(number), *_cells(candidate)) for number, candidate in enumerate(self, start=1))]

    def __str__(self) -> str:
        table = aligned(self.rows(), right=range(len(HEADINGS) - 1))
        return "\n".join([*table, "", *(f"{one.command}  # {number}" for number, one in enumerate(self, start=1))])


def _note(examined: Sequence[Candidate]) -> str:
    """A remark if nothing that was examined is within the tolerance, or only strange models are."""
    sound = [candidate for candidate in examined if not candidate.strange]
    if not examined or not all(candidate.outside for candidate in sound):
        return ""
    only_strange = not all(candidate.outside for candidate in examined)
    nearest = [
        f"{float(min(group, key=lambda candidate: candidate.error).density):.4g}{remark}"
        for group, remark in (([] if only_strange else examined, ""), (sound, " without strange models"))
        if group
    ]
    what = "only strange models are" if only_strange else "nothing is"
    density = f"; the nearest density is {', '.join(nearest)}" if nearest else ""
    return f"{what} within the tolerance{density}"


def _cells(candidate: Candidate) -> tuple[str, ...]:
    layers = candidate.layer_densities
    ends = {0, len(layers)}
    cropped = {*candidate.cropped_layers}
    remarks = ["outside the tolerance"] * candidate.outside + [f"STRANGE: {reason}" for reason in candidate.reasons]
    radices = "|".join(",".join(map(str, system)) for system in candidate.options["radices"])
    return (
        radices if len(radices) <= _LONGEST else f"{radices[:_LONGEST]}...",
        f"{float(candidate.density):.4g}",
        _off(float(candidate.density / candidate.wanted - 1)),
        _span([f"{float(density):.3g}" for density in (min(layers), max(layers))]),
        "no" if not cropped else "ends" if cropped <= ends else "inside",
        _span([_known(None if n is None else in_words(n)) for n in (candidate.min_paths, candidate.max_paths)]),
        _known(candidate.disconnected_pairs),
        _known(candidate.dead_units),
        _span([_known(degree) for degree, _ in candidate.output_in_degrees or [(None, 0)]]),
        "; ".join(remarks),
    )


def _off(share: float) -> str:
    """How far a density is off, in tenths of a percent; the first digit of what is less than that, but not 0."""
    return f"{share:+.1%}" if round(share, 3) or not share else f"{100 * share:+.1g}%"


def _known(value: object) -> str:
    return "?" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _span(values: list[str]) -> str:
    return values[0] if values[0] == values[-1] else f"{values[0]}..{values[-1]}"
