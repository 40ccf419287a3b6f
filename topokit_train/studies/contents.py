"""Everything that a report says: its tables of numbers, and the values that its two templates lay out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from topokit_train.studies import words
from topokit_train.studies.charts import CHARTS, means, papers_points, table
from topokit_train.studies.claims import CLAIMS, RADIX, place_name
from topokit_train.studies.findings import NOT_RUN, Finding, judge
from topokit_train.studies.tables import CASE, EXPERIMENTS, NETWORKS, STATES, TRAINED, Tables, network

_COMPARED = ["claim", "case", "at", "compared", "seeds", "effect", "half_width", "unit"]
_HOLM = ["p_holds_holm", "p_fails_holm", "verdict"]


def contents(tables: Tables) -> dict[str, Any]:
    """Return everything that the report of some tables says; `numbers` are its tables, `panels` those of each chart."""
    panels = {name: chart(tables) for name, chart in CHARTS.items()}
    claims, effects = judge({name: findings(name, tables) for name in CLAIMS})
    of_arms = _means(tables)
    alone = (of_arms.seeds == 1).sum()
    single = f"{alone} means are of one seed only: they have no interval, and no test was made of them."
    drawn = {name: panels[name] for name in panels if panels[name]}
    return {
        "title": f"{tables.study.get('study', 'study').replace('-', ' ').capitalize()} "
        "of sparse neural network topologies",
        "texts": words.TEXTS,
        "introduction": _introduction(tables),
        "facts": _facts(tables),
        "claims": {name: list(rows.itertuples()) for name, rows in claims.groupby("claim", sort=False)},
        "summaries": {name: _summary(rows) for name, rows in claims.groupby("claim", sort=False)},
        "panels": drawn,
        "missing": [*_unfinished(tables), *_cases(tables), *_places(tables), *[single] * bool(alone)],
        "means": of_arms,
        "effects": effects,
        "numbers": {
            "claims": claims[[*_COMPARED, "p_holds", "p_fails", *_HOLM, "verdict_alone", "missing"]],
            "effects": effects[[*_COMPARED, "p_no_difference", *_HOLM]],
            "means": of_arms.drop(columns="case"),
            **{f"figure-{name.removeprefix('figure-')}": table(panels) for name, panels in drawn.items()},
        },
    }


def findings(claim: str, tables: Tables) -> list[Finding]:
    """Return the findings of a claim; one that says what must be run, if nothing was."""
    found = [one for one in CLAIMS[claim](tables) if one.effects or one.missing]
    return found or [Finding(missing=words.TEXTS["claims"][claim]["needs"])]


def _introduction(tables: Tables) -> str:
    runs = tables.finished.drop_duplicates("run")
    if not len(runs):
        return "No run has finished: there is nothing to report yet."
    seeds, held_out = runs.seed.nunique(), sorted({*runs.validation.dropna()} - {0})
    text = f"{len(runs):,} runs have finished: {', '.join(sorted({*runs.on}))}; {seeds} seed{'s' * (seeds > 1)}."
    if held_out:
        images = " or ".join(f"{images:,.0f}" for images in held_out)
        text += f" {images} training images were held out for validation: choices by accuracy were made on these."
    return text


def _facts(tables: Tables) -> dict[str, str]:
    """Return where, when and by what the runs were done; some may come from earlier tables."""
    parts = [*tables.study.get("earlier", ()), tables.study]
    seconds = [float(part["seconds"]) for part in parts if part.get("seconds") is not None]
    days = [part[key] for part in parts for key in ("started", "ended") if part.get(key)]
    states = Counter(tables.runs.drop_duplicates("run").state)
    machine, versions = (
        dict.fromkeys(", ".join(f"{name} {value}" for name, value in part.get(key, {}).items()) for part in parts)
        for key in ("machine", "versions")
    )
    facts = {
        "Budget": tables.study.get("budget"),
        "Runs": ", ".join(f"{states[state]} {state}" for state in STATES if states[state]) or "none",
        "Training time": seconds and f"{timedelta(seconds=round(sum(seconds)))} (h:mm:ss)",
        "Machine": "; ".join(machine),
        "Versions": "; ".join(versions),
        "From, to": days and f"{min(days)} to {max(days)}",
    }
    return {name: str(value) for name, value in facts.items() if value}


def _summary(rows: Any) -> dict[str, Any]:
    """Return how often a claim has which verdict, and its least and greatest effect."""
    counts = rows.verdict[rows.verdict != NOT_RUN].value_counts()
    shown = [f"{verdict} in {counts[verdict]}" for verdict in ("holds", "fails", "undecided") if verdict in counts]
    verdicts = f"{', '.join(shown)} of {len(rows)} cases" if shown and len(rows) > 1 else rows.verdict.iloc[0]
    ordered = list(rows.dropna(subset="effect").sort_values("effect").itertuples())
    return {"verdicts": verdicts, "extremes": list(dict.fromkeys(map(words.effect, ordered[:1] + ordered[-1:])))}


def _means(tables: Tables) -> Any:
    """Return the mean test accuracy of each arm."""
    runs = tables.finished[tables.finished.experiment.isin(TRAINED)]
    by = ["experiment", "case", *CASE, "arm", "x"]
    found = means(runs, by, "test_accuracy")
    dead = runs.dead_classes.gt(0).where(runs.dead_classes.notna()).astype(float)
    found["runs_with_dead_classes"] = dead.groupby([runs[name] for name in by], sort=False).sum(min_count=1).to_numpy()
    names = {"x": "density_or_times", "n": "seeds", "y": "mean", "half": "half_width"}
    found = found.rename(columns=names | {"deviation": "standard_deviation"})
    last = ["standard_deviation", "least", "most", "runs_with_dead_classes"]
    return found[[*by[:-1], *names.values(), *last]]


def _unfinished(tables: Tables) -> Iterator[str]:
    runs = tables.runs.drop_duplicates("run")
    for state, what in (("failed", "failed"), ("running", "under way"), ("waiting", "not yet run")):
        for label, of_label in runs[runs.state == state].groupby("label"):
            errors = sorted({*of_label.error} - {""})
            more = f" (and {len(errors) - 1} other messages)" if len(errors) > 1 else ""
            why = f": {errors[0].rstrip('.')}{more}" if errors else ""
            yield f"{label}: {len(of_label)} run{'s' * (len(of_label) > 1)} {what}{why}."


def _cases(tables: Tables) -> Iterator[str]:
    """Yield the paper's networks and the recipes that an experiment lacks."""
    for experiment in EXPERIMENTS:
        runs = tables.finished[tables.finished.experiment == experiment]
        run = set(zip(runs.model, runs.dataset, runs.recipe, strict=True))
        cases = [(*names, recipe) for names in NETWORKS for recipe in ("paper", "modern")]
        lacking = [f"{network(*names)} ({recipe} recipe)" for *names, recipe in cases if (*names, recipe) not in run]
        if lacking:
            yield f"The experiment {experiment} was not run for {', '.join(lacking)}."


def _places(tables: Tables) -> Iterator[str]:
    """Yield the paper's densities and sizes that a case lacks, and those without a RadiX-Net."""
    for (experiment, case), runs in tables.finished.groupby(["experiment", "case"], sort=False):
        if experiment not in ("same-size", "same-edges"):
            continue
        name = f"{case}, {experiment.replace('-', ' ')}"
        papers = papers_points(experiment, runs.iloc[0])
        lacking = sorted({*papers.x[papers.arm == "random"]} - {*runs.x})
        if lacking:
            yield f"{name}: the paper's {', '.join(place_name(experiment, x) for x in lacking)} was not run."
        without = sorted({*runs.x} - {1} - {*runs.x[runs.arm.isin(RADIX)]}, reverse=True)
        if without:
            yield f"{name}: no RadiX-Net at {', '.join(place_name(experiment, x) for x in without)}."
