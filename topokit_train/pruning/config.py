"""PruneConfig: every setting of a pruning run. Its fields are the flags of `topokit prune`; it imports no torch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from reprlib import repr as shortened
from typing import Any

from topokit.errors import InvalidSpecError
from topokit.spec import integer, numbers
from topokit_train.config import TrainConfig, flag, require_one_of, setting

METHODS = ("gradual", "one-time")
SCOPES = ("layer", "global")
INITIAL = "initial"

BEGIN, END, EVERY = 0.2, 0.7, 0.01  # of the steps
TO = (0.9,)


@dataclass(frozen=True, kw_only=True)
class PruneConfig(TrainConfig):
    """Every setting of a pruning run, validated: those of the training, and how it prunes.

    Args:
        method: "gradual" prunes while it trains (Zhu & Gupta 2017, arXiv:1710.01878), "one-time" after the last step.
        to: the wanted sparsities, ascending; each one's topology is saved when it is reached, and the last is where
            pruning ends. None with a threshold, else (.9,) by default.
        scope: "layer" gives each layer this sparsity, "global" all layers together. None with a threshold.
        keep: slots that are left dense, such as "fc3.weight" or "fc3".
        begin: where gradual pruning begins, a fraction of the steps.
        end: where it ends.
        every: how often it prunes, a fraction of the steps; by default .01, or after each step where these are few.
        threshold: one-time pruning takes all weights below this magnitude instead, whatever sparsity that gives.
        biases: whether biases below the threshold go too.
        rewind: "initial", or a number of epochs: the weights of that time are saved in rewind.safetensors, and a run
            on a saved topology that starts from them, with `weights`, trains the lottery ticket (Frankle & Carbin
            2019, arXiv:1803.03635).

    Raises:
        InvalidSpecError: names the flags, what was given and what is allowed.
    """

    method: str = setting("gradual, or one-time: after the last step.", kind="text", default="gradual")
    to: tuple[float, ...] | None = setting(
        "Wanted sparsities, ascending; each one's topology is saved [.9].", kind="numbers", default=None
    )
    scope: str | None = setting(
        "Make each layer so sparse, or all together: global [layer].", kind="text", default=None
    )
    keep: tuple[str, ...] = setting("Leave this slot dense, such as fc3 (repeatable).", kind="names", default=())
    begin: float | None = setting("Gradual: where it begins, of the steps [.2].", kind="number", default=None)
    end: float | None = setting("Gradual: where it ends, of the steps [.7].", kind="number", default=None)
    every: float | None = setting("Gradual: how often it prunes, of the steps [.01].", kind="number", default=None)
    threshold: float | None = setting("One-time: prune all weights below this magnitude.", kind="number", default=None)
    biases: bool = setting("Prune biases below the threshold too [no].", kind="switch", default=False)
    rewind: str | None = setting(
        "Save the weights of initial, or after so many epochs, to train the wiring from them: train --weights.",
        kind="text",
        default=None,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("--method", self.method, METHODS)
        self._set("keep", (self.keep,) if isinstance(self.keep, str) else tuple(self.keep))
        if not all(isinstance(name, str) for name in self.keep):
            raise InvalidSpecError(f"--keep must name slots, not {self.keep!r}")
        if not isinstance(self.biases, bool):
            raise InvalidSpecError(f"--biases must be true or false, not {self.biases!r}")
        self._require_method()
        if self.threshold is not None:
            self._require_threshold()
        else:
            self._require_sparsities()
        if self.method == "gradual":
            self._require_interval()
        if self.rewind is not None:
            self._require_rewind()

    def _require_method(self) -> None:
        others = {"gradual": ("threshold",), "one-time": ("begin", "end", "every")}[self.method]
        for name in others:
            if getattr(self, name) is not None:
                raise InvalidSpecError(f"{flag(name)} has no use with --method {self.method}: leave one of them out")
        if self.biases and self.threshold is None:
            raise InvalidSpecError("--biases needs --threshold: a sparsity is one of weights only")

    def _require_threshold(self) -> None:
        for name in ("to", "scope"):
            if getattr(self, name) is not None:
                raise InvalidSpecError(
                    f"{flag(name)} has no use with --threshold, one magnitude over everything: leave one of them out"
                )
        self._set("threshold", float(_number(self.threshold, "--threshold")))
        if not self.threshold > 0:  # type: ignore[operator]
            raise InvalidSpecError(f"--threshold must be above 0, not {self.threshold:g}: it is a magnitude")

    def _require_sparsities(self) -> None:
        self._set("scope", self.scope or SCOPES[0])
        require_one_of("--scope", self.scope, SCOPES)
        given: Any = TO if self.to is None else self.to
        values = [given] if isinstance(given, float | int | str | Fraction) else list(given)
        wanted = [_number(value, "--to") for value in values]
        if not wanted:
            raise InvalidSpecError("--to needs at least one sparsity, such as .9")
        for sparsity in wanted:
            if not 0 < sparsity < 1:
                why = "nothing would be pruned" if sparsity <= 0 else "no weight would be left"
                raise InvalidSpecError(f"--to must be above 0 and below 1, not {float(sparsity):g}: {why}")
        for one, two in pairwise(wanted):
            if one >= two:
                raise InvalidSpecError(
                    f"--to must ascend, each sparsity once: {float(two):g} comes after {float(one):g}"
                )
        self._set("to", tuple(map(float, wanted)))

    def _require_interval(self) -> None:
        for name, default in (("begin", BEGIN), ("end", END)):
            given = getattr(self, name)
            value = _number(default if given is None else given, flag(name))
            if not 0 <= value <= 1:
                raise InvalidSpecError(f"{flag(name)} must be from 0 to 1, a fraction of the steps, not {given}")
            self._set(name, float(value))
        if self.begin >= self.end:  # type: ignore[operator]  # both are set above
            raise InvalidSpecError(f"--begin {self.begin:g} must be before --end {self.end:g}")
        if self.every is not None:
            self._set("every", float(_number(self.every, "--every")))
            if not 0 < self.every <= 1:
                raise InvalidSpecError(
                    f"--every must be above 0 and at most 1, a fraction of the steps, not {self.every}"
                )

    def _require_rewind(self) -> None:
        if self.rewind == INITIAL:
            return
        text = str(self.rewind)
        if not (text.isascii() and text.isdigit()):
            raise InvalidSpecError(f"--rewind must be {INITIAL} or a number of epochs, not {text!r}")
        self._set("rewind", str(integer(int(text), "--rewind", 1)))


def config_from_json(values: Mapping[str, Any]) -> TrainConfig:
    """The settings of a run, of whichever kind it is: only a pruning run has a method.

    Raises:
        InvalidSpecError: a key is no setting, or a value is not allowed.
    """
    return (PruneConfig if "method" in values else TrainConfig).from_json(values)


def _number(value: object, name: str) -> Fraction:
    number = numbers(value, name, 1)[0]
    if abs(number) > sys.float_info.max:
        raise InvalidSpecError(f"{name} must be at most {sys.float_info.max:.2g}, not {shortened(value)}")
    return number
