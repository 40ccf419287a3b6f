"""The claims of the report: CLAIMS maps each to a function from the tables to its findings, one for each case.

Its sentence, its test in words and what must be run for it are in report.toml.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from topokit_train.studies.findings import NAN, Effect, Finding, difference, finding, largest, sign_test, smallest
from topokit_train.studies.tables import Arms, Tables
from topokit_train.studies.words import EXTREME, NEAR

MASKS = ("one-time", "iterative")
"""The arms that are trained again on the topologies that pruning left."""
RADIX = {"radix": "RadiX-Net", "radix-split": "split RadiX-Net"}
"""The arms of RadiX-Nets: a split one, with pairs of nodes without a path, if no other has the density."""
CLASSES = 10
"""Of all datasets of the study."""


def place_name(experiment: str, x: float) -> str:
    """Return the name of a density, or of a size relative to the dense network.

    >>> place_name("same-size", 0.1), place_name("same-edges", 10), place_name("retrained", 0.1)
    ('density 0.1', '×10', 'sparsity 0.9')
    """
    names = {"same-edges": f"×{x:g}", "retrained": f"sparsity {1 - x:g}"}
    return names.get(experiment, f"density {x:g}")


def _differences(arms: Arms, one: str, other: str) -> dict[float, Any]:
    """Return x -> differences by seed of two arms; the largest x first, without the dense network."""
    found = {
        x: (arms[arm, x] - rival).dropna()
        for arm, x in reversed(arms)
        if arm == one and x != 1
        if (rival := arms.get((other, 1.0 if other == "dense" else x))) is not None
    }
    return {x: differences for x, differences in found.items() if len(differences)}


def _compared(experiment: str, arms: Arms, names: dict[str, str], other: str, holds: str, fails: str) -> list[Effect]:
    """Compare the named arms with another one at every place where they share seeds."""
    return [
        difference(place_name(experiment, x), f"{name} − {other}", differences, holds, fails)
        for arm, name in names.items()
        for x, differences in _differences(arms, arm, other).items()
    ]


def _cases(tables: Tables, *experiments: str) -> Iterator[tuple[str, str, Arms]]:
    """Yield (experiment, case, arms)."""
    for (experiment, case), arms in tables.arms.items():
        if experiment in experiments:
            yield experiment, case, arms


def same(tables: Tables) -> Iterator[Finding]:
    """RadiX-Nets and random networks differ by less than the margin. Shows the mean over all densities."""
    for experiment, case, arms in _cases(tables, "same-size", "same-edges"):
        effects, shown = _compared(experiment, arms, {"radix": RADIX["radix"]}, "random", "within", "beyond"), None
        if len(effects) > 1:
            of_all = pd.concat(_differences(arms, "radix", "random"), axis=1, join="inner").mean(axis=1)
            shown = difference(f"mean of {len(effects)}", "RadiX-Net − random", of_all) if len(of_all) else None
        yield finding(f"{case}, {experiment.replace('-', ' ')}", effects, largest, smallest, shown)


def topology_matters(tables: Tables) -> Iterator[Finding]:
    """At some density a RadiX-Net and a random network differ by more than the margin."""
    for experiment, case, arms in _cases(tables, "same-size", "same-edges"):
        rivals = ("random", "regular")
        effects = [e for rival in rivals for e in _compared(experiment, arms, RADIX, rival, "beyond", "within")]
        shown = max(effects, key=lambda one: abs(one.effect), default=None)
        yield finding(f"{case}, {experiment.replace('-', ' ')}", effects, smallest, largest, shown)


def below_dense(tables: Tables) -> Iterator[Finding]:
    """At every density a RadiX-Net is worse than the dense network, by more than the margin."""
    for experiment, case, arms in _cases(tables, "same-size"):
        effects = _compared(experiment, arms, RADIX, "dense", "below", "not below")
        yield finding(case, effects, largest, smallest)


def larger_beats_dense(tables: Tables) -> Iterator[Finding]:
    """Some sparse network is better than the dense one with as many edges."""
    for experiment, case, arms in _cases(tables, "same-edges"):
        effects = _compared(experiment, arms, RADIX | {"random": "random"}, "dense", "positive", "negative")
        yield finding(case, effects, smallest, largest)


def pruned_masks_suit(tables: Tables) -> Iterator[Finding]:
    """At every sparsity a mask of iterative pruning is as good as the dense or as a random network."""
    for experiment, case, of_case in _cases(tables, "retrained"):
        arms, places = tables.arms.get(("same-size", case), {}) | of_case, dict[str | None, list[Effect]]()
        for rival in ("dense", "random"):
            for effect in _compared(experiment, arms, {"iterative": "mask"}, rival, "not below", "below"):
                places.setdefault(effect.at, []).append(effect)
        effects, both = [effect for place in places.values() for effect in place], [p for p in places.values() if p[1:]]
        yield Finding(
            case=case,
            effects=effects,
            shown=min(effects, key=lambda one: one.effect, default=None),
            p_holds=largest([smallest([effect.p_holds for effect in place]) for place in places.values()]),
            p_fails=smallest([largest([effect.p_fails for effect in place]) for place in both]),
        )


def _extreme(tables: Tables) -> Any:
    """Return the finished runs on extremely sparse masks."""
    runs = tables.finished
    return runs[(runs.experiment == "retrained") & runs.arm.isin(MASKS) & (runs.x <= EXTREME)]


def extreme_is_unstable(tables: Tables) -> Iterator[Finding]:
    """Accuracies on extremely sparse masks have a larger spread over seeds than the dense network's."""
    for case, runs in _extreme(tables).groupby("case", sort=False):
        arms = tables.arms["retrained", case]
        least_dead = runs.assign(dead_classes=runs.dead_classes.fillna(0)).groupby(["arm", "x"]).dead_classes.min()
        effects = [
            _spread(arms[arm], arms["dense", 1.0], f"{arm[0]}, {1 - arm[1]:g}")
            for arm in least_dead.index[least_dead < CLASSES - 1]
            if ("dense", 1.0) in arms and min(len(arms[arm]), len(arms["dense", 1.0])) > 1
        ]
        yield finding(case, effects, smallest, largest)


