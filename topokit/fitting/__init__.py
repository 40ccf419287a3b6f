"""Fitting: RadiX-Nets that have wanted widths and a wanted density.

>>> from topokit.fitting import fit
>>> best = fit((784, 300, 100), 0.1)[0]
>>> best.options
{'radices': [[10, 10]], 'kron': [8, 3, 1], 'crop': [784, 300, 100]}
>>> best.min_paths, best.max_paths, best.dead_units, best.strange
(3, 3, 0, False)
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain, islice, pairwise
from math import inf, prod
from operator import itemgetter
from reprlib import repr as shortened
from typing import Any

from topokit.errors import InvalidSpecError
from topokit.fitting._plans import Plan
from topokit.fitting._search import Search, node_counts
from topokit.fitting.candidate import WEAK, Candidate, examined
from topokit.fitting.candidates import Candidates
from topokit.layered import possible_edges
from topokit.spec import integer, integers, numbers, require_widths, written

Progress = Callable[[str, int], None]

BUDGET = 2**20
"""Partial networks that a search examines, at most about; half of them without interior crops."""

TOTAL = 2**26
"""Edges that are read to count the damage of crops, in all candidates together, about."""

LEAST = 10
"""Candidates to search for at least, so that a small `limit` does not change which are the nearest."""


def fit(
    widths: Sequence[int] | str,
    density: object = None,
    *,
    tolerance: object = Fraction(1, 10),
    limit: int = 10,
    progress: Progress | None = None,
) -> Candidates:
    """Return RadiX-Nets of the wanted widths near the wanted density, the best ones first.

    A RadiX-Net has node layers of N' B_i nodes. One that covers the widths is cropped to them. A crop of the
    first and last node layers keeps every path between what is left; a crop between them does not. So those
    N' come first that divide all interior widths. The damage of a crop is counted on the edges.

    The order: (1) those that are not strange: no pair without a path, no output of in-degree 2 or less (with one
    edge layer a pair without a path is an absent edge, which counts neither here nor in (3));
    (2) those within the tolerance, and then the nearest ones; (3) the fewest pairs without a path, in tenths of
    all; (4) the fewest dead units; (5) the same number of paths between all pairs; (6) the nearest density, in
    whole percent of it; (7) uncropped; (8) the least ratio of path counts; (9) without diagonals; (10) the most
    even densities of the edge layers; (11) the nearest density; (12) the fewest nodes before the crop. If
    fewer than `limit` are neither strange nor outside the tolerance, the rest is half of the one and half of
    the other kind.

    Args:
        widths: of all node layers, from 1 to 2^32 - 1; two or more. Or a text with the sparsity, "784-300-100 at 95 %".
        density: of the whole network, above 0 and at most 1: an int, a Fraction, a string or a float.
        tolerance: how far from it a density may be, as a share of it. Candidates further away are returned
            only after those within, and say so (`outside`).
        limit: how many candidates are wanted, at most.
        progress: called with a word for the work and the number of good candidates found.

    Returns:
        At least one candidate, as a tuple that prints as a table. The same ones every time.

    Raises:
        InvalidSpecError: widths, density, tolerance or limit make no sense, or no RadiX-Net below 2^32 nodes
            covers the widths.

    Cost: seconds, whatever the widths: about BUDGET partial networks are examined, and at most 8 `limit`
    (80 for a smaller one) networks are read, TOTAL edges, about.
    Source: Robinett & Kepner 2019, arXiv:1905.00416; strange models: Kwak, West, Jananthan & Kepner 2023,
    "Testing RadiX-Nets", arXiv:2311.03609.

    >>> [(str(found.density), found.strange) for found in fit((8, 80, 80, 8), "1/4", limit=2)]
    [('1/4', False), ('1/4', False)]
    """
    if isinstance(widths, str) and density is None:
        widths, density = parse_target(widths)
    if density is None:
        raise InvalidSpecError("fit needs `density`, such as 0.05, or one text such as '784-300-100 at 95 %'")
    widths = integers(widths, "`widths`", 1)
    require_widths(widths)
    wanted = _share(density, widths)
    (allowed,) = numbers(tolerance, "tolerance", 1)
    if allowed < 0:
        raise InvalidSpecError(f"tolerance must be at least 0, not {shortened(tolerance)}")
    limit = integer(limit, "limit", 1)
    ranked = _ranked(widths, wanted, allowed, limit, progress)
    found = Candidates(_chosen(ranked, limit), ranked)
    if found.note:
        logging.getLogger("topokit").info(found.note)
    return found


def _ranked(
    widths: tuple[int, ...], wanted: Fraction, allowed: Fraction, limit: int, progress: Progress | None
) -> list[Candidate]:
    """Return all candidates that are examined, the best ones first."""
    groups: dict[tuple[bool, bool], list[Plan]] = {}
    for promise, plan in _distinct(_plans(widths, float(wanted)), float(wanted), float(min(allowed, Fraction(1000)))):
        groups.setdefault(promise[:2], []).append(plan)
    if not groups:
        raise InvalidSpecError(f"no RadiX-Net below 2^32 nodes covers the widths {shortened(list(widths))}")
    found: list[Candidate] = []
    edges = good = 0
    for plan in chain.from_iterable(islice(groups[key], 2 * max(limit, LEAST)) for key in sorted(groups)):
        if good == max(limit, LEAST) or (found and edges > TOTAL):
            break
        if progress:
            progress("counting paths", good)
        found.append(examined(plan, wanted, allowed))
        good += not (found[-1].strange or found[-1].outside or found[-1].dead_units)
        edges += plan.edges_before if found[-1].counted else 0
    return sorted(found, key=_rank)


_WIDTHS = r"\d{1,20}(?:\s*-\s*\d{1,20})+"
_TARGET = re.compile(rf"\s*({_WIDTHS})\s+at\s+(\d{{1,3}}(?:\.\d{{0,40}})?|\.\d{{1,40}})\s*%\s*", re.ASCII)


def parse_target(text: str) -> tuple[tuple[int, ...], Fraction]:
    """Return the widths and the density of a target such as "784-300-100 at 95 %", which names the sparsity.

    Raises:
        InvalidSpecError: the text has another form.

    >>> parse_target("784-300-100 at 95 %")
    ((784, 300, 100), Fraction(1, 20))
    """
    match = _TARGET.fullmatch(text)
    if not match:
        raise InvalidSpecError(
            f"a target is widths and a sparsity in percent, such as '784-300-100 at 95 %', not {shortened(text)}"
        )
    sparsity = Fraction(match[2]) / 100
    if not 0 <= sparsity < 1:
        raise InvalidSpecError(f"the sparsity must be from 0 to below 100 %, not {match[2]} %")
    return tuple(int(width) for width in match[1].split("-")), 1 - sparsity


def _share(density: object, widths: tuple[int, ...]) -> Fraction:
    (wanted,) = numbers(density, "density", 1)
    cells = possible_edges(widths)
    if not 0 < wanted <= 1:
        raise InvalidSpecError(f"density must be above 0 and at most 1, not {written(wanted)}: it is a share")
    if wanted * cells < 1:
        raise InvalidSpecError(f"a density of {float(wanted):.3g} is less than one edge of the {cells:,} possible")
    return wanted


def _plans(widths: tuple[int, ...], density: float) -> Iterator[Plan]:
    search = Search(widths, density)
    for end, counts in zip((BUDGET / 2, BUDGET), node_counts(widths, density), strict=True):
        for nodes in counts:
            if search.spent > end:
                break
            yield from search.plans(nodes)


def _distinct(plans: Iterable[Plan], wanted: float, tolerance: float) -> Iterator[tuple[Any, Plan]]:
    """Yield promise and plan, by promise; one complete network, and diagonals only for new numbers of edges."""
    seen = set()
    for promise, plan in sorted(((_promise(plan, wanted, tolerance), plan) for plan in plans), key=itemgetter(0)):
        complete = all(edges == a * b for edges, (a, b) in zip(plan.layer_edges, pairwise(plan.widths), strict=True))
        if plan.layer_edges not in seen or not (complete or set(plan.steps) != {1}):
            seen.add(plan.layer_edges)
            yield promise, plan


def _promise(plan: Plan, wanted: float, tolerance: float) -> tuple[Any, ...]:
    """Return the key by which plans are examined: that of `_rank`, as far as it is known without reading edges."""
    cells = map(prod, pairwise(plan.widths))
    shares = [edges / count for edges, count in zip(plan.layer_edges, cells, strict=True)]
    error = abs(sum(plan.layer_edges) / possible_edges(plan.widths) / wanted - 1)
    outside = error > tolerance
    parted = len(plan.steps) > 1 and 1 not in plan.steps  # pairs without a path; of one layer these are absent edges
    starved = plan.layer_edges[-1] <= WEAK * plan.widths[-1] or plan.kills or parted
    uneven = max(shares) / min(shares) if min(shares) else inf
    return (
        *(starved, outside, error if outside else 0, plan.cropped_inside, round(100 * error)),
        *(plan.covered != plan.widths, set(plan.steps) != {1}, uneven, error, sum(plan.covered)),
        *(plan.nodes, plan.radices, plan.steps),
    )


def _rank(candidate: Candidate) -> tuple[Any, ...]:
    net = candidate.net
    pairs = net.widths[0] * net.widths[-1]
    lost, dead = 0 if len(net) == 1 else candidate.disconnected_pairs, candidate.dead_units
    least, greatest = candidate.min_paths, candidate.max_paths
    options = candidate.options
    return (
        *(candidate.strange, candidate.outside, candidate.error if candidate.outside else 0),
        *(inf if lost is None else round(Fraction(10 * lost, pairs)), inf if dead is None else dead),
        *(least is None or least != greatest, round(100 * candidate.error), bool(candidate.cropped_layers)),
        *(Fraction(greatest, least) if least and greatest else inf, "diagonals" in options),
        *(candidate.unevenness, candidate.error, sum(candidate.covered), str(options)),
    )


def _chosen(ranked: list[Candidate], limit: int) -> tuple[Candidate, ...]:
    """Return the best candidates; if these are few, also as many outside the tolerance as strange ones."""
    good = [found for found in ranked if not (found.strange or found.outside)]
    outside = [found for found in ranked if found.outside and not found.strange]
    strange = [found for found in ranked if found.strange]
    room = max(0, limit - len(good))
    half = max((room + 1) // 2, room - len(strange))
    return tuple([*good, *outside[:half], *strange][:limit])
