"""What was not run: said in sentences, so that nobody takes a silence for a result."""

from __future__ import annotations

from collections import Counter

from topokit_train.studies import paper
from topokit_train.studies.charts.model import Chart
from topokit_train.studies.claims.topologies import place_name
from topokit_train.studies.findings import Judged, Verdict
from topokit_train.studies.numbers import TRAINED
from topokit_train.studies.samples import NAMES, PAPERS_CASES, samples
from topokit_train.studies.tables import Tables

EXPERIMENTS = ("one-time", "iterative", *TRAINED)
RECIPES = ("paper", "modern")


def gaps(tables: Tables, charts: dict[str, Chart], judged: list[Judged]) -> list[str]:
    """Sentences on all that is missing: runs, cases of the paper, densities, second seeds, figures and claims."""
    return [
        *_unfinished(tables),
        *_cases(tables),
        *_places(tables),
        *_single_seeds(tables),
        *(f"Not drawn: “{chart.title}”. It needs {chart.missing}." for chart in charts.values() if not chart.panels),
        *(
            f"No verdict on “{one.claim.sentence.rstrip('.')}”: {one.finding.missing}."
            for one in judged
            if one.verdict is Verdict.NOT_RUN
        ),
    ]


def _unfinished(tables: Tables) -> list[str]:
    told = []
    for state, words in (("failed", "failed"), ("running", "under way"), ("waiting", "not yet run")):
        runs = {run.run: run for run in tables.runs if run.state == state}.values()
        for label, count in sorted(Counter(run.label for run in runs).items()):
            errors = sorted({run.error for run in runs if run.label == label and run.error})
            why = (
                f": {errors[0]}" + (f" (and {len(errors) - 1} other messages)" if errors[1:] else "") if errors else ""
            )
            told.append(f"{label}: {count} run{'' if count == 1 else 's'} {words}{why}".rstrip(".") + ".")
    return told


def _cases(tables: Tables) -> list[str]:
    """The paper's networks that an experiment lacks, by recipe."""
    told = []
    for experiment in EXPERIMENTS:
        run = {(r.model, r.dataset, r.recipe) for r in tables.finished if r.experiment == experiment}
        lacking = [
            f"{NAMES[model]} on {NAMES[dataset]} ({' and '.join(recipes)} recipe)"
            for model, dataset in PAPERS_CASES
            if (recipes := [recipe for recipe in RECIPES if (model, dataset, recipe) not in run])
        ]
        if lacking:
            told.append(f"The experiment {experiment} was not run for {', '.join(lacking)}.")
    return told


def _places(tables: Tables) -> list[str]:
    """Densities and sizes of the paper, and RadiX-Nets, that a case lacks."""
    told = []
    for experiment in ("same-size", "same-edges"):
        for found in samples(tables, experiment):
            theirs = paper.points(experiment, found.case.model, found.case.dataset).get("random", [])
            here, name = found.places(), f"{found.case}, {experiment.replace('-', ' ')}"
            lacking = [place_name(experiment, x) for x, _ in theirs if x not in here]
            if lacking:
                told.append(f"{name}: the paper's {', '.join(lacking)} was not run.")
            without = [place_name(experiment, x) for x in here if x != 1 and not found.seeds("radix", x)]
            if without:
                told.append(f"{name}: no RadiX-Net at {', '.join(without)}.")
    return told


def _single_seeds(tables: Tables) -> list[str]:
    count = sum(
        len(of_arm) == 1
        for experiment in TRAINED
        for found in samples(tables, experiment)
        for of_arm in found.arms.values()
    )
    return (
        [f"{count} means are of one seed only: they have no interval, and no test was made of them."] if count else []
    )
