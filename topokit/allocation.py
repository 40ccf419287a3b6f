"""Division of one density among the layers of a network. A new rule is a function and a line in ALLOCATIONS."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import fsum, prod
from reprlib import repr as shortened

from topokit._registry import Registry
from topokit.errors import InvalidSpecError
from topokit.spec import integers, numbers, written

ALLOCATIONS = Registry(
    "allocation",
    {
        "uniform": "topokit.allocation:uniform",
        "erk": "topokit.allocation:erk",
        "igq": "topokit.allocation:igq",
    },
)

Shapes = Sequence[tuple[int, ...]]


def allocate(shapes: Sequence[Sequence[int]], density: object, how: str) -> tuple[Fraction, ...]:
    """Return the density of each layer, so that the whole network has exactly the density given.

    Nothing is rounded here: the sum of each layer's density times its number of weights is `density` times the
    number of all weights, as exact fractions. The caller rounds each layer's edges to a whole number.

    Args:
        shapes: each layer's weights, (out, in) or (out, in, height, width); not those of
            weights that stay dense, and of biases.
        density: share of all weights that are kept, from 0 to 1: a number or a string such as ".05".
        how: a name in ALLOCATIONS. "uniform": the same for every layer. "erk" and "igq": see `erk` and `igq`.

    Returns:
        One density from 0 to 1 for each layer, in the order of the shapes.

    Raises:
        InvalidSpecError: no shape, a shape of fewer than two numbers, of one below 1 or of 2**63 weights or
            more, a density that is not from 0 to 1, or no such allocation.

    Cost: O(layers**2) for erk, O(layers) else.

    >>> [f"{float(share):.4f}" for share in allocate([(300, 784), (100, 300), (10, 100)], 0.05, "erk")]
    ['0.0385', '0.1113', '0.9185']
    """
    rule = ALLOCATIONS[str(how)]
    if not isinstance(shapes, Sequence) or not len(shapes):
        raise InvalidSpecError(f"shapes must be a list of layers' shapes such as (300, 784), not {shortened(shapes)}")
    checked = [integers(shape, "shapes", 1) for shape in shapes]
    for shape in checked:
        if len(shape) < 2 or prod(shape) >= 2**63:
            raise InvalidSpecError(
                f"a layer's shape must be (out, in) or (out, in, height, width), of less than 2^63 weights, "
                f"not {shortened(shape)}"
            )
    (share,) = numbers(density, "density", 1)
    require_shares([share])
    allocated: tuple[Fraction, ...] = rule(checked, share)
    return allocated


def require_shares(shares: Sequence[Fraction], what: str = "density") -> None:
    """Refuse a density, or another share, that is not from 0 to 1.

    Raises:
        InvalidSpecError: names the first such share.
    """
    for share in shares:
        if not 0 <= share <= 1:
            raise InvalidSpecError(f"{what} must be from 0 to 1, not {written(share)}")


def uniform(shapes: Shapes, density: Fraction) -> tuple[Fraction, ...]:
    """Give every layer the density of the whole network."""
    return (density,) * len(shapes)


def erk(shapes: Shapes, density: Fraction) -> tuple[Fraction, ...]:
    """Divide as Erdős-Rényi-Kernel: a density is epsilon * sum(shape) / prod(shape), so small layers are denser.

    Layers that would have a density above 1 are dense, and epsilon is solved again for the others.

    Source: Evci, Gale, Menick, Castro & Elsen 2020, "Rigging the Lottery: Making All Tickets Winners",
    arXiv:1911.11134; for two dimensions, Mocanu et al. 2018, arXiv:1707.04780.
    """
    sizes = list(map(prod, shapes))
    wanted = density * sum(sizes)
    sparse = set(range(len(shapes)))
    while True:
        dense = sum(size for layer, size in enumerate(sizes) if layer not in sparse)
        epsilon = (wanted - dense) / (sum(sum(shapes[layer]) for layer in sparse) or 1)
        above = {layer for layer in sparse if epsilon * sum(shapes[layer]) > sizes[layer]}
        if not above:
            break
        sparse -= above  # epsilon only grows by this, so no layer that is dense would be sparse again
    shares = (epsilon * sum(shape) / size for shape, size in zip(shapes, sizes, strict=True))
    return tuple(share if layer in sparse else Fraction(1) for layer, share in enumerate(shares))


def igq(shapes: Shapes, density: Fraction) -> tuple[Fraction, ...]:
    """Divide by ideal gas quotas: a layer of n weights has the density 1 / (force * n + 1), which is never above 1.

    The layers are cylinders of gas with lengths n, all pressed by the same force, which bisection finds to the last
    bit of a float. A surplus, some 1e-16 of the weights, is taken from every layer in proportion to its weights; a
    deficit is added in proportion to its absent weights.

    Source: Vysogorets & Kempe 2021, "Connectivity Matters: Neural Network Pruning Through the Lens of Effective
    Sparsity", arXiv:2107.02306.
    """
    sizes = list(map(prod, shapes))
    wanted = density * sum(sizes)
    if not wanted:
        return (density,) * len(sizes)
    low, high = 0.0, float(min(len(sizes) / wanted, Fraction(10**300)))
    # Only +, *, / and exact sums, whose results are the same on every machine: a recipe must mean the same edges.
    while low < (force := (low + high) / 2) < high:
        kept = fsum(size / (force * size + 1) for size in sizes)
        low, high = (force, high) if kept > wanted else (low, force)
    shares = [Fraction(1 / (high * size + 1)) for size in sizes]
    total = sum(share * size for share, size in zip(shares, sizes, strict=True))
    if total >= wanted:
        return tuple(share * wanted / total for share in shares)
    filled = (wanted - total) / (sum(sizes) - total)
    return tuple(share + (1 - share) * filled for share in shares)
