"""Claims on stability: what happens to some seeds on extremely sparse structures, and why."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import stdev

from topokit_train.studies.findings import Claim, Effect, Finding, of_greatest
from topokit_train.studies.samples import NAMES, Samples, samples
from topokit_train.studies.statistics import more_often, mostly, smallest, spreads_differ
from topokit_train.studies.tables import Run, Tables

EXTREME = 0.05
"""The density from which on a structure is called extremely sparse."""
MASKS = ("one-time", "iterative")
CLASSES = 10
"""Of all datasets of the study."""
GOOD = 0.95
"""A network that tells the classes apart so well is on no plateau."""


def _unstable(tables: Tables) -> list[Finding]:
    findings = []
    for found in samples(tables, "retrained"):
        dense = [*found.dense().values()]
        places = [(arm, x) for arm, x in sorted(found.arms) if arm in MASKS and x <= EXTREME]
        effects = [
            effect
            for arm, x in places
            for effect in _spread([*found.seeds(arm, x).values()], dense, f"{arm}, {1 - x:g}")
        ]
        findings += of_greatest(str(found.case), effects, smallest, smallest)
    return findings


def _spread(values: Sequence[float], dense: Sequence[float], where: str) -> list[Effect]:
    if min(len(values), len(dense)) < 2:
        return []
    p, more = spreads_differ(values, dense), stdev(values) - stdev(dense)
    return [
        Effect(
            where=where,
            what="standard deviation − that of dense",
            seeds=len(values),
            value=more,
            p_holds=p if more > 0 or p is None else 1.0,
            p_fails=p if more < 0 or p is None else 1.0,
        )
    ]


def _extreme(found: Samples) -> list[Run]:
    """The runs on extremely sparse masks of which it is known whether classes are dead."""
    of_arms = (runs for (arm, x), runs in sorted(found.arms.items()) if arm in MASKS and x <= EXTREME)
    return [run for runs in of_arms for run in runs.values() if run.dead_classes is not None]


def _kills(tables: Tables) -> list[Finding]:
    by_network: dict[tuple[str, str], dict[str, list[Run]]] = {}
    for found in samples(tables, "retrained"):
        network = by_network.setdefault((found.case.model, found.case.dataset), {})
        network.setdefault(found.case.recipe, []).extend(_extreme(found))
    findings = []
    for (model, dataset), recipes in by_network.items():
        paper, modern = recipes.get("paper", []), recipes.get("modern", [])
        if paper and modern:
            hits, others = _dead(paper), _dead(modern)
            effects = tuple(
                Effect(
                    where=f"{name} recipe: {_dead(runs)} of {len(runs)} runs",
                    what="share of runs with dead classes",
                    seeds=len(runs),
                    value=_dead(runs) / len(runs),
                    is_share=True,
                )
                for name, runs in (("paper", paper), ("modern", modern))
            )
            headline = Effect(
                where=f"{hits} of {len(paper)} against {others} of {len(modern)} runs",
                what="share with dead classes, paper − modern recipe",
                seeds=len({run.seed for run in [*paper, *modern]}),
                value=hits / len(paper) - others / len(modern),
                is_share=True,
            )
            findings.append(
                Finding(
                    where=f"{NAMES.get(model, model)} on {NAMES.get(dataset, dataset)}",
                    effects=effects,
                    headline=headline,
                    p_holds=more_often(hits, len(paper), others, len(modern)),
                    p_fails=more_often(others, len(modern), hits, len(paper)),
                )
            )
    return findings


def _dead(runs: Sequence[Run]) -> int:
    return sum(1 for run in runs if run.dead_classes)


def plateau(accuracy: float) -> int:
    """How many classes of ten an accuracy could have lost entirely while it knows the others; 0 for a good network.

    >>> plateau(0.983), plateau(0.8), plateau(0.1135)
    (0, 2, 9)
    """
    return 0 if accuracy >= GOOD else round(CLASSES * (1 - accuracy))


def _plateaus(tables: Tables) -> list[Finding]:
    findings = []
    for found in (found for found in samples(tables, "retrained") if found.case.model == "lenet-5"):
        runs = [run for of_arm in found.arms.values() for run in of_arm.values() if run.dead_classes is not None]
        good = [run for run in runs if not run.dead_classes and (run.test_accuracy or 0) >= GOOD]
        told = [(plateau(run.test_accuracy or 0), run.dead_classes) for run in runs]
        told = [(lost, dead) for lost, dead in told if lost or dead]
        if not good or not told:  # a network that never does well has no plateaus
            continue
        right = sum(1 for lost, dead in told if lost == dead)
        headline = Effect(
            where=f"{right} of {len(told)} runs on a plateau or with dead classes",
            what="share with as many dead classes as their accuracy says",
            seeds=len({run.seed for run in runs}),
            value=right / len(told),
            p_holds=mostly(right, len(told)),
            p_fails=mostly(right, len(told), "less"),
            is_share=True,
        )
        findings.append(
            Finding(
                where=str(found.case),
                effects=(headline,),
                headline=headline,
                p_holds=headline.p_holds,
                p_fails=headline.p_fails,
            )
        )
    return findings


UNSTABLE = Claim(
    sentence="Training on extremely sparse structures is unstable.",
    test=f"Spread over seeds of networks trained on masks of density {EXTREME:g} and less, against the dense one. "
    "Holds: larger for some mask (Brown-Forsythe, Holm). Fails: smaller for some. Shown: the largest standard "
    "deviation, less that of dense networks.",
    find=_unstable,
    needs=f"no two seeds of networks trained on masks of density {EXTREME:g} or less and of the dense one",
)
KILLS = Claim(
    sentence="It is the recipe that makes them unstable: classes die with the paper's and not with the modern one.",
    test=f"Share of runs that end with dead classes, trained on masks of density {EXTREME:g} and less. Holds: larger "
    "with the paper's recipe (Fisher's exact test). Fails: larger with the modern one. Runs are taken as independent.",
    find=_kills,
    needs=f"no runs with both recipes on masks of density {EXTREME:g} or less",
)
PLATEAUS = Claim(
    sentence="The plateaus of Figure 8 are dead classes.",
    test="Of the retrained runs of LeNet-5 that end with dead classes or below 95 %: the share in which k "
    "classes are dead and the accuracy is nearest to 1 − k/10. Holds: more than half (exact binomial test). "
    "Fails: less than half.",
    find=_plateaus,
    needs="no retrained run of LeNet-5 that ends on a plateau, in a case where others do well",
)
