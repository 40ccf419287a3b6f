"""PruneConfig: every setting of a pruning run; its fields are the flags of `topokit prune`. It imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from topokit.errors import InvalidSpecError
from topokit.fields import Bounds, integer, names_of, numbers, option
from topokit_train.config import TrainConfig, choice, flag, number, text

if TYPE_CHECKING:
    from topokit_train.methods import Method

METHODS = ("gradual", "one-time")
SCOPES = ("layer", "global")
INITIAL = "initial"
REWIND = "rewind.safetensors"

BEGIN, END, EVERY = 0.2, 0.7, 0.01  # of the steps
TO = (0.9,)


@dataclass(frozen=True, kw_only=True)
class PruneConfig(TrainConfig):
    """Every setting of a pruning run, validated: those of the training, and how it prunes.

    Args:
        method: "gradual" prunes while it trains (Zhu & Gupta 2017, arXiv:1710.01878), "one-time" after the last step.
        to: the target sparsities, ascending; the topology is saved at each one, and pruning ends at the last. None with
            a threshold, else (.9,) by default.
        scope: "layer" gives each layer this sparsity, "global" all layers together. None with a threshold.
        keep: layers that stay dense, such as "fc3.weight" or "fc3".
        begin: begin of gradual pruning, a fraction of the steps.
        end: its end, a fraction of the steps.
        every: its interval, a fraction of the steps; by default .01, and at least one step.
        threshold: one-time pruning removes all weights below this magnitude instead, whatever the sparsity is then.
        biases: whether it removes biases below the threshold too.
        rewind: "initial", or a number of epochs: the weights of that time are saved in rewind.safetensors, and a run
            on a saved topology that starts from them, with `weights`, trains the lottery ticket (Frankle & Carbin
            2019, arXiv:1803.03635).

    Raises:
        InvalidSpecError: names the setting, what was given and what is allowed.
    """

    method: str = choice(
        "Pruning during training (gradual) or after it (one-time).", choices=METHODS, default="gradual"
    )
    to: tuple[float, ...] | None = option("Target sparsities in ascending order [.9].", kind="numbers", default=None)
    scope: str | None = choice(
        "Scope of the target sparsity: each layer, or all layers together [layer].", choices=SCOPES
    )
    keep: tuple[str, ...] = option("Layers excluded from pruning, such as fc3; repeatable.", kind="names", default=())
    begin: float | None = number("Begin of gradual pruning, as a fraction of all steps [.2].", bounds=Bounds(0, 1))
    end: float | None = number("End of gradual pruning, as a fraction of all steps [.7].", bounds=Bounds(0, 1))
    every: float | None = number(
        "Interval of gradual pruning, as a fraction of all steps [.01].", bounds=Bounds(0, 1, above=True)
    )
    threshold: float | None = number(
        "Magnitude below which one-time pruning removes weights.", bounds=Bounds(0, above=True)
    )
    biases: bool = flag("Whether biases below the threshold are pruned too [no].", default=False)
    rewind: str | None = text('Weights to save for rewinding: "initial", or those after N epochs.')

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("keep", names_of(self.keep, "`keep`"))
        self._require_method()
        if self.threshold is None:
            self._require_sparsities()
        if self.method == "gradual":
            self._require_interval()
        if self.rewind is not None:
            self._require_rewind()

    @property
    def files(self) -> tuple[str, ...]:
        return (*map(file_name, self.to or [None]), *([REWIND] if self.rewind else []))

    def make_method(self) -> tuple[Method, dict[str, str]]:
        from topokit_train.pruning.pruner import Pruner

        return Pruner(self), {}

    def _require_method(self) -> None:
        others = {"gradual": ("threshold",), "one-time": ("begin", "end", "every")}[self.method]
        self._require_none(others, f"`method` {self.method}")
        if self.threshold is not None:
            self._require_none(("to", "scope"), "`threshold`, one magnitude over everything")
        elif self.biases:
            raise InvalidSpecError("`biases` needs `threshold`: a sparsity is one of weights only")

    def _require_none(self, names: tuple[str, ...], beside: str) -> None:
        for name in names:
            if getattr(self, name) is not None:
                raise InvalidSpecError(f"`{name}` has no use with {beside}: omit one of them")

    def _require_sparsities(self) -> None:
        self._set("scope", self.scope or SCOPES[0])
        given: Any = TO if self.to is None else self.to
        values = [given] if isinstance(given, float | int | str | Fraction) else list(given)
        wanted = [numbers(value, "`to`", 1)[0] for value in values]
        if not wanted:
            raise InvalidSpecError("`to` needs at least one sparsity, such as .9")
        for sparsity in wanted:
            if not 0 < sparsity < 1:
                why = "nothing would be pruned" if sparsity <= 0 else "no weight would be left"
                raise InvalidSpecError(f"`to` must be above 0 and below 1, not {float(sparsity):g}: {why}")
        for one, two in pairwise(wanted):
            if one >= two:
                raise InvalidSpecError(
                    f"`to` must ascend, each sparsity once: {float(two):g} comes after {float(one):g}"
                )
        self._set("to", tuple(map(float, wanted)))

    def _require_interval(self) -> None:
        for name, default in (("begin", BEGIN), ("end", END)):
            if getattr(self, name) is None:
                self._set(name, default)
        if self.begin >= self.end:  # type: ignore[operator]  # both are set above
            raise InvalidSpecError(f"`begin` {self.begin:g} must be before `end` {self.end:g}")

    def _require_rewind(self) -> None:
        if self.rewind == INITIAL:
            return
        given = str(self.rewind)
        if not re.fullmatch(r"\d{1,18}", given, re.ASCII):
            raise InvalidSpecError(f"`rewind` must be {INITIAL} or a number of epochs, not {given!r:.60}")
        self._set("rewind", str(integer(int(given), "`rewind`", 1)))


def file_name(target: float | None) -> str:
    """Return the file name of the topology of a target sparsity; None is an absolute threshold's.

    >>> file_name(0.95), file_name(None)
    ('topology-0.95.safetensors', 'topology.safetensors')
    """
    return "topology.safetensors" if target is None else f"topology-{target}.safetensors"


def config_from_json(values: Mapping[str, Any]) -> TrainConfig:
    """Return the settings of any run; only those of a pruning run have a scope.

    Raises:
        InvalidSpecError: a key is not a setting, or a value is not allowed.
    """
    return (PruneConfig if "scope" in values else TrainConfig).from_json(values)
