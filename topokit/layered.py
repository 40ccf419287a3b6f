"""Layered: the interface of every topology, which is read one edge layer at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from io import BytesIO
from itertools import pairwise
from operator import index
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from topokit.csr import require_memory
from topokit.errors import InvalidSpecError
from topokit.layer import Layer
from topokit.reprs import counted, html_table

__all__ = ["BY_CHANNEL", "Layer", "Layered", "Promises", "Recipe", "Source", "network", "possible_edges"]

Recipe = Mapping[str, Any]

Source: TypeAlias = "Layered | str | PathLike[str]"
"""A topology, a description, or the path of a file, as functions accept it; see `topokit.topology`."""

BY_CHANNEL = "convolutions are read by channel: an edge is a filter of which at least one weight is kept"
"""The message to the user about a topology that is `by_channel`."""

_ROWS = 10  # largest number of layers in the table of a notebook
_DRAWN = 2000  # largest number of edges, and of nodes, of a network that is drawn in a notebook


def possible_edges(widths: Sequence[int]) -> int:
    """Return the number of possible edges between neighbouring node layers of these widths."""
    return sum(a * b for a, b in pairwise(widths))


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """The properties of a topology that are guaranteed by construction; checks of the same names prove them.

    Args:
        connected: every input reaches every output.
        paths: number of paths between every input and every output.
        degrees: (out-degree, in-degree) of each edge layer; None for a degree that varies among nodes.
        density: number of edges / number of possible edges, of the whole network.
    """

    connected: bool = False
    paths: int | None = None
    degrees: tuple[tuple[int | None, int | None], ...] | None = None
    density: Fraction | None = None

    @property
    def names(self) -> frozenset[str]:
        """The checks that must hold."""
        promised = {
            "soundness": True,
            "connectivity": self.connected,
            "path-symmetry": self.paths is not None,
            "regularity": self.degrees is not None,
            "density": self.density is not None,
        }
        return frozenset(name for name, given in promised.items() if given)


class Layered(ABC):
    """A layered directed graph that is read one edge layer at a time.

    There is no other way to read it. Therefore checks, measures and writers work for networks that are larger than
    memory, unless they need all layers at once.
    """

    @property
    @abstractmethod
    def widths(self) -> tuple[int, ...]:
        """Number of nodes in each node layer, inputs first."""

    @property
    @abstractmethod
    def layer_edges(self) -> tuple[int, ...]:
        """Number of edges in each edge layer."""

    @abstractmethod
    def layer(self, i: int) -> Layer:
        """Return edge layer i, from node layer i to node layer i + 1; 0 <= i < len(self)."""

    @abstractmethod
    def stream(self, *, reverse: bool = False) -> Iterator[Layer]:
        """Yield the edge layers in order, or from last to first if `reverse`.

        Each layer is valid only until the next one is requested, which may overwrite its memory.
        """

    @property
    def recipe(self) -> Recipe | None:
        """The family or transform and its options, as JSON-able values; None if unknown."""
        return None

    @property
    def promises(self) -> Promises:
        """The properties guaranteed by construction."""
        return Promises()

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages for users, one sentence each."""
        return ()

    @property
    def by_channel(self) -> bool:
        """Whether its layers are convolutions read by channel, so that an edge is a whole filter."""
        return False

    @property
    def names(self) -> tuple[str, ...]:
        """The name of the parameter that each edge layer fills; () if unknown."""
        return ()

    def same_layer(self, i: int) -> int:
        """Return the first layer that is known to have the same edges as layer i, or i. Reads no edges."""
        return i

    def __len__(self) -> int:
        """Number of edge layers."""
        return len(self.widths) - 1

    def __iter__(self) -> Iterator[Layer]:
        """Yield the edge layers, which stay valid. For networks larger than memory, use `stream`."""
        return map(self.layer, range(len(self)))

    @overload
    def __getitem__(self, i: int) -> Layer: ...
    @overload
    def __getitem__(self, i: slice) -> tuple[Layer, ...]: ...
    def __getitem__(self, i: int | slice) -> Layer | tuple[Layer, ...]:
        """Return edge layer i, or the layers of a slice, which stay valid. A negative i counts from the end."""
        which = range(len(self))[i]
        return self.layer(which) if isinstance(which, int) else tuple(map(self.layer, which))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All edge layers. Layers that are known to be equal are the same object. Cost: 8 bytes per edge and per node.

        Raises:
            TooLargeError: not enough free memory.
        """
        first = [self.same_layer(i) for i in range(len(self))]
        edges, widths = self.layer_edges, self.widths
        require_memory(sum(8 * (edges[i] + widths[i] + 1) for i in set(first)), "this network")
        made = {i: self.layer(i) for i in sorted(set(first))}
        return tuple(made[i] for i in first)

    def edge_index(self, i: int) -> NDArray[np.int64]:
        """Return the sources and targets of edge layer i, shape (2, edges), as in PyTorch Geometric. O(edges)."""
        layer = self[index(i)]
        return np.stack([layer.sources, layer.targets])

    @property
    def edges(self) -> int:
        """Number of edges."""
        return sum(self.layer_edges)

    @property
    def possible_edges(self) -> int:
        """Number of edges if every layer were complete."""
        return possible_edges(self.widths)

    @property
    def density(self) -> float:
        """Number of edges / number of possible edges. `topokit.density` gives exact fractions, also for each layer."""
        return self.edges / self.possible_edges

    @property
    def sparsity(self) -> float:
        """Fraction of the possible edges that do not exist, 1 - density."""
        return 1 - self.density

    def masks(self, names: Sequence[str] | None = None) -> dict[str, NDArray[np.bool_]]:
        """Return a bool array (out, in) for each edge layer; see `topokit.masks`."""
        import topokit

        return topokit.masks(self, names)

    def save(self, path: str | Path, *, to: str | None = None, force: bool = False) -> str:
        """Write the network to a file and return its fingerprint; see `topokit.save`."""
        import topokit

        return topokit.save(self, path, to=to, force=force)

    def __eq__(self, other: object) -> bool:
        """Whether both have the same widths, `by_channel` and edges.

        Names and notes are ignored. Topologies with equal recipes are equal, at cost O(1): the recipe of a file is
        trusted here, and checked by `topokit.verify`. Otherwise the cost is O(edges), with one layer of each in memory.
        """
        if self is other:
            return True
        if not isinstance(other, Layered):
            return NotImplemented
        if (self.widths, self.by_channel) != (other.widths, other.by_channel):
            return False
        if self.recipe is not None and self.recipe == other.recipe:
            return True
        return self.layer_edges == other.layer_edges and all(
            one is two or (np.array_equal(one.indptr, two.indptr) and np.array_equal(one.indices, two.indices))
            for one, two in zip(self.stream(), other.stream(), strict=True)
        )

    def __hash__(self) -> int:
        """Hash the widths and `layer_edges`. Cost: that of `layer_edges`."""
        return hash((self.widths, self.layer_edges))

    def summary(self) -> str:
        """Return one line with widths, edges and density."""
        widths = self.widths
        shown = (
            "-".join(map(str, widths))
            if len(widths) <= 8
            else f"{widths[0]}-...-{widths[-1]} ({len(widths)} node layers)"
        )
        return f"{shown}, {counted(self.edges, 'edge')}, density {self.density:.4g}"

    def _repr_html_(self) -> str:
        """Return a table of the first layers and, for a small network, a picture. Cost: that of `layer_edges`."""
        rows = [
            (str(i), f"{a:,}", f"{b:,}", f"{edges:,}", f"{edges / (a * b):.4g}")
            for i, ((a, b), edges) in enumerate(zip(pairwise(self.widths), self.layer_edges, strict=True))
        ]
        heads, title = ("layer", "sources", "targets", "edges", "density"), f"{type(self).__name__}: {self.summary()}"
        return html_table([heads, *rows], title, _ROWS, "layer") + self._picture()

    def _picture(self) -> str:
        """A small picture as HTML; empty for a large network, or without matplotlib."""
        if max(self.edges, sum(self.widths)) > _DRAWN or find_spec("matplotlib") is None:
            return ""
        import topokit

        image = BytesIO()
        topokit.draw(self).savefig(image, format="png", dpi=60)
        return f'<img src="data:image/png;base64,{b64encode(image.getvalue()).decode()}">'


def network(value: object, what: str = "`net`") -> Layered:
    """Return the topology of an argument: a topology, a description or the path of a file.

    Raises:
        InvalidSpecError: it is none of these, or there is no such file, family or option.
        TopokitError: the file cannot be read.
    """
    if not isinstance(value, Layered):
        value = getattr(value, "net", getattr(value, "topology", value))  # of a candidate of `fit`; of an extraction
    if isinstance(value, str | PathLike):
        import topokit

        return topokit.topology(value)
    if not isinstance(value, Layered):
        raise InvalidSpecError(
            f"{what} must be a topology, not {type(value).__name__}: give a topology, its description or its file; "
            "from_dense, from_scipy and from_masks make one of matrices"
        )
    return value
