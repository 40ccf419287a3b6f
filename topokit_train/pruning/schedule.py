"""Schedule: what is pruned after which step. Pure functions of the step, in exact numbers."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from topokit.errors import InvalidSpecError
from topokit_train.pruning.config import EVERY, PruneConfig


@dataclass(frozen=True)
class Stage:
    """One pruning.

    Args:
        sparsity: after the pruning, of each layer or of all together; None prunes by the absolute threshold.
        wanted: whether it is a target sparsity, at which the topology is saved.
    """

    sparsity: Fraction | None
    wanted: bool


@dataclass(frozen=True)
class Schedule:
    """Sparsities during training: s(t) = f - f (1 - p)^3 with p = (t - begin) / (end - begin), limited to 0 and 1.

    One-time pruning begins one step before it ends, so it reaches all targets after the last step.

    Args:
        begin: the step t with s(t) = 0.
        end: the step with s(t) = f.
        every: steps from one pruning to the next.
        targets: the target sparsities, ascending; the last one is f. Empty for an absolute threshold.

    Source: Zhu & Gupta 2017, "To prune, or not to prune", arXiv:1710.01878, equation 1 with initial sparsity 0.
    """

    begin: int
    end: int
    every: int
    targets: tuple[Fraction, ...]

    def sparsity(self, step: int) -> Fraction:
        """Return s(step).

        >>> Schedule(begin=10, end=20, every=1, targets=(Fraction(8, 10),)).sparsity(15)
        Fraction(7, 10)
        """
        progress = min(max(Fraction(step - self.begin, self.end - self.begin), Fraction(0)), Fraction(1))
        final = self.targets[-1]
        return final - final * (1 - progress) ** 3

    def due(self, step: int) -> tuple[Stage, ...]:
        """Return the prunings after a step, in order; the targets are reached exactly. The first step is 1."""
        since = step - self.begin
        if not self.begin < step <= self.end or (since % self.every and step != self.end):
            return ()
        if not self.targets:
            return (Stage(None, wanted=True),)
        before, now = self.sparsity(step - ((since - 1) % self.every + 1)), self.sparsity(step)
        passed = [Stage(target, wanted=True) for target in self.targets if before < target <= now]
        if not passed or passed[-1].sparsity != now:
            passed.append(Stage(now, wanted=False))
        return tuple(passed)


def schedule_of(config: PruneConfig, steps: int) -> Schedule:
    """Return the schedule of a run.

    Args:
        config: its settings.
        steps: how many it has.

    Raises:
        InvalidSpecError: too few steps for the interval, or for pruning so often.
    """
    targets = tuple(Fraction(str(target)) for target in config.to or ())
    if config.begin is None or config.end is None:
        return Schedule(steps - 1, steps, 1, targets)
    begin, end = (round(Fraction(str(share)) * steps) for share in (config.begin, config.end))
    if begin >= end:
        raise InvalidSpecError(
            f"`begin` {config.begin:g} and `end` {config.end:g} are the same step of {steps}: "
            "give more `epochs`, or a longer interval"
        )
    if config.every is None:
        every = max(Fraction(1), Fraction(str(EVERY)) * steps)
    else:
        every = Fraction(str(config.every)) * steps
        if every < 1:
            raise InvalidSpecError(
                f"`every` {config.every:g} is more often than once a step, of which there are {steps}: "
                "give a larger one, or omit it"
            )
    return Schedule(begin, end, round(every), targets)
