"""Candidate: a RadiX-Net that was fitted to widths and a density, and the damage of its crop."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.errors import TooLargeError
from topokit.families.radix_net import RadixNet
from topokit.fitting._plans import Plan
from topokit.layered import Layered
from topokit.measures.density import density_of
from topokit.measures.effective import effective
from topokit.measures.paths import path_range
from topokit.measures.reach import reach
from topokit.reprs import counted, decimal, short_repr
from topokit.transforms.resize import Crop

COUNTED = 2**22
"""A network of more edges before its crop is not read; only what the symmetry theorem proves is then known."""

PRODUCTS = 2e8
"""Products of digits, of about two nanoseconds, that may be spent on counting one network's paths."""

WEAK = 2
"""An output with at most so many edges makes a model strange (arXiv:2311.03609)."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A RadiX-Net of the wanted widths, and which of its properties survive its crop.

    A value is None if it was not counted, the network being too large, and the symmetry theorem does not prove it.

    Args:
        net: the network: a RadixNet, or a Crop of one.
        wanted: the wanted density.
        outside: whether its density is further from `wanted` than the tolerance.
        density: of the whole network.
        layer_densities: of each edge layer.
        counted: whether the numbers below were counted on the network's edges.
        min_paths: the least number of paths between an input and an output.
        max_paths: the greatest.
        disconnected_pairs: pairs of an input and an output without a path.
        dead_units: nodes that no input reaches, or that reach no output, in all node layers together.
        output_in_degrees: (in-degree, number of outputs), by in-degree.
        reasons: why it is strange: pairs without a path, outputs with an in-degree of 2 or less. In a network of one
            edge layer a pair without a path is an absent edge, and no reason.
    """

    net: Layered
    wanted: Fraction
    outside: bool
    density: Fraction
    layer_densities: tuple[Fraction, ...]
    counted: bool
    min_paths: int | None = None
    max_paths: int | None = None
    disconnected_pairs: int | None = None
    dead_units: int | None = None
    output_in_degrees: tuple[tuple[int, int], ...] | None = None
    reasons: tuple[str, ...]

    __repr__ = short_repr

    @property
    def strange(self) -> bool:
        """Whether training may starve, for one of the `reasons`."""
        return bool(self.reasons)

    @property
    def error(self) -> Fraction:
        """The relative error of the density."""
        return abs(self.density / self.wanted - 1)

    @property
    def unevenness(self) -> Fraction:
        """The greatest density of an edge layer over the least; with 2^-64 as the least if a layer has no edge."""
        return max(self.layer_densities) / (min(self.layer_densities) or Fraction(1, 2**64))

    @property
    def cropped_layers(self) -> tuple[int, ...]:
        """The node layers that are cropped."""
        return tuple(i for i, (old, new) in enumerate(zip(self.covered, self.net.widths, strict=True)) if old != new)

    @property
    def covered(self) -> tuple[int, ...]:
        """The widths before the crop."""
        return self._radix_net.widths

    @property
    def options(self) -> dict[str, Any]:
        """The options of its description: radices, kron, diagonals, crop; as lists."""
        net = self._radix_net
        given: dict[str, Any] = {"radices": [list(system) for system in net.radices]}
        if set(net.kron) != {1}:
            given["kron"] = list(net.kron)
        if net.diagonals is not None:
            given["diagonals"] = list(net.diagonals)
        if isinstance(self.net, Crop):
            given["crop"] = list(self.net.widths)
        return given

    @property
    def command(self) -> str:
        """The command that builds it, ready to be pasted."""
        options = self.options
        given = [*(("radices", system) for system in options.pop("radices")), *options.items()]
        return " ".join(["topokit build", *(f"--{name} {','.join(map(str, numbers))}" for name, numbers in given)])

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary that `json.dumps` takes; numbers of paths as decimal strings."""
        return {
            "options": self.options,
            "density": float(self.density),
            "layer_densities": [float(density) for density in self.layer_densities],
            "outside": self.outside,
            "cropped": bool(self.cropped_layers),
            "cropped_layers": list(self.cropped_layers),
            "counted": self.counted,
            "min_paths": None if self.min_paths is None else decimal(self.min_paths),
            "max_paths": None if self.max_paths is None else decimal(self.max_paths),
            "disconnected_pairs": self.disconnected_pairs,
            "dead_units": self.dead_units,
            "output_in_degrees": self.output_in_degrees and {str(degree): n for degree, n in self.output_in_degrees},
            "strange": self.strange,
            "reasons": list(self.reasons),
        }

    @property
    def _radix_net(self) -> RadixNet:
        net = self.net.of if isinstance(self.net, Crop) else self.net
        assert isinstance(net, RadixNet)
        return net


def examined(plan: Plan, wanted: Fraction, tolerance: Fraction) -> Candidate:
    """Return the candidate of a plan, counted on its edges if it has no more than COUNTED.

    Cost: that of `reach` and `path_range`.
    """
    net = plan.net()
    found = density_of(plan.layer_edges, plan.widths)
    known = _counted(net) if plan.edges_before <= COUNTED else _proved(plan, net)
    return Candidate(
        net=net,
        wanted=wanted,
        outside=abs(found.whole / wanted - 1) > tolerance,
        density=found.whole,
        layer_densities=found.layers,
        counted=plan.edges_before <= COUNTED,
        **known,
    )


def _counted(net: Layered) -> dict[str, Any]:
    """Count what the crop destroyed, on the edges."""
    found, degrees = reach(net), net.layer(len(net) - 1).in_degrees
    pair = None if len(net) == 1 else found.disconnected_pair  # one layer lacks the pairs without an edge
    known = {
        "disconnected_pairs": found.disconnected_pairs,
        "dead_units": sum(nodes.size for nodes in effective(net).dead),
        "output_in_degrees": tuple(zip(*(part.tolist() for part in np.unique_counts(degrees)), strict=True)),
        "reasons": _reasons(found.disconnected_pairs, pair, degrees),
    }
    with suppress(TooLargeError):
        paths = path_range(net, budget=PRODUCTS)
        known |= {"min_paths": paths.min, "max_paths": paths.max}
    return known


def _reasons(missing: int, pair: tuple[int, int] | None, incoming: NDArray[np.int64]) -> tuple[str, ...]:
    reasons = []
    if pair:
        reasons.append(f"no path from input {pair[0]} to output {pair[1]}, one of {missing:,} such pairs")
    weak = np.flatnonzero(incoming <= WEAK)
    if weak.size:
        first = int(incoming[weak[0]])
        one_of = f", one of {weak.size:,} with {WEAK} or fewer" if weak.size > 1 else ""
        reasons.append(f"output {weak[0]} has {first} incoming edge{'' if first == 1 else 's'}{one_of}")
    return tuple(reasons)


def _proved(plan: Plan, net: Layered) -> dict[str, Any]:
    """Return what the symmetry theorem proves of a network that is cropped at its ends at most."""
    base = net.of if isinstance(net, Crop) else net
    paths = None if plan.cropped_inside else base.promises.paths
    if paths is None and len(net) == 1:
        return _known_of_one_layer(plan)
    if paths is None:
        return {"reasons": (_not_counted(plan),)}
    degree = plan.widths[0] if len(net) == 1 else plan.radices[-1] * plan.kron[-2] // plan.steps[-1]
    return {
        "min_paths": paths,
        "max_paths": paths,
        "disconnected_pairs": 0,
        "dead_units": None if plan.kills else 0,
        "output_in_degrees": ((degree, plan.widths[-1]),),
        "reasons": _reasons(0, None, np.full(1, degree)),
    }


def _known_of_one_layer(plan: Plan) -> dict[str, Any]:
    """Return what follows from the numbers of a network of one edge layer, whose paths are its edges.

    The sources of a target repeat every `nodes * steps` nodes, `radices` of them each time.
    """
    (sources, targets), period = plan.widths, plan.nodes * plan.steps[0]
    lost = sources * targets - plan.layer_edges[0]
    least = plan.radices[0] * (sources // period)
    known: dict[str, Any] = {
        "min_paths": int(not lost),
        "max_paths": 1,
        "disconnected_pairs": lost,
        "dead_units": None if plan.kills else 0,
    }
    if sources % period == 0:
        known["output_in_degrees"] = ((least, targets),)
        return {**known, "reasons": _reasons(0, None, np.full(1, least))}
    return {**known, "reasons": () if least > WEAK else (_not_counted(plan),)}


def _not_counted(plan: Plan) -> str:
    edges = counted(plan.edges_before, "edge")
    return f"the damage of its crop is not counted: {edges} before it are too many"
