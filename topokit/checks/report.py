"""Report: the results of several checks, and the one verdict that follows from them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, NoReturn

from topokit.checks.result import CheckResult, Verdict, no_truth, worst_of
from topokit.reprs import Tabular, aligned, short_repr

HEADINGS = ("check", "verdict", "required", "method", "seconds", "reason")


@dataclass(frozen=True, kw_only=True)
class Report(Tabular):
    """The results of several checks on one network. Prints as a table, in a notebook too.

    Args:
        results: one for each check that ran.
        required: names of the checks that must hold.
        seconds: check name -> time it took.
    """

    results: tuple[CheckResult, ...]
    required: frozenset[str]
    seconds: Mapping[str, float]

    columns = (*(field.name for field in fields(CheckResult)), "required", "seconds")
    __repr__ = short_repr

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the required checks; not promised if none is required."""
        return worst_of(result.verdict for result in self.results if result.check in self.required)

    def __getitem__(self, check: str) -> CheckResult:
        """The result of the check of that name."""
        return {result.check: result for result in self.results}[check]

    def __iter__(self) -> Iterator[CheckResult]:
        return iter(self.results)

    def __bool__(self) -> NoReturn:
        raise TypeError(no_truth("a report"))

    def to_json(self) -> dict[str, Any]:
        """The verdict and each check's result, whether it was required and its seconds, for `json.dumps`."""
        return {"verdict": self.verdict, "checks": self.records()}

    def records(self) -> list[dict[str, Any]]:
        return [
            {
                **result.to_json(),
                "required": result.check in self.required,
                "seconds": round(self.seconds[result.check], 6),
            }
            for result in self.results
        ]

    def __str__(self) -> str:
        head, *body = aligned(self.rows())
        indent = " " * head.index(HEADINGS[-1])
        lines = [self.title, head]
        for line, result in zip(body, self.results, strict=True):
            lines.append(line)
            if result.witness is not None:
                lines.append(f"{indent}witness: {json.dumps(result.witness)}")
        return "\n".join(lines)

    @property
    def title(self) -> str:
        names = [result.check for result in self.results if result.check in self.required]
        return f"verdict: {self.verdict} (required: {', '.join(names) or 'nothing'})"

    def rows(self) -> list[tuple[str, ...]]:
        return [
            HEADINGS,
            *(
                (
                    result.check,
                    result.verdict.value,
                    "yes" if result.check in self.required else "no",
                    result.method,
                    f"{self.seconds[result.check]:7.3f}",
                    result.reason,
                )
                for result in self.results
            ),
        ]
