"""Which weights are edges: those of a mask, all other than 0, all above a threshold, or the largest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.convolutions import Mask, shown
from topokit.csr import require_memory
from topokit.errors import InvalidGraphError, InvalidSpecError
from topokit.extraction.weights import Part
from topokit.fields import Bounds, checked, numbers, option
from topokit.masking import as_bools
from topokit.reprs import counted


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Which weights are edges. By default those of a layer's mask or, without a mask, the weights other than 0.

    Its fields are the options of `topokit extract`.

    Args:
        rule: "mask" takes masks only; "nonzero" takes the weights other than 0, even if there is a mask.
        above: keep the weights w with |w| > above.
        keep: keep this share of the weights, the largest by |w|; of equal ones the first by layer, output and input. A
            weight of 0 is never kept, so there may be fewer.
        scope: the share is of each "layer", or "global": of all layers together.

    Raises:
        InvalidSpecError: more than one rule, or a number that is out of range.
    """

    rule: str | None = option(
        "Weights that become edges: those that the masks keep, or those other than 0 [mask, if there are masks].",
        kind="choice",
        choices=("mask", "nonzero"),
        default=None,
    )
    above: float | None = option(
        "Threshold: a weight w becomes an edge if |w| > T.",
        kind="number",
        bounds=Bounds(0, math.inf, below=True),
        default=None,
    )
    keep: float | str | None = option(
        "Fraction of the weights that become edges: those of the largest magnitude.", kind="text", default=None
    )
    scope: str = option(
        "Scope of the share that is kept: each layer, or all layers together [layer].",
        kind="choice",
        choices=("layer", "global"),
        default="layer",
    )

    def __post_init__(self) -> None:
        rules = {"`rule`": self.rule, "`above`": self.above, "`keep`": self.keep}
        given = [rule for rule, value in rules.items() if value is not None]
        if len(given) > 1:
            raise InvalidSpecError(f"{' and '.join(given)} are two rules: give one")
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default and field.name != "keep":  # an exact number, read below
                object.__setattr__(self, field.name, checked(field.name, value, field.metadata))
        if self.scope == "global" and self.keep is None:
            raise InvalidSpecError("`scope` global is for `keep` only: give a share to keep")
        if self.keep is not None:
            (share,) = numbers(self.keep, "`keep`", 1)
            if not 0 < share < 1:
                raise InvalidSpecError(
                    f"`keep` must be more than 0 and less than 1, not {self.keep}: omit it to take all weights other "
                    "than 0"
                )
            object.__setattr__(self, "keep", share)

    def said(self) -> dict[str, Any]:
        """Return the rule as JSON-able values, for a recipe."""
        if self.above is not None:
            return {"rule": "above", "above": self.above}
        if self.keep is not None:
            return {"rule": "keep", "keep": str(self.keep), "scope": self.scope}
        return {"rule": self.rule or "mask, else nonzero"}

    def of(self, part: Part) -> str:
        """Return the rule that applies to a part: mask, nonzero, above or keep."""
        rule: str = self.said()["rule"]
        if rule == "mask, else nonzero":
            return "mask" if part.mask else "nonzero"
        return rule


def kept(parts: Mapping[str, Part], rule: Rule) -> Iterator[tuple[str, Mask]]:
    """Yield the mask of each layer by a rule, one after the other.

    Args:
        parts: parameter name -> weights, the chosen layers in order.
        rule: which weights are edges.

    Raises:
        InvalidGraphError: names the layer: it has weights that are not numbers, and the rule reads them; it lacks the
            mask that the rule takes; its mask has values other than 0 and 1; or a rule other than "mask" keeps none of
            its weights.
        TooLargeError: not enough free memory.

    Cost: O(weights) time; 25 bytes for each weight of the largest layer, or of all with the scope "global".
    """
    sizes = [math.prod(part.shape) for part in parts.values()]
    require_memory(25 * (sum(sizes) if rule.scope == "global" else max(sizes)), "extraction")
    everything = {}
    if rule.scope == "global":
        everything = _largest_share({name: magnitudes_of(name, part) for name, part in parts.items()}, rule)
    for name, part in parts.items():
        if 0 in part.shape:
            raise InvalidGraphError(f"{name} is {shown(part.shape)}, a layer without weights: remove it from the model")
        mask = everything[name] if everything else _kept_of(name, part, rule)
        if rule.of(part) != "mask" and not mask.any():
            largest = float(magnitudes_of(name, part).max(initial=0))
            raise InvalidGraphError(
                f"none of the {counted(math.prod(part.shape), 'weight')} of {name} is kept, of which the largest is "
                f"{largest:g}: choose a smaller `above` or a larger `keep`, or omit the layer from `layers`"
            )
        yield name, mask


def _kept_of(name: str, part: Part, rule: Rule) -> Mask:
    if rule.of(part) == "mask":
        if part.mask is None:
            raise InvalidGraphError(f"{name} has no mask: omit `rule` mask to take its weights other than 0")
        return as_bools(part.mask(), name)
    magnitudes = magnitudes_of(name, part)
    if rule.keep is not None:
        return _largest_share({name: magnitudes}, rule)[name]
    return np.asarray(magnitudes > (rule.above or 0.0))


def magnitudes_of(name: str, part: Part) -> NDArray[np.float64]:
    """Return |w| of each weight in float64, in which a threshold is compared exactly.

    Raises:
        InvalidGraphError: there are no weights, or some are not real numbers or are NaN.
    """
    if part.weight is None:
        raise InvalidGraphError(f"{name} has a mask, but no weights: choose `rule` mask")
    weight = part.weight()
    if weight.dtype.kind not in "biuf":
        raise InvalidGraphError(f"{name} has values of the type {weight.dtype}: weights must be real numbers")
    with np.errstate(invalid="ignore"):  # of signalling NaN, which is refused with all others
        magnitudes: NDArray[np.float64] = weight.astype(np.float64)
    np.abs(magnitudes, out=magnitudes)
    require_numbers(name, magnitudes)
    return magnitudes


def require_numbers(name: str, weights: NDArray[Any]) -> None:
    """Refuse weights with NaN.

    Raises:
        InvalidGraphError: names the first of them.
    """
    missing = np.isnan(weights)
    if missing.any():
        raise InvalidGraphError(
            f"{name} has NaN in {missing.sum():,} of its weights, the first at {np.argwhere(missing)[0].tolist()}: "
            "take a checkpoint from before the training diverged"
        )


def largest(magnitudes: NDArray[Any], count: int) -> Mask:
    """Return a mask of the `count` largest of some numbers; of equal ones the first. O(numbers)."""
    if count == 0:
        return np.zeros(magnitudes.size, np.bool_)
    least = np.partition(magnitudes, magnitudes.size - count)[magnitudes.size - count]
    chosen: Mask = magnitudes > least
    chosen[np.flatnonzero(magnitudes == least)[: count - int(chosen.sum())]] = True
    return chosen


def _largest_share(layers: Mapping[str, NDArray[np.float64]], rule: Rule) -> dict[str, Mask]:
    """Return the masks of the largest weights of some layers: the share of all that a rule keeps, but never a 0."""
    flat = np.concatenate([magnitudes.ravel() for magnitudes in layers.values()])
    chosen = largest(flat, min(round(Fraction(rule.keep or 0) * flat.size), int(np.count_nonzero(flat))))
    ends = np.cumsum([magnitudes.size for magnitudes in layers.values()])[:-1]
    parts = np.split(chosen, ends)
    return {name: mask.reshape(layers[name].shape) for name, mask in zip(layers, parts, strict=True)}
