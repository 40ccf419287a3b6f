"""The result of a check: a verdict, with its reason and a witness that anybody can check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, NoReturn

from topokit.reprs import short_repr


class Verdict(StrEnum):
    """Proved, nothing to prove as nothing was promised, not decided by any method, or disproved: from best to worst."""

    HOLDS = "holds"
    NOT_PROMISED = "not promised"
    UNDECIDED = "undecided"
    FAILS = "fails"


def worst_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst verdict; not promised if there are none."""
    return max(verdicts, key=list(Verdict).index, default=Verdict.NOT_PROMISED)


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The answer of one check.

    Args:
        check: the check's name.
        verdict: holds, fails, undecided or not promised.
        reason: why, in one sentence.
        values: numbers found on the way, JSON-able.
        witness: nodes or edges that show why it fails, JSON-able.
        method: "exact", or "probe" for a proof by random vectors.
        error_bound: an upper bound on the probability that a verdict "holds" is wrong; 0 where exact.
    """

    check: str
    verdict: Verdict
    reason: str
    values: Mapping[str, Any] = field(default_factory=dict)
    witness: Mapping[str, Any] | None = None
    method: str = "exact"
    error_bound: float = 0.0

    __repr__ = short_repr

    def __bool__(self) -> NoReturn:
        raise TypeError(no_truth("a check's result"))

    def to_json(self) -> dict[str, Any]:
        """The fields as a dictionary that `json.dumps` takes."""
        return asdict(self)


def no_truth(what: str) -> str:
    """Return the message of a TypeError for `what`, whose values no bool can hold."""
    return f"{what} is neither true nor false: compare its .verdict with Verdict.HOLDS"
