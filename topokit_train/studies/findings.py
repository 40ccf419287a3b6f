"""Findings: what a claim comes to in one case, and the verdict once all p-values of a claim are corrected together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from topokit_train.studies.statistics import LEVEL, Difference, holm
from topokit_train.studies.tables import Tables


class Verdict(Enum):
    """What the runs say of a claim."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"
    NOT_RUN = "not run"


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One comparison.

    Args:
        where: at which density, size or sparsity.
        what: is compared, such as "RadiX-Net − random".
        seeds: pairs, or runs.
        value: a difference of accuracies or a share, as a fraction.
        half: half the width of its 95 % interval; None where there is none.
        zero: the p-value of no difference at all; for information, it decides nothing.
        p_holds: the p-value for what the claim says, at this place alone.
        p_fails: the p-value for its contrary.
        is_share: whether value is a share of runs, and no difference of accuracies.
    """

    where: str
    what: str
    seeds: int
    value: float
    half: float | None = None
    zero: float | None = None
    p_holds: float | None = None
    p_fails: float | None = None
    is_share: bool = False


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a claim comes to in one case.

    Args:
        where: the case.
        effects: the comparisons that it rests on.
        headline: the one that stands for them in the table of claims; None where there is none.
        p_holds: the p-value for the claim.
        p_fails: the p-value for its contrary.
        missing: why nothing can be said, where nothing was compared.
    """

    where: str
    effects: tuple[Effect, ...] = ()
    headline: Effect | None = None
    p_holds: float | None = None
    p_fails: float | None = None
    missing: str = ""


Combine = Callable[[Sequence[float | None]], float | None]
"""From the p-values of effects to that of the finding that rests on them: their smallest or largest."""


def of_greatest(where: str, effects: Sequence[Effect], holds: Combine, fails: Combine) -> list[Finding]:
    """The finding that some effects make, told by the greatest of them; none without effects.

    Args:
        where: the case.
        effects: the comparisons that it rests on.
        holds: combines their p-values for the claim.
        fails: combines those for its contrary.
    """
    if not effects:
        return []
    finding = Finding(
        where=where,
        effects=tuple(effects),
        headline=max(effects, key=lambda effect: effect.value),
        p_holds=holds([effect.p_holds for effect in effects]),
        p_fails=fails([effect.p_fails for effect in effects]),
    )
    return [finding]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence that the runs can show to be right or wrong.

    Args:
        sentence: what is claimed.
        test: in words: what holds, what fails, by which test.
        find: the findings in a study's tables; none where nothing was run.
        needs: what must be run for it.
    """

    sentence: str
    test: str
    find: Callable[[Tables], list[Finding]]
    needs: str


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A finding, judged among all findings of its claim.

    Args:
        key: the claim's name.
        claim: what is claimed.
        finding: what became of it in one case.
        holds: p_holds, corrected over the claim's findings.
        fails: p_fails, corrected over the claim's findings.
        verdict: by these.
        alone: the verdict that the finding would have if it were the only one of its claim.
    """

    key: str
    claim: Claim
    finding: Finding
    holds: float | None
    fails: float | None
    verdict: Verdict
    alone: Verdict


def effect_of(where: str, what: str, found: Difference, p_holds: str | None, p_fails: str | None) -> Effect:
    """The effect of a paired comparison; p_holds and p_fails are names of p-values of a Difference."""
    return Effect(
        where=where,
        what=what,
        seeds=found.n,
        value=found.mean,
        half=found.half,
        zero=found.zero,
        p_holds=getattr(found, p_holds) if p_holds else None,
        p_fails=getattr(found, p_fails) if p_fails else None,
    )


def judge(claims: dict[str, Claim], tables: Tables) -> list[Judged]:
    """The findings of all claims, with Holm's correction over those of each: once for what holds, once for what fails.

    So the chance that a claim is said to hold in any case where it does not is at most 5 %, and so it is for `fails`.
    Not over all claims: what is found of one would then depend on how many other experiments were run.
    """
    return [one for key, claim in claims.items() for one in _judge(key, claim, _findings(claim, tables))]


def _judge(key: str, claim: Claim, found: Sequence[Finding]) -> list[Judged]:
    holds = holm([finding.p_holds for finding in found])
    fails = holm([finding.p_fails for finding in found])
    return [
        Judged(
            key=key,
            claim=claim,
            finding=finding,
            holds=p_holds,
            fails=p_fails,
            verdict=_verdict(bool(finding.missing), p_holds, p_fails),
            alone=_verdict(bool(finding.missing), finding.p_holds, finding.p_fails),
        )
        for finding, p_holds, p_fails in zip(found, holds, fails, strict=True)
    ]


def _findings(claim: Claim, tables: Tables) -> list[Finding]:
    return claim.find(tables) or [Finding(where="", missing=claim.needs)]


def within(effects: Sequence[Effect]) -> list[tuple[float | None, float | None, Verdict]]:
    """(p_holds, p_fails, verdict) of each effect of one finding, corrected over these effects only."""
    corrected = zip(
        holm([effect.p_holds for effect in effects]), holm([effect.p_fails for effect in effects]), strict=True
    )
    return [(holds, fails, _verdict(False, holds, fails)) for holds, fails in corrected]


def _verdict(missing: bool, holds: float | None, fails: float | None) -> Verdict:
    if missing:
        return Verdict.NOT_RUN
    shown = [verdict for verdict, p in ((Verdict.HOLDS, holds), (Verdict.FAILS, fails)) if p is not None and p < LEVEL]
    return shown[0] if len(shown) == 1 else Verdict.UNDECIDED