def _spread(values: Any, dense: Any, at: str) -> Effect:
    """Compare two spreads by Brown and Forsythe's test around medians.

    Two values are equally far from their median, so that they would seem to have no spread: three are needed.
    """
    more, p = values.std() - dense.std(), NAN
    if min(len(values), len(dense)) > 2:
        with np.errstate(divide="ignore", invalid="ignore"):  # NaN if all values are equal
            p = float(stats.levene(values, dense, center="median").pvalue)
    holds, fails = (p if np.isnan(p) or sign * more > 0 else 1.0 for sign in (1, -1))
    what = "standard deviation − that of dense"
    return Effect(at=at, compared=what, seeds=len(values), effect=float(more), p_holds=holds, p_fails=fails)


def recipe_kills_classes(tables: Tables) -> Iterator[Finding]:
    """On extremely sparse masks more seeds lose classes with the paper's recipe than with the modern one."""
    known = _extreme(tables).dropna(subset="dead_classes")
    known = known.assign(dies=(known.dead_classes > 0).astype(int))
    for (on, epochs), runs in known.groupby(["on", "epochs"], sort=False):
        case = f"{on}, {epochs} epochs"
        if not {"paper", "modern"} <= {*runs.recipe}:
            continue
        pairs = runs.pivot(index=["arm", "x", "pruned_from", "seed"], columns="recipe", values="dies")
        pairs = pairs.dropna(subset=["paper", "modern"])
        if not len(pairs):
            yield Finding(case=case, missing="both recipes, but on no mask in common")
            continue
        more, at = pairs.paper - pairs.modern, f"{pairs.paper.sum():g} against {pairs.modern.sum():g}"
        effect = _share(more, f"{at} of {len(pairs)} runs each", "share with dead classes, paper − modern recipe")
        yield finding(case, [replace(effect, **sign_test(more))], smallest, smallest)


def plateau(accuracies: Any) -> Any:
    """Return the number of lost classes that an accuracy suggests if the ten others are known; 0 off the plateaus.

    >>> plateau(pd.Series([0.983, 0.93, 0.8, 0.1135])).tolist()
    [0, 0, 2, 9]
    """
    lost = (CLASSES * (1 - accuracies)).round()
    distance = (accuracies - (1 - lost / CLASSES)).abs().round(9)
    return lost.where(distance <= NEAR, 0).astype(int)


def plateaus_are_dead_classes(tables: Tables) -> Iterator[Finding]:
    """On a plateau at 1 − k/10 just k classes are dead."""
    retrained = tables.finished[(tables.finished.experiment == "retrained") & (tables.finished.model == "lenet-5")]
    for on, runs in retrained.dropna(subset="dead_classes").groupby("on", sort=False):
        runs = runs.set_index("seed").assign(lost=plateau(runs.test_accuracy).values)
        ended, dead = runs[runs.lost > 0], runs[runs.dead_classes > 0]
        if not len(ended):
            continue
        right, arrived = ended.lost == ended.dead_classes, dead.lost > 0
        at, what = (
            f"{right.sum()} of {len(right)} runs on a plateau",
            "share with as many dead classes as the plateau says",
        )
        shown = replace(_share(right, at, what), **sign_test(right.astype(int) * 2 - 1))
        at = f"{arrived.sum()} of {len(arrived)} runs with dead classes"
        others = [_share(arrived, at, "share that ends on a plateau")] if len(arrived) else []
        yield finding(on, [shown, *others], smallest, smallest, shown)


def _share(hits: Any, at: str, compared: str) -> Effect:
    """Return the mean of a Series, indexed by seed, as an effect."""
    seeds, share = hits.index.unique("seed").size, float(hits.mean())
    return Effect(at=at, compared=compared, seeds=seeds, effect=share, unit="share of runs")


_IN_ORDER = (
    *(same, topology_matters, below_dense, larger_beats_dense),
    *(pruned_masks_suit, extreme_is_unstable, recipe_kills_classes, plateaus_are_dead_classes),
)
CLAIMS = {claim.__name__.replace("_", "-"): claim for claim in _IN_ORDER}
"""Name -> the claim's findings, in the order of the report."""
