"""Claims on RadiX-Nets and random networks: whether it matters which of them a network is wired by."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from topokit_train.studies.findings import Claim, Effect, Finding, effect_of
from topokit_train.studies.samples import Samples, samples
from topokit_train.studies.statistics import Difference, difference, largest, paired, smallest
from topokit_train.studies.tables import Tables

WAYS = ("same-size", "same-edges")


def place_name(experiment: str, x: float) -> str:
    """Such as "density 0.1", or "x10" in networks of the same number of edges."""
    return f"×{x:g}" if experiment == "same-edges" else f"density {x:g}"


def radix_name(found: Samples, x: float) -> str:
    """What stands for a RadiX-Net at a place."""
    return "split RadiX-Net" if found.stands_for("radix", x) == "radix-split" else "RadiX-Net"


def sparse_places(found: Samples) -> list[float]:
    """Where a network is not dense, ascending in sparsity."""
    return sorted((x for x in found.places("radix", "radix-split", "random", "regular") if x != 1), reverse=True)


def compared(found: Samples, one: str, other: str) -> list[tuple[float, Difference]]:
    """(place, paired difference) wherever both arms share seeds."""
    pairs = ((x, paired(found.seeds(one, x), found.seeds(other, x))) for x in sparse_places(found))
    return [(x, pair) for x, pair in pairs if pair]


def pooled(found: Samples, one: str, other: str, places: Sequence[float]) -> Difference | None:
    """The mean difference over all places, of each seed that was run at all of them."""
    by_seed = [
        {seed: ones[seed] - others[seed] for seed in ones.keys() & others.keys()}
        for ones, others in ((found.seeds(one, x), found.seeds(other, x)) for x in places)
    ]
    seeds = sorted(set.intersection(*(set(of_place) for of_place in by_seed))) if by_seed else []
    return difference([fmean(of_place[seed] for of_place in by_seed) for seed in seeds]) if seeds else None


def _same(tables: Tables) -> list[Finding]:
    findings = []
    for way in WAYS:
        for found in samples(tables, way):
            pairs = [(x, pair) for x, pair in compared(found, "radix", "random") if ("radix", x) in found.arms]
            if not pairs:
                continue
            effects = tuple(
                effect_of(place_name(way, x), "RadiX-Net − random", pair, "within", "beyond") for x, pair in pairs
            )
            whole = pooled(found, "radix", "random", [x for x, _ in pairs])
            name = f"mean of {len(pairs)}" if pairs[1:] else effects[0].where
            findings.append(
                Finding(
                    where=f"{found.case}, {way.replace('-', ' ')}",
                    effects=effects,
                    headline=effect_of(name, "RadiX-Net − random", whole, None, None) if whole else None,
                    p_holds=largest([effect.p_holds for effect in effects]),
                    p_fails=smallest([effect.p_fails for effect in effects]),
                )
            )
    return findings


def _matters(tables: Tables) -> list[Finding]:
    findings = []
    for way in WAYS:
        for found in samples(tables, way):
            effects = [
                effect_of(place_name(way, x), f"{radix_name(found, x)} − {other}", pair, "beyond", "within")
                for other in ("random", "regular")
                for x, pair in compared(found, "radix", other)
            ]
            if effects:
                findings.append(
                    Finding(
                        where=f"{found.case}, {way.replace('-', ' ')}",
                        effects=tuple(effects),
                        headline=farthest(effects),
                        p_holds=smallest([effect.p_holds for effect in effects]),
                        p_fails=largest([effect.p_fails for effect in effects]),
                    )
                )
    return findings


def farthest(effects: Sequence[Effect]) -> Effect:
    """The largest difference, whatever its sign."""
    return max(effects, key=lambda effect: abs(effect.value))


SAME = Claim(
    sentence="Random and explicit RadiX-Nets behave the same.",
    test="Paired differences RadiX-Net − random, split RadiX-Nets aside. Holds: at every density (or size) they are "
    "within the margin (two one-sided t-tests each, all of them). Fails: at one they are outside of it (t-tests, "
    "Holm). Shown: their mean over all densities.",
    find=_same,
    needs="no seed of RadiX-Nets and random networks of one density in the same case",
)
MATTERS = Claim(
    sentence="There is a density at which the topology matters.",
    test="Paired differences of RadiX-Nets to random and to regular networks. Holds: one of them is outside of the "
    "margin (t-tests, Holm). Fails: all are within it (two one-sided t-tests each). Shown: the largest difference.",
    find=_matters,
    needs="no seed of RadiX-Nets and random or regular networks of one density in the same case",
)
