"""The transform that joins networks: concatenate."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain, pairwise
from math import prod

from topokit.csr import Buffers, UInt64Array
from topokit.errors import InvalidSpecError
from topokit.layered import Layered, Promises, Source
from topokit.reprs import counted
from topokit.spec import MAX_LAYERS, from_numbers_alone, network, option, slug_of
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
