"""Plan: the numbers of one RadiX-Net with its crop, and its edges counted from them alone.

A search looks at many more networks than it can build, so the numbers that decide between them are computed here in
closed form. `candidate` counts them again on the network itself if it is small enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, starmap
from math import gcd, lcm

from topokit.csr import MAX_WIDTH
from topokit.families.radix_net import RadixNet
from topokit.layered import Layered
from topokit.transforms import crop


@dataclass(frozen=True)
class Plan:
    """A RadiX-Net that covers the wanted widths, described and not built.

    Args:
        widths: the wanted widths.
        nodes: N'.
        radices: one for each edge layer; a system ends when their product is N'.
        steps: g/D_i of each edge layer: copies whose numbers are equal modulo it are joined.
    """

    widths: tuple[int, ...]
    nodes: int
    radices: tuple[int, ...]
    steps: tuple[int, ...]

    @cached_property
    def kron(self) -> tuple[int, ...]:
        """As few copies of each node layer as cover it; at both ends, a multiple of the step there."""
        copies = [-(-width // self.nodes) for width in self.widths]
        for end in (0, -1):
            copies[end] += -copies[end] % self.steps[end]
        return tuple(copies)

    @property
    def covered(self) -> tuple[int, ...]:
        """The widths before the crop."""
        return tuple(self.nodes * width for width in self.kron)

    @property
    def edges_before(self) -> int:
        """Edges before the crop."""
        layers = zip(self.radices, self.steps, pairwise(self.kron), strict=True)
        return self.nodes * sum(radix * a * b // step for radix, step, (a, b) in layers)

    @property
    def possible(self) -> bool:
        """Whether every node layer is narrow enough, and each step divides the copies on either side."""
        steps = zip(self.steps, pairwise(self.kron), strict=True)
        return max(self.covered) < MAX_WIDTH and all(gcd(a, b) % step == 0 for step, (a, b) in steps)

    @property
    def cropped_inside(self) -> bool:
        """Whether a node layer between the first and the last is cropped, which breaks path symmetry."""
        return self.covered[1:-1] != self.widths[1:-1]

    @cached_property
    def places(self) -> tuple[int, ...]:
        """The place value of each edge layer."""
        places, place = [], 1
        for radix in self.radices:
            places.append(place)
            place = place * radix if place * radix < self.nodes else 1
        return tuple(places)

    @cached_property
    def layer_edges(self) -> tuple[int, ...]:
        """Edges of each edge layer after the crop. O(edge layers)."""
        layers = zip(self.radices, self.places, self.steps, pairwise(self.widths), strict=True)
        return tuple(kept_edges(self.nodes, radix, place, step, shape) for radix, place, step, shape in layers)

    @property
    def kills(self) -> bool:
        """Whether a crop leaves units dead next to an end, or not one whole copy of each kind inside.

        The neighbours of a node in one copy are `place` apart, and the first and the last as far as remains to N'.
        Nodes die if the kept part of the copies they are joined to fits into the larger of these gaps.
        Inside, copies are of one kind if both their layers join them to the same ones.
        """
        layers = [*zip(self.radices, self.places, self.steps, strict=True)] * 2
        gaps = [max(place, self.nodes - (radix - 1) * place) + (step - 1) * self.nodes for radix, place, step in layers]
        ends = self.widths[0] < gaps[0] or self.widths[-1] < gaps[-1]
        kinds = starmap(lcm, pairwise(self.steps))
        return ends or any(width < self.nodes * kind for width, kind in zip(self.widths[1:-1], kinds, strict=True))

    def net(self) -> Layered:
        """Return the network: a RadixNet, or a Crop of one."""
        systems: list[list[int]] = []
        for radix, place in zip(self.radices, self.places, strict=True):
            if place == 1:
                systems.append([])
            systems[-1].append(radix)
        diagonals = None
        if set(self.steps) != {1}:
            diagonals = [gcd(a, b) // s for (a, b), s in zip(pairwise(self.kron), self.steps, strict=True)]
        net = RadixNet(radices=systems, kron=self.kron, diagonals=diagonals)  # type: ignore[arg-type]
        return net if net.widths == self.widths else crop(net, self.widths)


def kept_edges(nodes: int, radix: int, place: int, step: int, shape: tuple[int, int]) -> int:
    """Return how many edges of a RadiX-Net's edge layer join the first `shape[0]` to the first `shape[1]` nodes. O(1).

    Whole copies of the N' nodes keep all edges between them; only the last copy on each side may be cut.
    """
    (full_a, rest_a), (full_b, rest_b) = (divmod(width, nodes) for width in shape)
    joined = step * (full_a // step) * (full_b // step)
    joined += (full_a // step) * (full_b % step) + (full_b // step) * (full_a % step)
    joined += min(full_a % step, full_b % step)
    edges = radix * (joined * nodes + rest_a * _alike(full_a, full_b, step) + rest_b * _alike(full_b, full_a, step))
    if (full_a - full_b) % step == 0:
        edges += _ramp(rest_b, place, radix, rest_a)  # to targets that do not wrap, and to those that do
        edges += _ramp((radix - 1) * place + rest_a - nodes, place, radix, rest_b)
    return edges


def _alike(copy: int, copies: int, step: int) -> int:
    """Return how many of the first `copies` numbers are equal to `copy` modulo `step`."""
    return max(0, -((copy % step - copies) // step))


def _ramp(top: int, fall: int, count: int, ceiling: int) -> int:
    """Return the sum over 0 <= k < count of top - k * fall, each cut to between 0 and `ceiling`."""
    level = min(max((top - ceiling) // fall + 1, 0), count)
    positive = min(max(-(-top // fall), level), count)
    falling = positive - level
    return level * ceiling + falling * top - fall * falling * (level + positive - 1) // 2
