"""The layers that are timed, by name: LAYERS, and those of a sweep over width and density."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import NamedTuple

from topokit import RadixNet, crop, permute
from topokit.families.bernoulli import Bernoulli
from topokit.layered import Layer, Layered

# name: (radices, kron, crop, layer, whether it is a network's first)
LAYERS: dict[str, tuple] = {
    "784x300 first": ([(10, 10)], (8, 3, 1), (784, 300, 100), 0, True),
    "300x100": ([(10, 10)], (8, 3, 1), None, 1, False),
    "3200x3200 90%": ([(10, 10)], (32, 32, 1), None, 0, False),
    "4096x4096 n=64": ([(4, 16)], (64, 64, 1), None, 0, False),
    "4096x4096 n=256": ([(8, 32)], (16, 16, 1), None, 0, False),
    "4096x4096 n=4096": ([(32, 128)], None, None, 0, False),
    "4096x4096 stride 8": ([(8, 8, 4)], (1, 16, 16, 1), None, 1, False),
}
FAMILIES = ("radix-net", "bernoulli")
CLASSES = 128  # the nodes of a sweep's mixed radix system; the rest of the width is Kronecker twins
RADICES = (64, 32, 16, 8, 4, 2)


class Point(NamedTuple):
    """A layer of a sweep: square, and with the radix's density whatever the family."""

    family: str
    width: int
    radix: int

    @property
    def density(self) -> float:
        return self.radix / CLASSES

    def __str__(self) -> str:
        return f"{self.family} {self.width} {self.radix}"


def points(widths: list[int], radices: list[int]) -> list[Point]:
    """All layers of a sweep, those of one family and width after one another."""
    return [Point(*values) for values in product(FAMILIES, widths, radices)]


def _network(name: str) -> tuple[Layered, int, bool]:
    if name in LAYERS:
        radices, kron, widths, i, first = LAYERS[name]
        net = RadixNet(radices=radices, kron=kron)
        return crop(net, widths) if widths else net, i, first
    family, width, radix = name.split()
    point = Point(family, int(width), int(radix))
    if family == "bernoulli":
        density = (Fraction(point.radix, CLASSES),)
        return Bernoulli(widths=(point.width,) * 2, density=density, seed=0), 0, False
    twins = point.width // CLASSES
    return RadixNet(radices=[(point.radix, CLASSES // point.radix)], kron=(twins, twins, 1)), 0, False


def layer_of(name: str, shuffled: bool) -> tuple[Layer, bool]:
    """The layer of that name, and whether it is a network's first."""
    net, i, first = _network(name)
    return (permute(net, seed=0) if shuffled else net).layer(i), first
