"""Transform: the base class of networks made from other networks."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

from topokit.csr import Buffers, UInt64Array
from topokit.layered import Layered, Promises
from topokit.spec import Spec


class Transform(Spec):
    """A network made from another one, its field `of`, or from several.

    Widths, edges and promises are those of `of` unless a subclass changes them. A layer of `of` is read by its number,
    so a streamed network is never in memory as a whole.
    """

    kind = "transform"
    of: Layered

    @cached_property
    def widths(self) -> tuple[int, ...]:
        return self.of.widths

    @property
    def layer_edges(self) -> tuple[int, ...]:
        return self.of.layer_edges

    @property
    def promises(self) -> Promises:
        return self.of.promises

    @property
    def notes(self) -> tuple[str, ...]:
        return self.of.notes

    @property
    def by_channel(self) -> bool:
        return self.of.by_channel


def copied(matrix: Any, buffers: Buffers) -> tuple[UInt64Array, UInt64Array]:
    """Return the arrays of a canonical layer or scipy matrix, in arrays taken from `buffers`. O(edges)."""
    indptr, indices = buffers.take(matrix.indptr.size - 1, matrix.indices.size)
    indptr[:], indices[:] = matrix.indptr, matrix.indices
    return indptr, indices


def notes_from(net: Layered, whose: str) -> tuple[str, ...]:
    """Return the notes of `net` for a network with other layer numbers: `whose` says which layers a note means."""
    return tuple(f"{whose}: {note}" if re.search(r"\blayers? \d", note) else note for note in net.notes)
