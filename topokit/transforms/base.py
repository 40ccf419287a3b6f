"""Transform: what all networks made from other networks have in common."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from fractions import Fraction
from functools import cached_property
from itertools import chain, pairwise
from typing import ClassVar

from topokit.layered import Layered, possible_edges
from topokit.spec import Spec

Degrees = Sequence[tuple[int | None, int | None]]


class Transform(Spec):
    """A network made from another one, its field `of`, or from several.

    A layer of `of` is read by its number, so that a streamed network is never held in memory.
    """

    kind: ClassVar[str] = "transform"
    of: Layered | tuple[Layered, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(chain.from_iterable(net.notes for net in self._nets))

    @property
    def by_channel(self) -> bool:
        return any(net.by_channel for net in self._nets)

    @property
    def _nets(self) -> tuple[Layered, ...]:
        return self.of if isinstance(self.of, tuple) else (self.of,)

    def _origin(self, i: int) -> Hashable:
        """What settles the edges of layer i: layers of equal origin have equal edges."""
        return i

    @cached_property
    def _first(self) -> tuple[int, ...]:
        first: dict[Hashable, int] = {}
        return tuple(first.setdefault(self._origin(i), i) for i in range(len(self)))

    def same_layer(self, i: int) -> int:
        return self._first[i]


def notes_from(net: Layered, whose: str) -> tuple[str, ...]:
    """The notes of `net` for a network that numbers its layers otherwise: `whose` says which layers a note means."""
    return tuple(f"{whose}: {note}" if re.search(r"\blayers? \d", note) else note for note in net.notes)


def density_of(degrees: Degrees | None, widths: Sequence[int]) -> Fraction | None:
    """Edges over possible edges, where every layer has a known degree on one side; else None."""
    if degrees is None:
        return None
    edges = 0
    for (out_degree, in_degree), (sources, targets) in zip(degrees, pairwise(widths), strict=True):
        if out_degree is not None:
            edges += out_degree * sources
        elif in_degree is not None:
            edges += in_degree * targets
        else:
            return None
    return Fraction(edges, possible_edges(widths))
