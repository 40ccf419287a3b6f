"""What a check answers: a verdict of three values, with its reason and a witness that anybody can look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, NoReturn

from topokit.reprs import short_repr


class Verdict(StrEnum):
    """Proved, disproved, or neither."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The answer of one check.

    Args:
        check: the check's name.
        verdict: holds, fails or undecided.
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
    """The message of a TypeError for `what`, whose three values no bool can hold."""
    return f"{what} is neither true nor false: it has three values, so compare its .verdict with Verdict.HOLDS"


def decimal(number: int) -> str:
    """The decimal digits of a non-negative integer of any size.

    Python's own `str` refuses more than 4,300 digits, and fewer where it is told so (640 at least).
    """
    if number.bit_length() < 2000:
        return str(number)
    low_digits = number.bit_length() * 3 // 20  # about half of them: log10(2) is .301
    high, low = divmod(number, 10**low_digits)
    return decimal(high) + decimal(low).zfill(low_digits)


def in_words(number: int) -> str:
    """A count for people: every digit up to eighteen of them, else a power of two or the leading digits."""
    if number < 10**18:
        return f"{number:,}"
    if number & (number - 1) == 0:
        return f"2^{number.bit_length() - 1}"
    digits = decimal(number)
    return f"about {digits[0]}.{digits[1:4]}e{len(digits) - 1}"
