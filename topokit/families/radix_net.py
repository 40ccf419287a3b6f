"""RadiX-Nets: extended mixed radix topologies with Kronecker widths."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, starmap
from math import gcd, prod
from reprlib import repr as shortened

from topokit.circulant import Circulant
from topokit.errors import InvalidSpecError
from topokit.fields import Bounds, integers, items_of
from topokit.layered import Promises
from topokit.reprs import counted
from topokit.spec import CirculantSpec, dotted, option


@dataclass(frozen=True, kw_only=True)
class RadixNet(CirculantSpec):
    """A RadiX-Net: mixed radix systems one after another, each node multiplied by a Kronecker width.

    Let N' be the product of the first system's radices. Edge layer i belongs to the radix r whose place
    value p is the product of the radices before it in the same system. It joins node u of N' to the nodes
    (u + k * p) mod N', 0 <= k < r. Node layer i then has B_i copies of the N' nodes (copy b of node u is
    number b * N' + u), and edge layer i joins all copies: W*_i = ones(B_{i-1}, B_i) (x) W_i.

    Every input reaches every output on the same number of paths.

    The authors' generalised Kronecker factor joins fewer copies. With g = gcd(B_{i-1}, B_i) and D_i diagonals,
    D_i a divisor of g, it replaces the ones by ones(B_{i-1}/g, B_i/g) (x) a circulant of g with D_i ones
    in a row, g/D_i apart. So copy a is joined to copy b if a = b modulo g/D_i. One layer with D_i = g is enough for
    path symmetry; without one it is not promised.

    Args:
        radices: the systems, each a list of radices of at least 2, least significant first; one flat list
            is one system. Every system but the last has the same product N', which the last one's
            product divides.
        kron: B, one width per node layer (radices + 1 of them), or the interior ones only (radices - 1;
            the outer two are then 1) [all 1].
        diagonals: D_i, one number per edge layer [all g].
        direction: 1 shifts by +k * p as above; -1 by -k * p, as the authors' Python code does.

    Raises:
        InvalidSpecError: which number breaks which rule.

    Proof: With every width 1, a path through one system adds up a sum of k * p, one k for each radix: the digits
    of a number. Each number below the system's product has exactly one such row of digits, so the layers of a
    system of product N' multiply to J, all ones. A system W behind it gives J W = c J, as all its columns have
    the same sum c. The Kronecker factors multiply apart, (A (x) W)(B (x) V) = A B (x) W V. Each has equal row sums
    and equal column sums, which keep a constant matrix constant, and one factor of ones makes it constant. Row and
    column sums are the degrees: out r B_i D_i/g and in r B_{i-1} D_i/g. Their product over all layers is the
    number of paths that leave an input, in equal shares for all outputs.

    Cost of a layer: O(edges) time, 8 bytes an edge.
    Source: Robinett & Kepner 2019, "RadiX-Net: Structured Sparse Matrices for Deep Neural Networks",
    arXiv:1905.00416; the generalised factor is in the authors' Julia code.

    >>> net = RadixNet(radices=[(2, 2, 2)], kron=(2, 3))
    >>> net.widths, net.layer_edges, net.promises.paths
    ((8, 16, 24, 8), (32, 96, 48), 6)
    """

    name = "radix-net"

    radices: tuple[tuple[int, ...], ...] = option("Radices of one mixed radix system; repeatable.", kind="systems")
    kron: tuple[int, ...] = option(
        "Kronecker widths: one per node layer, or one per interior node layer.",
        kind="ints",
        bounds=Bounds(1),
        default=None,
    )
    diagonals: tuple[int, ...] | None = option(
        "Number of diagonals of the Kronecker factor, one per edge layer [all].",
        kind="ints",
        bounds=Bounds(1),
        default=None,
    )
    direction: int = option("Direction of the shifts: 1, or -1 as in the authors' code.", kind="int", default=1)

    def __post_init__(self) -> None:
        systems = _systems(self.radices)
        self._set("radices", systems)
        self._set("kron", _all_widths(self.kron, sum(map(len, systems))))
        if self.diagonals is not None:
            _require_divisors(self.diagonals, self.kron)
        if self.direction not in (1, -1):
            raise InvalidSpecError(f"`direction` must be 1 or -1, not {self.direction}")

    @property
    def nodes(self) -> int:
        """N', the number of nodes a layer has before the Kronecker widths."""
        return prod(self.radices[0])

    @cached_property
    def places(self) -> tuple[tuple[int, int], ...]:
        """(radix, place value) of each edge layer."""
        return tuple((radix, prod(system[:k])) for system in self.radices for k, radix in enumerate(system))

    @cached_property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.nodes * width for width in self.kron)

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """g/D_i of each edge layer: copies whose numbers are equal modulo it are joined."""
        divisors = starmap(gcd, pairwise(self.kron))
        if self.diagonals is None:
            return (1,) * len(self.places)
        return tuple(g // d for g, d in zip(divisors, self.diagonals, strict=True))

    @cached_property
    def layer_edges(self) -> tuple[int, ...]:
        return tuple(self.nodes * width * out for width, (out, _) in zip(self.kron, self._degrees, strict=False))

    @property
    def _degrees(self) -> tuple[tuple[int, int], ...]:
        factors = zip(self.places, pairwise(self.kron), self.steps, strict=True)
        return tuple((radix * b // step, radix * a // step) for (radix, _), (a, b), step in factors)

    @property
    def promises(self) -> Promises:
        return Promises(
            connected=self.paths is not None, paths=self.paths, degrees=self._degrees, density=self.exact_density
        )

    @property
    def paths(self) -> int | None:
        """Number of paths between any input and any output: the symmetry theorem. None if it does not hold."""
        if 1 not in self.steps:
            return None
        return prod(out for out, _ in self._degrees) // self.widths[-1]

    @property
    def slug(self) -> str:
        systems = [dotted(system) for system in self.radices]
        radices = "_".join(systems if len(systems) <= 4 else [systems[0], f"x{len(systems)}", systems[-1]])
        kron = "" if set(self.kron) == {1} else f"-kron-{dotted(self.kron)}"
        diagonals = "" if self.diagonals is None else f"-diagonals-{dotted(self.diagonals)}"
        return f"{self.name}-{radices}{kron}{diagonals}{'-backward' if self.direction == -1 else ''}"

    def layer_key(self, i: int) -> tuple[int, ...]:
        return (*self.places[i], *self.kron[i : i + 2], self.steps[i])

    def circulant(self, i: int) -> Circulant:
        radix, place, a, b, step = self.layer_key(i)
        copies, direction = (a, b), self.direction
        return Circulant(nodes=self.nodes, radix=radix, place=place, direction=direction, copies=copies, step=step)


def _systems(radices: object) -> tuple[tuple[int, ...], ...]:
    given = items_of(radices)
    if not given:
        raise InvalidSpecError(f"radices must be one or more lists of integers of at least 2, not {shortened(radices)}")
    flat = not isinstance(given[0], Iterable)
    systems = tuple(integers(system, "radices", 2) for system in ([given] if flat else given))
    if not all(systems):
        raise InvalidSpecError("a mixed radix system needs at least one radix")
    for k, system in enumerate(systems, start=1):
        if sum(radix.bit_length() - 1 for radix in system) >= 32:  # found without multiplying a file's huge numbers
            raise InvalidSpecError(f"system {k} has a product of 2^32 or more; no node layer can be that wide")
    products = [prod(system) for system in systems]
    for k, product in enumerate(products[1:-1], start=2):
        if product != products[0]:
            raise InvalidSpecError(
                f"system {k} {list(systems[k - 1])} has product {product}; it must be {products[0]}, as system 1 has"
            )
    if products[0] % products[-1]:
        raise InvalidSpecError(
            f"system {len(systems)}, the last, {list(systems[-1])} has product {products[-1]}; "
            f"it must divide {products[0]}, the product of system 1"
        )
    return systems


def _all_widths(kron: tuple[int, ...] | None, radices: int) -> tuple[int, ...]:
    """Return the Kronecker width of each node layer, from all of them, the interior ones, or none."""
    if kron is None:
        return (1,) * (radices + 1)
    if len(kron) == radices - 1:
        return (1, *kron, 1)
    if len(kron) != radices + 1:
        raise InvalidSpecError(
            f"`kron` has {counted(len(kron), 'width')}; {radices} radices need {radices + 1} (one per node layer) "
            f"or {radices - 1} (the interior ones only)"
        )
    return kron


def _require_divisors(diagonals: tuple[int, ...], kron: tuple[int, ...]) -> None:
    divisors = list(starmap(gcd, pairwise(kron)))
    if len(diagonals) != len(divisors):
        raise InvalidSpecError(
            f"`diagonals` has {counted(len(diagonals), 'number')}; {counted(len(divisors), 'edge layer')} need one each"
        )
    for i, (number, divisor) in enumerate(zip(diagonals, divisors, strict=True)):
        if divisor % number:
            raise InvalidSpecError(
                f"layer {i} cannot have {number} diagonals: they must divide {divisor}, "
                f"the greatest common divisor of the Kronecker widths {kron[i]} and {kron[i + 1]}"
            )
