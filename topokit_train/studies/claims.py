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

MASKS = ("one-time", "iterative")
"""The arms that are trained again on the topologies that pruning left."""
RADIX = {"radix": "RadiX-Net", "radix-split": "split RadiX-Net"}
"""The arms of RadiX-Nets: a split one, with pairs of nodes without a path, if no other has the density."""
CLASSES = 10
"""Of all datasets of the study."""
EXTREME = 0.05
"""Density up to which a topology counts as extremely sparse."""
NEAR = 0.02
"""Distance from 1 − k/10 up to which an accuracy is on a plateau: MNIST's classes are not equally frequent."""


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
        effects = _compared(experiment, arms, {"radix": RADIX["radix"]}, "random", "within", "beyond")
        for found in finding(f"{case}, {experiment.replace('-', ' ')}", effects, largest, smallest):
            of_all = pd.concat(_differences(arms, "radix", "random"), axis=1, join="inner").mean(axis=1)
            if len(effects) > 1 and len(of_all):
                found = replace(found, shown=difference(f"mean of {len(effects)}", "RadiX-Net − random", of_all))
            yield found


def topology_matters(tables: Tables) -> Iterator[Finding]:
    """At some density a RadiX-Net and a random network differ by more than the margin."""
    for experiment, case, arms in _cases(tables, "same-size", "same-edges"):
        rivals = ("random", "regular")
        effects = [e for rival in rivals for e in _compared(experiment, arms, RADIX, rival, "beyond", "within")]
        for found in finding(f"{case}, {experiment.replace('-', ' ')}", effects, smallest, largest):
            yield replace(found, shown=max(effects, key=lambda one: abs(one.effect)))


def below_dense(tables: Tables) -> Iterator[Finding]:
    """At every density a RadiX-Net is worse than the dense network, by more than the margin."""
    for experiment, case, arms in _cases(tables, "same-size"):
        yield from finding(case, _compared(experiment, arms, RADIX, "dense", "below", "not below"), largest, smallest)


def larger_beats_dense(tables: Tables) -> Iterator[Finding]:
    """Some sparse network is better than the dense one with as many edges."""
    names = RADIX | {"random": "random"}
    for experiment, case, arms in _cases(tables, "same-edges"):
        yield from finding(case, _compared(experiment, arms, names, "dense", "positive", "negative"), smallest, largest)


def pruned_masks_suit(tables: Tables) -> Iterator[Finding]:
    """At every sparsity a mask of iterative pruning is as good as the dense or as a random network."""
    for experiment, case, of_case in _cases(tables, "retrained"):
        arms, places = tables.arms.get(("same-size", case), {}) | of_case, dict[str | None, list[Effect]]()
        for rival in ("dense", "random"):
            for effect in _compared(experiment, arms, {"iterative": "mask"}, rival, "not below", "below"):
                places.setdefault(effect.at, []).append(effect)
        effects = [effect for place in places.values() for effect in place]
        holds = largest([smallest([effect.p_holds for effect in place]) for place in places.values()])
        fails = smallest(
            [largest([effect.p_fails for effect in place]) for place in places.values() if len(place) == 2]
        )
        for found in finding(case, effects, largest, smallest):
            yield replace(found, shown=min(effects, key=lambda one: one.effect), p_holds=holds, p_fails=fails)


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
        yield from finding(case, effects, smallest, largest)


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
        more = pairs.paper - pairs.modern
        effect = Effect(
            at=f"{pairs.paper.sum():g} against {pairs.modern.sum():g} of {len(pairs)} runs each",
            compared="share with dead classes, paper − modern recipe",
            seeds=more.index.unique("seed").size,
            effect=float(more.mean()),
            unit="share of runs",
            **sign_test(more),
        )
        yield from finding(case, [effect], smallest, smallest)


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
        effects = [
            _share(right, "runs on a plateau", "share with as many dead classes as the plateau says"),
            *([_share(arrived, "runs with dead classes", "share that ends on a plateau")] if len(dead) else []),
        ]
        effects[0] = replace(effects[0], **sign_test(right.astype(int) * 2 - 1))
        for found in finding(on, effects, smallest, smallest):
            yield replace(found, shown=effects[0])


def _share(hits: Any, of: str, compared: str) -> Effect:
    return Effect(
        at=f"{hits.sum()} of {len(hits)} {of}",
        compared=compared,
        seeds=hits.index.nunique(),
        effect=float(hits.mean()),
        unit="share of runs",
    )


_IN_ORDER = (
    *(same, topology_matters, below_dense, larger_beats_dense),
    *(pruned_masks_suit, extreme_is_unstable, recipe_kills_classes, plateaus_are_dead_classes),
)
CLAIMS = {claim.__name__.replace("_", "-"): claim for claim in _IN_ORDER}
"""Name -> the claim's findings, in the order of the report."""
