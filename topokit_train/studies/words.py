"""The thresholds of the report, its texts, and its numbers as text."""

from __future__ import annotations

import re
import tomllib
from math import isnan
from pathlib import Path
from string import Template
from typing import Any

MARGIN = 0.005
"""Half a percentage point: a smaller difference counts as none."""
EXTREME = 0.05
"""Density up to which a topology counts as extremely sparse."""
NEAR = 0.02
"""Distance from 1 − k/10 up to which an accuracy is on a plateau: MNIST's classes are not equally frequent."""

_FILE = Path(__file__).parent / "training_behavior" / "report.toml"
_NUMBERS = {"extreme": f"{EXTREME:g}", "near": f"{100 * NEAR:g}", "margin": f"{100 * MARGIN:g}"}
TEXTS = tomllib.loads(Template(_FILE.read_text("utf-8")).substitute(_NUMBERS))
"""report.toml: the words and colours of claims, charts and methods."""


def accuracy(value: float, half: float = float("nan")) -> str:
    """Return an accuracy, with half the width of its interval.

    >>> accuracy(0.9763, 0.0008), accuracy(0.9763)
    ('97.63 ± 0.08 %', '97.63 %')
    """
    return f"{100 * value:.2f} %" if isnan(half) else f"{100 * value:.2f} ± {100 * half:.2f} %"


def mean(found: Any, *, percent: bool = True) -> str:
    """Return the mean y over n seeds, with half the width of its interval.

    >>> from types import SimpleNamespace
    >>> mean(SimpleNamespace(y=0.5, half=float("nan"), n=1))
    '50.00 % (1 seed, no interval)'
    """
    if percent:
        return f"{accuracy(found.y, found.half)} ({f'{found.n:g} seeds' if found.n > 1 else '1 seed, no interval'})"
    half = "" if isnan(found.half) else f" ± {found.half:.2g}"
    return f"{found.y:.3g}{half} ({found.n:g} seed{'s' if found.n > 1 else ''})"


def effect(found: Any) -> str:
    """Return the size of an effect, in percentage points or as a share; "–" if it is unknown.

    >>> from topokit_train.studies.findings import Effect
    >>> effect(Effect(effect=-0.0012, half_width=0.0004))
    '−0.12 ± 0.04 pp'
    """
    if isnan(found.effect):
        return "–"
    if found.unit == "share of runs":
        return f"{100 * found.effect:.0f} %".replace("-", "−")
    half = "" if isnan(found.half_width) else f" ± {100 * found.half_width:.2f}"
    size = f"{100 * found.effect:+.2f}".replace("-", "−")
    return f"{'0.00' if size[1:] == '0.00' else size}{half} pp"


def p_value(p: float) -> str:
    """Return a p-value.

    >>> p_value(0.0321), p_value(0.00001), p_value(float("nan"))
    ('0.032', '< 0.001', '–')
    """
    return "–" if isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def cell(text: Any) -> str:
    """Return text for a cell of a Markdown table."""
    return re.sub(r"([|\\`*_<>])", r"\\\1", " ".join(str(text).split()))
