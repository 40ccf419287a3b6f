"""Numbers as a reader wants them: accuracies in percent, differences in percentage points, p-values."""

from __future__ import annotations

from topokit_train.studies.findings import Effect
from topokit_train.studies.statistics import Mean


def percent(value: float, half: float | None = None) -> str:
    """An accuracy, with half the width of its interval.

    >>> percent(0.9763, 0.0008), percent(0.9763)
    ('97.63 ± 0.08 %', '97.63 %')
    """
    return f"{100 * value:.2f} %" if half is None else f"{100 * value:.2f} ± {100 * half:.2f} %"


def mean(found: Mean) -> str:
    """A mean of seeds, and of how many.

    >>> mean(Mean(1, 0.5, None, None, 0.5, 0.5))
    '50.00 % (1 seed, no interval)'
    """
    seeds = f"{found.n} seeds" if found.half is not None else "1 seed, no interval"
    return f"{percent(found.mean, found.half)} ({seeds})"


def effect(found: Effect) -> str:
    """The size of an effect, in percentage points or as a share.

    >>> effect(Effect(where="", what="", seeds=5, value=-0.0012, half=0.0004))
    '−0.12 ± 0.04'
    """
    if found.is_share:
        return f"{100 * found.value:.0f} %".replace("-", "−")
    sign = "+" if found.value > 0 else "−" if found.value < 0 else ""
    half = f" ± {100 * found.half:.2f}" if found.half is not None else ""
    return f"{sign}{abs(100 * found.value):.2f}{half}"


def p_value(p: float | None) -> str:
    """A p-value.

    >>> p_value(0.0321), p_value(0.00001), p_value(None)
    ('0.032', '< 0.001', '–')
    """
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def duration(seconds: float) -> str:
    """A time in the unit that suits it.

    >>> duration(90), duration(86_400)
    ('90 seconds', '24.0 hours')
    """
    if seconds < 180:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 3 * 3600 else f"{seconds / 3600:.1f} hours"
