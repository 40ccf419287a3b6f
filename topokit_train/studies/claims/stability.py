"""Claims on stability: what happens to some seeds on extremely sparse structures, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import stdev

from topokit_train.studies.findings import Claim, Effect, Finding, of_greatest
from topokit_train.studies.samples import CLASSES, MASKS, NAMES, Samples, samples
from topokit_train.studies.statistics import largest, mostly, smallest, spreads_differ
from topokit_train.studies.tables import Run, Tables

EXTREME = 0.05
"""The density from which on a structure is called extremely sparse."""
NEAR = 0.02
"""A network whose accuracy is so close to 1 − k/10 is on a plateau: the classes of MNIST are not equally frequent."""

Key = tuple[str, float, str, int]
"""(arm, density, the pruning run that left the mask, seed)."""


def _unstable(tables: Tables) -> list[Finding]:
    findings = []
    for found in samples(tables, "retrained"):
        dense = [*found.dense().values()]
        effects = [
            effect
            for (arm, x), runs in sorted(found.arms.items())
            if arm in MASKS and x <= EXTREME and _learned(runs.values())
            for effect in _spread([*found.seeds(arm, x).values()], dense, f"{arm}, {1 - x:g}")
        ]
        findings += of_greatest(str(found.case), effects, smallest, largest)
    return findings


def _learned(runs: Iterable[Run]) -> bool:
    """Whether any network tells two classes apart: else their accuracies are equal because there is nothing in them."""
    return any((run.dead_classes or 0) < CLASSES - 1 for run in runs)


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


def _extreme(found: Samples) -> dict[Key, bool]:
    """Of each run on an extremely sparse mask of which it is known: whether it ends with dead classes."""
    return {
        (arm, x, run.pruned_from, seed): run.dead_classes > 0
        for (arm, x), runs in sorted(found.arms.items())
        if arm in MASKS and x <= EXTREME
        for seed, run in runs.items()
        if run.dead_classes is not None
    }


def _kills(tables: Tables) -> list[Finding]:
    by_network: dict[tuple[str, str, int], dict[str, dict[Key, bool]]] = {}
    for found in samples(tables, "retrained"):
        case = found.case
        by_network.setdefault((case.model, case.dataset, case.epochs), {})[case.recipe] = _extreme(found)
    findings = []
    for (model, dataset, epochs), recipes in by_network.items():
        paper, modern = recipes.get("paper", {}), recipes.get("modern", {})
        pairs = sorted(paper.keys() & modern.keys())
        name = f"{NAMES.get(model, model)} on {NAMES.get(dataset, dataset)}, {epochs} epochs"
        if not pairs:
            findings += [Finding(where=name, missing="both recipes, but on no mask in common")] * bool(paper and modern)
            continue
        hits, others = (sum(dead[pair] for pair in pairs) for dead in (paper, modern))
        more, differ = _votes((pair[-1], paper[pair] - modern[pair]) for pair in pairs)
        headline = Effect(
            where=f"{hits} against {others} of {len(pairs)} runs each",
            what="share with dead classes, paper − modern recipe",
            seeds=len({seed for *_, seed in pairs}),
            value=(hits - others) / len(pairs),
            p_holds=mostly(more, differ),
            p_fails=mostly(more, differ, "less"),
            is_share=True,
        )
        findings += of_greatest(name, [headline], smallest, smallest)
    return findings


def _votes(signs: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """How many seeds are for something, and how many of them are for or against it.

    Runs of one seed begin with the same weights and see the images in the same order: they have one vote together.

    Args:
        signs: (seed, +1, 0 or -1) of each run or pair of runs.
    """
    balance: Counter[int] = Counter()
    for seed, sign in signs:
        balance[seed] += sign
    return sum(votes > 0 for votes in balance.values()), sum(votes != 0 for votes in balance.values())


def plateau(accuracy: float) -> int:
    """How many classes of ten an accuracy says are lost entirely while the others are known; 0 where it is no plateau.

    >>> plateau(0.983), plateau(0.93), plateau(0.8), plateau(0.1135)
    (0, 0, 2, 9)
    """
    lost = round(CLASSES * (1 - accuracy))
    return lost if round(abs(accuracy - (1 - lost / CLASSES)), 9) <= NEAR else 0


def _plateaus(tables: Tables) -> list[Finding]:
    by_network: dict[str, list[Run]] = {}
    for found in (found for found in samples(tables, "retrained") if found.case.model == "lenet-5"):
        runs = [run for of_arm in found.arms.values() for run in of_arm.values() if run.dead_classes is not None]
        by_network.setdefault(found.case.network, []).extend(runs)
    return [finding for network, runs in by_network.items() for finding in _told_by_plateaus(network, runs)]


def _told_by_plateaus(network: str, runs: Sequence[Run]) -> list[Finding]:
    lost = {run: plateau(run.test_accuracy or 0) for run in runs}
    on = [run for run in runs if lost[run]]
    if not on:
        return []
    right = sum(lost[run] == run.dead_classes for run in on)
    more, differ = _votes((run.seed, 1 if lost[run] == run.dead_classes else -1) for run in on)
    dead = [run for run in runs if run.dead_classes]
    headline = Effect(
        where=f"{right} of {len(on)} runs on a plateau",
        what="share with as many dead classes as the plateau says",
        seeds=len({run.seed for run in on}),
        value=right / len(on),
        p_holds=mostly(more, differ),
        p_fails=mostly(more, differ, "less"),
        is_share=True,
    )
    arrived = sum(lost[run] > 0 for run in dead)
    rest = Effect(
        where=f"{arrived} of {len(dead)} runs with dead classes",
        what="share that ends on a plateau",
        seeds=len({run.seed for run in dead}),
        value=arrived / len(dead) if dead else 0.0,
        is_share=True,
    )
    return [
        Finding(
            where=network,
            effects=(headline, rest) if dead else (headline,),
            headline=headline,
            p_holds=headline.p_holds,
            p_fails=headline.p_fails,
        )
    ]


UNSTABLE = Claim(
    sentence="Training on extremely sparse structures is unstable.",
    test=f"Spread over seeds of networks trained on masks of density {EXTREME:g} and less, against the dense one, from "
    "three seeds on; masks on which no network learns are left aside. Holds: larger for some mask (Brown-Forsythe, "
    "Holm). Fails: smaller for all. Shown: the largest standard deviation, less that of dense networks.",
    find=_unstable,
    needs=f"no two seeds of networks that learn on masks of density {EXTREME:g} or less, and of the dense one",
)
KILLS = Claim(
    sentence="It is the recipe that makes them unstable: classes die with the paper's and not with the modern one.",
    test=f"Runs on masks of density {EXTREME:g} and less that end with dead classes, in pairs of one mask, seed and "
    "number of epochs. Holds: for most seeds, with the paper's recipe more often than with the modern one (sign test: "
    "a seed has one vote, however many masks). Fails: less often.",
    find=_kills,
    needs=f"no mask of density {EXTREME:g} or less on which both recipes were run for as many epochs",
)
PLATEAUS = Claim(
    sentence="The plateaus of Figure 8 are dead classes.",
    test=f"Of the retrained runs of LeNet-5 that end within {100 * NEAR:g} pp of 1 − k/10: the share in which just k "
    "classes are dead. Holds: for most seeds, more than half (sign test: a seed has one vote, however many runs). "
    "Fails: less than half.",
    find=_plateaus,
    needs="no retrained run of LeNet-5 that ends on a plateau",
)
