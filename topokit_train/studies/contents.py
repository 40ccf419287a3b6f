"""What a report says, as plain text and tables: the page and the Markdown file show the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from topokit_train.studies import numbers, words
from topokit_train.studies.charts import CHARTS
from topokit_train.studies.charts.model import Chart
from topokit_train.studies.claims import CLAIMS
from topokit_train.studies.findings import Judged, Verdict, judge
from topokit_train.studies.gaps import gaps
from topokit_train.studies.prose import FIGURES, introduction, methods
from topokit_train.studies.samples import Case
from topokit_train.studies.tables import STATES, Tables


@dataclass(frozen=True, kw_only=True)
class Group:
    """A claim, its findings in all cases, how often it has which verdict, and its least and greatest effect."""

    sentence: str
    test: str
    summary: str
    extremes: tuple[str, ...]
    findings: tuple[Judged, ...]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """All that a report says; its templates only set it.

    Args:
        title: of the report.
        facts: (what, value): where, when and by what it was made.
        introduction: paragraphs on what was run.
        methods: paragraphs on how it was judged.
        claims: with their verdicts.
        figures: a paragraph on how they are to be read.
        charts: those that are drawn.
        missing: sentences on what was not run.
        means: the appendix's table of arms.
        effects: the appendix's table of comparisons.
        csv: name -> the text of a table of numbers.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    introduction: tuple[str, ...]
    methods: tuple[str, ...]
    claims: tuple[Group, ...]
    figures: str
    charts: Mapping[str, Chart]
    missing: tuple[str, ...]
    means: tuple[Sequence[str], list[Sequence[str]]]
    effects: tuple[Sequence[str], list[Sequence[str]]]
    csv: Mapping[str, str]


def contents(tables: Tables) -> Contents:
    """Everything that the report of some tables says."""
    charts = {name: CHARTS[name](tables) for name in CHARTS}
    judged = judge({name: CLAIMS[name] for name in CLAIMS}, tables)
    drawn = {name: chart for name, chart in charts.items() if chart.panels}
    return Contents(
        title=_title(tables),
        facts=tuple(_facts(tables)),
        introduction=introduction(tables),
        methods=methods(tables),
        claims=tuple(_group(name, judged) for name in CLAIMS),
        figures=FIGURES,
        charts=drawn,
        missing=tuple(gaps(tables, charts, judged)),
        means=_means(tables),
        effects=_effects(judged),
        csv={
            "claims": numbers.as_csv(numbers.claims(judged)),
            "effects": numbers.as_csv(numbers.effects(judged)),
            "means": numbers.as_csv(numbers.means(tables)),
            **{f"figure-{name.removeprefix('figure-')}": numbers.as_csv(numbers.chart(c)) for name, c in drawn.items()},
        },
    )


def _title(tables: Tables) -> str:
    study = str(tables.study.get("study", "study")).replace("-", " ")
    return f"{study[:1].upper()}{study[1:]} of sparse neural network topologies"


def _facts(tables: Tables) -> list[tuple[str, str]]:
    parts = [*tables.study.get("earlier", ()), tables.study]  # runs may come from tables that were there before
    seconds = [float(part["seconds"]) for part in parts if part.get("seconds") is not None]
    days = [str(part[key]) for part in parts for key in ("started", "ended") if part.get(key)]
    told = [
        ("Budget", str(tables.study.get("budget", ""))),
        ("Runs", _counted(tables)),
        ("Training time", words.duration(sum(seconds)) if seconds else ""),
        ("Machine", _each_once(parts, "machine")),
        ("Versions", _each_once(parts, "versions")),
        ("From, to", f"{min(days)} to {max(days)}" if days else ""),
    ]
    return [(what, value) for what, value in told if value]


def _each_once(parts: Sequence[Mapping[str, Any]], key: str) -> str:
    """What the parts of a study say under a key, each that is different once."""
    told = (", ".join(f"{name} {value}" for name, value in (part.get(key) or {}).items()) for part in parts)
    return "; ".join(dict.fromkeys(filter(None, told)))


def _counted(tables: Tables) -> str:
    states = Counter({run.run: run.state for run in tables.runs}.values())
    return ", ".join(f"{states[state]} {state}" for state in STATES if states[state]) or "none"


def _group(name: str, judged: Sequence[Judged]) -> Group:
    members = tuple(one for one in judged if one.key == name)
    counts = Counter(one.verdict for one in members)
    told = [
        f"{verdict.value} in {counts[verdict]}"
        for verdict in Verdict
        if counts[verdict] and verdict is not Verdict.NOT_RUN
    ]
    summary = f"{', '.join(told)} of {len(members)} cases" if told and len(members) > 1 else members[0].verdict.value
    claim = members[0].claim
    return Group(
        sentence=claim.sentence, test=claim.test, summary=summary, extremes=_extremes(members), findings=members
    )


def _extremes(members: Sequence[Judged]) -> tuple[str, ...]:
    """The least and the greatest of the effects that stand for the findings of a claim; one where they are the same."""
    heads = sorted((one.finding.headline for one in members if one.finding.headline), key=lambda head: head.value)
    return tuple(dict.fromkeys(words.effect(head) for head in (*heads[:1], *heads[-1:])))


def _means(tables: Tables) -> tuple[Sequence[str], list[Sequence[str]]]:
    rows: list[Sequence[str]] = []
    for experiment, model, dataset, recipe, epochs, arm, x, n, mean, half, _, least, most, dead in numbers.means(
        tables
    )[1]:
        rows.append(
            (
                *(
                    experiment,
                    str(Case(model, dataset, recipe, epochs)),
                    arm,
                    f"{x:g}",
                    str(n),
                    words.percent(mean, half),
                ),
                f"{100 * least:.2f} to {100 * most:.2f}",
                "–" if dead is None else f"{dead} of {n}",
            )
        )
    return ("Experiment", "Case", "Arm", "Density or ×", "Seeds", "Test accuracy", "Range, %", "Dead classes in"), rows


def _effects(judged: Sequence[Judged]) -> tuple[Sequence[str], list[Sequence[str]]]:
    rows: list[Sequence[str]] = [
        (
            *(
                one.claim.sentence,
                one.finding.where,
                effect.where,
                effect.what,
                str(effect.seeds),
                words.effect(effect),
            ),
            *(words.p_value(effect.zero), words.p_value(holds), words.p_value(fails), verdict or "–"),
        )
        for one, effect, holds, fails, verdict in numbers.comparisons(judged)
    ]
    columns = (
        "Claim",
        "Case",
        "At",
        "Compared",
        "Pairs",
        "Effect",
        "p (no difference)",
        "p (holds)",
        "p (fails)",
        "Verdict",
    )
    return columns, rows
