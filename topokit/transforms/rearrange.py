"""Transforms that keep every edge: concatenate, permute and reverse."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, chain, pairwise
from math import prod
from typing import Any

import numpy as np

from topokit.csr import INDEX, Buffers, UInt64Array
from topokit.errors import InvalidSpecError
from topokit.fields import integers, items_of
from topokit.layered import Layered, Promises, Source, network
from topokit.reprs import counted
from topokit.spec import MAX_LAYERS, SEED, from_cells, from_numbers_alone, generator, option, slug_of
from topokit.transforms.base import Transform, copied, notes_from


@dataclass(frozen=True, kw_only=True)
class Concatenate(Transform):
    """Networks one after another: the outputs of each are the inputs of the next.

    Args:
        of: two networks or more; the last width of each is the first width of the next.

    Raises:
        InvalidSpecError: fewer than two networks, more than 65,536 layers, or widths that do not join.

    Cost of a layer: O(edges).

    >>> from topokit.families.radix_net import RadixNet
    >>> block = RadixNet(radices=(2, 2, 2))
    >>> concatenate(block, block).promises.paths
    8
    """

    name = "concatenate"

    of: tuple[Layered, ...] = option("The networks, inputs first.", kind="nets")  # type: ignore[assignment]  # several

    def __post_init__(self) -> None:
        if not isinstance(self.of, Sequence) or len(self.of) < 2:
            raise InvalidSpecError("concatenate needs a list of at least two networks")
        nets = tuple(network(net, f"network {k} to concatenate") for k, net in enumerate(self.of))
        if any(layers > MAX_LAYERS for layers in accumulate(map(len, nets))):
            raise InvalidSpecError(
                f"concatenate: the networks have more than {counted(MAX_LAYERS, 'layer')}: join fewer"
            )
        for k, (one, two) in enumerate(pairwise(nets)):
            if one.widths[-1] != two.widths[0]:
                raise InvalidSpecError(
                    f"concatenate: network {k} ends in {counted(one.widths[-1], 'node')}, "
                    f"but network {k + 1} starts with {two.widths[0]}: they must be equal"
                )
        self._set("of", nets)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        return (self.of[0].widths[0], *chain.from_iterable(net.widths[1:] for net in self.of))

    @cached_property
    def layer_edges(self) -> tuple[int, ...]:
        return tuple(chain.from_iterable(net.layer_edges for net in self.of))

    @property
    def promises(self) -> Promises:
        old = [net.promises for net in self.of]
        paths = [promises.paths for promises in old if promises.paths is not None]
        degrees = [promises.degrees for promises in old]
        joined = None if None in degrees else tuple(chain.from_iterable(filter(None, degrees)))
        return Promises(
            connected=all(promises.connected for promises in old),
            paths=prod(paths) * prod(net.widths[0] for net in self.of[1:]) if len(paths) == len(old) else None,
            degrees=joined,
            density=None if None in [promises.density for promises in old] else self.exact_density,
        )

    @property
    def by_channel(self) -> bool:
        return any(net.by_channel for net in self.of)

    @property
    def notes(self) -> tuple[str, ...]:
        notes = (notes_from(net, f"of network {k}") for k, net in enumerate(self.of))
        return tuple(dict.fromkeys(chain.from_iterable(notes)))  # each note on all edges once

    @property
    def slug(self) -> str:
        more = f"-and-{len(self.of) - 2}-more" if len(self.of) > 2 else ""
        return f"{slug_of(self.of[0])}-then-{slug_of(self.of[1])}{more}"

    @cached_property
    def _ends(self) -> list[int]:
        """The number of layers up to the end of each network."""
        return list(accumulate(map(len, self.of)))

    @cached_property
    def _equal(self) -> list[int]:
        """The first network known, at no cost, to equal each network."""
        first: dict[object, int] = {}
        known = (json.dumps(net.recipe) if from_numbers_alone(net) else id(net) for net in self.of)
        return [first.setdefault(key, k) for k, key in enumerate(known)]

    def _place(self, i: int) -> tuple[int, int]:
        """Return the number of the network that layer i belongs to, and its number there."""
        k = bisect_right(self._ends, i)
        return k, i - self._ends[k] + len(self.of[k])

    def layer_key(self, i: int) -> Hashable:
        k, j = self._place(i)
        return self._equal[k], self.of[k].same_layer(j)

    def arrays(self, i: int, buffers: Buffers) -> tuple[UInt64Array, UInt64Array]:
        k, j = self._place(i)
        return copied(self.of[k].layer(j), buffers)


def concatenate(*nets: Source) -> Concatenate:
    """Join networks one after another; see `Concatenate`."""
    return Concatenate(of=nets)  # type: ignore[arg-type]  # opened there


@dataclass(frozen=True, kw_only=True)
class Permute(Transform):
    """The same graph with its nodes renumbered: node u of node layer i becomes node permutations[i][u].

    Args:
        of: the network to relabel.
        seed: draws a permutation for each node layer, uniformly.
        permutations: one for each node layer instead; None for a layer that keeps its numbers.
        keep_ends: with a seed, the first and the last node layer stay as they are.

    Raises:
        InvalidSpecError: both or neither of `seed` and `permutations`, or a list that is not a permutation.

    Its recipe holds the seed, or the permutations in full: large networks are better permuted by a seed.
    Cost of a layer: O(edges log edges).

    >>> from topokit.families.radix_net import RadixNet
    >>> permute(RadixNet(radices=(2, 2)), permutations=[None, (3, 2, 1, 0), None]).layer(0).to_dense().astype(int)
    array([[0, 0, 1, 1],
           [0, 1, 1, 0],
           [1, 1, 0, 0],
           [1, 0, 0, 1]])
    """

    name = "permute"

    of: Layered = option("The network to relabel.", kind="net")
    seed: int | None = option("Seed of the permutations.", kind="int", bounds=SEED, default=None)
    permutations: tuple[tuple[int, ...] | None, ...] | None = option(
        "New number of each node, for each node layer.", kind="permutations", default=None
    )
    keep_ends: bool = option("Leave the first and the last node layer as they are.", kind="flag", default=False)

    def __post_init__(self) -> None:
        if (self.seed is None) == (self.permutations is None):
            raise InvalidSpecError("permute needs either `seed` or `permutations`, and not both")
        if self.permutations is not None:
            if self.keep_ends:
                raise InvalidSpecError("`keep_ends` needs `seed`; give None as the permutation of a layer to keep")
            self._set("permutations", _permutations(self.permutations, self.of.widths))

    @property
    def slug(self) -> str:
        how = "" if self.seed is None else f"-seed-{self.seed}{'-inside' if self.keep_ends else ''}"
        return f"{slug_of(self.of)}-permuted{how}"

    def arrays(self, i: int, buffers: Buffers) -> tuple[UInt64Array, UInt64Array]:
        layer = self.of.layer(i)
        cells = self._relabelled(i, layer.sources.view(INDEX)) * layer.shape[1] + self._relabelled(i + 1, layer.indices)
        cells.sort()
        return from_cells(cells, layer.shape, buffers)

    def _relabelled(self, i: int, nodes: UInt64Array) -> UInt64Array:
        """Return the new numbers of some nodes of node layer i."""
        if self.permutations is not None:
            permutation = self.permutations[i]
            return nodes if permutation is None else np.array(permutation, INDEX)[nodes.view(np.intp)]
        if self.keep_ends and i in (0, len(self)):
            return nodes
        assert self.seed is not None
        return generator(self.seed, i).permutation(self.widths[i]).view(INDEX)[nodes.view(np.intp)]


@dataclass(frozen=True, kw_only=True)
class Reverse(Transform):
    """The network read backwards: its outputs are the inputs, and every edge is turned round.

    Args:
        of: the network to reverse.

    Cost of a layer: O(edges).

    >>> from topokit.families.radix_net import RadixNet
    >>> reverse(RadixNet(radices=(2, 3), kron=(1, 5, 2))).widths
    (12, 30, 6)
    """

    name = "reverse"

    of: Layered = option("The network to reverse.", kind="net")

    @cached_property
    def widths(self) -> tuple[int, ...]:
        return self.of.widths[::-1]

    @property
    def layer_edges(self) -> tuple[int, ...]:
        return self.of.layer_edges[::-1]

    @property
    def promises(self) -> Promises:
        old = self.of.promises
        return replace(old, degrees=old.degrees and tuple((into, out) for out, into in reversed(old.degrees)))

    @property
    def notes(self) -> tuple[str, ...]:
        return notes_from(self.of, "before it was reversed")

    @property
    def slug(self) -> str:
        return f"{slug_of(self.of)}-reversed"

    def layer_key(self, i: int) -> Hashable:
        return self.of.same_layer(len(self) - 1 - i)

    def arrays(self, i: int, buffers: Buffers) -> tuple[UInt64Array, UInt64Array]:
        return copied(self.of.layer(len(self) - 1 - i).to_scipy().tocsc(), buffers)


def _permutations(given: Any, widths: tuple[int, ...]) -> tuple[tuple[int, ...] | None, ...]:
    items = items_of(given)
    if items is None or len(items) != len(widths):
        raise InvalidSpecError(f"`permutations` must be a list of {len(widths)}, one (or None) for each node layer")
    permutations = tuple(None if one is None else integers(one, f"permutation {i}", 0) for i, one in enumerate(items))
    for i, (one, width) in enumerate(zip(permutations, widths, strict=True)):
        if one is not None and sorted(one) != list(range(width)):
            raise InvalidSpecError(f"permutation {i} must hold each of the numbers 0 to {width - 1} once")
    return permutations


def permute(
    net: Source,
    seed: int | None = None,
    *,
    permutations: Sequence[Sequence[int] | None] | None = None,
    keep_ends: bool = False,
) -> Permute:
    """Return `net` with its nodes renumbered, by a seed or by given permutations; see `Permute`."""
    return Permute(of=net, seed=seed, permutations=permutations, keep_ends=keep_ends)  # type: ignore[arg-type]  # made tuples there


def reverse(net: Source) -> Reverse:
    """Return `net` read backwards; see `Reverse`."""
    return Reverse(of=net)  # type: ignore[arg-type]  # opened there
