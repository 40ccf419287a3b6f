"""Findings: what the runs of one case show of a claim, and the verdicts after Holm's correction.

Accuracies are fractions. A p-value is NaN if no test can be made: of a single seed, or without any spread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from topokit.checks import Verdict
from topokit.statistics import LEVEL, half_width, holm
from topokit_train.studies.words import MARGIN

NOT_RUN = "not run"
"""The verdict on a claim without runs, beside those of `topokit.checks.Verdict`."""
NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One comparison.

    Args:
        at: density, size or sparsity.
        compared: such as "RadiX-Net − random".
        seeds: number of pairs, or of runs.
        effect: difference of accuracies, or share of runs, as a fraction.
        half_width: half the width of its 95 % interval.
        unit: "difference of accuracies" or "share of runs".
        p_no_difference: p-value of no difference; for information, it decides nothing.
        p_holds: p-value for the claim, at this place alone.
        p_fails: p-value for its contrary.
    """

    at: str | None = None
    compared: str | None = None
    seeds: int | None = None
    effect: float = NAN
    half_width: float = NAN
    unit: str | None = "difference of accuracies"
    p_no_difference: float = NAN
    p_holds: float = NAN
    p_fails: float = NAN


Combine = Callable[[Sequence[float]], float]
"""From the p-values of effects to that of their finding: `smallest` or `largest`."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the runs of one case show of a claim.

    Args:
        case: name of the case.
        effects: the comparisons.
        shown: the effect in the table of claims.
        p_holds: p-value for the claim.
        p_fails: p-value for its contrary.
        missing: the reason if nothing was compared.
    """

    case: str = ""
    effects: Sequence[Effect] = ()
    shown: Effect | None = None
    p_holds: float = NAN
    p_fails: float = NAN
    missing: str = ""


def finding(
    case: str, effects: Sequence[Effect], holds: Combine, fails: Combine, shown: Effect | None = None
) -> Finding:
    """Return the finding of some effects.

    Args:
        case: name of the case.
        effects: the comparisons.
        holds: combines their p-values for the claim.
        fails: combines those for its contrary.
        shown: the effect in the table of claims; the largest one by default.
    """
    return Finding(
        case=case,
        effects=effects,
        shown=shown or max(effects, key=lambda one: one.effect, default=None),
        p_holds=holds([one.p_holds for one in effects]),
        p_fails=fails([one.p_fails for one in effects]),
    )


def smallest(p_values: Sequence[float]) -> float:
    """Return a p-value for "at least one of them is true": the smallest after Holm's correction."""
    return float(pd.Series(holm(p_values), dtype=float).min())


def largest(p_values: Sequence[float]) -> float:
    """Return a p-value for "all of them are true", an intersection-union test; NaN if one of them is."""
    return float(pd.Series(p_values, dtype=float).max(skipna=False))


def t_tests(sample: Any) -> dict[str, float]:
    """Return the p-values of one-sample t-tests: what they show of the true mean of paired differences -> p-value.

    "below", "within" and "beyond" are relative to the margin; "within" is two one-sided tests (TOST).
    """
    t, df = (sample.mean() - np.array([-MARGIN, 0, MARGIN])) / stats.sem(sample), sample.size - 1
    less, greater = stats.t.cdf(t, df).tolist(), stats.t.sf(t, df).tolist()
    return {
        "different": 2 * min(less[1], greater[1]),
        "positive": greater[1],
        "negative": less[1],
        "below": less[0],
        "not below": greater[0],
        "within": max(greater[0], less[2]),
        "beyond": min(1.0, 2 * min(less[0], greater[2])),
    }


def difference(at: str, compared: str, differences: Any, holds: str = "", fails: str = "") -> Effect:
    """Return the effect of paired differences.

    Args:
        at: density, size or sparsity.
        compared: the names of both arms.
        differences: one number for each seed.
        holds: the key of `t_tests` that is a p-value for the claim; "" for none.
        fails: the key of `t_tests` that is a p-value for its contrary.
    """
    sample = np.asarray(differences, dtype=float)
    spread = np.ptp(sample) > 1e-12  # fractions of some thousand images: less is rounding
    p = t_tests(sample) if spread else {}
    deviation = sample.std(ddof=1) if spread else 0.0 if sample.size > 1 else NAN
    return Effect(
        at=at,
        compared=compared,
        seeds=sample.size,
        effect=float(sample.mean()),
        half_width=float(half_width(deviation, sample.size)),
        p_no_difference=p.get("different", NAN),
        p_holds=p.get(holds, NAN),
        p_fails=p.get(fails, NAN),
    )


def sign_test(signs: Any) -> dict[str, Any]:
    """Return the p-values for more and for fewer positive than negative seeds, by the exact binomial test.

    Runs of one seed start with the same weights and see the images in the same order, so they have one vote together.

    Args:
        signs: a Series of +1, 0 or -1 for each run, indexed by seed.
    """
    votes = signs.groupby(level="seed").sum()
    more, cast = int((votes > 0).sum()), int((votes != 0).sum())
    p = [stats.binomtest(more, cast, alternative=side).pvalue if cast else NAN for side in ("greater", "less")]
    return {"p_holds": float(p[0]), "p_fails": float(p[1])}


def verdict(p_holds: float, p_fails: float) -> Verdict:
    """Return the verdict of two p-values: undecided if neither or both are below the level."""
    holds, fails = p_holds < LEVEL, p_fails < LEVEL
    return Verdict.UNDECIDED if holds == fails else Verdict.HOLDS if holds else Verdict.FAILS


def judge(findings: Mapping[str, Sequence[Finding]]) -> tuple[Any, Any]:
    """Return the tables of findings and of their effects, with verdicts.

    p-values are corrected over the findings of each claim: the chance that a claim is said to hold in any case in which
    it does not is at most 5 %, and likewise for `fails`. They are not corrected over all claims, since the findings of
    one claim would then depend on the number of other experiments. Those of effects are corrected over their finding.

    Args:
        findings: claim -> its findings, at least one.
    """
    found = [(claim, one) for claim, of_claim in findings.items() for one in of_claim]
    rows = [vars(one.shown or Effect(unit=None)) | vars(one) | {"claim": claim} for claim, one in found]
    claims = _corrected(pd.DataFrame(rows), ["claim"])
    claims["verdict_alone"] = list(map(verdict, claims.p_holds, claims.p_fails))
    claims.loc[claims.missing != "", ["verdict", "verdict_alone"]] = NOT_RUN
    rows = [vars(effect) | {"claim": claim, "case": one.case} for claim, one in found for effect in one.effects]
    effects = _corrected(pd.DataFrame(rows, columns=["claim", "case", *vars(Effect())]), ["claim", "case"])
    tested = effects.p_holds.notna() | effects.p_fails.notna()
    effects["verdict"] = effects.verdict.astype(object).where(tested, None)  # in a column of text, pandas 3 has no None
    return claims, effects


def _corrected(frame: Any, together: list[str]) -> Any:
    for side in ("p_holds", "p_fails"):
        frame[f"{side}_holm"] = frame.groupby(together, sort=False)[side].transform(holm)
    return frame.assign(verdict=list(map(verdict, frame.p_holds_holm, frame.p_fails_holm)))
