"""Which weights are edges: a given mask, all that are not 0, all above a threshold, or the largest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.convolutions import Mask
from topokit.csr import require_memory
from topokit.errors import InvalidGraphError, InvalidSpecError
from topokit.extraction.weights import Part
from topokit.masking import checked_masks
from topokit.spec import numbers

SCOPES = ("layer", "global")
NAMED = ("mask", "nonzero")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Which weights are edges. Where nothing is said: a layer's given mask, or else its weights other than 0.

    Args:
        name: "mask" takes given masks only, "nonzero" looks at the weights even where there is a mask.
        above: keep the weights w with |w| > above.
        keep: keep this share of the weights, the largest by |w|; of equal ones those that come first, by layer,
            then output, then input. A weight of 0 is never kept, so there may be fewer.
        scope: the share is of each "layer", or "global", of all layers together.

    Raises:
        InvalidSpecError: more than one rule, or a number that is out of range.
    """

    name: str | None = None
    above: float | None = None
    keep: Fraction | float | str | None = None
    scope: str = "layer"

    def __post_init__(self) -> None:
        given = [name for name in ("name", "above", "keep") if getattr(self, name) is not None]
        if len(given) > 1:
            said = " and ".join(f"`{'rule' if name == 'name' else name}`" for name in given)
            raise InvalidSpecError(f"{said} are two rules: give one")
        if self.name is not None and self.name not in NAMED:
            raise InvalidSpecError(f"no rule named {self.name}: known are {' and '.join(NAMED)}")
        if self.scope not in SCOPES:
            raise InvalidSpecError(f"the scope must be {' or '.join(SCOPES)}, not {self.scope}")
        if self.scope == "global" and self.keep is None:
            raise InvalidSpecError("`scope` global is for `keep` only: give a share to keep")
        if self.above is not None and not 0 <= self.above < math.inf:
            raise InvalidSpecError(f"`above` must be a number of at least 0, not {self.above:g}")
        if self.keep is not None:
            (share,) = numbers(self.keep, "`keep`", 1)
            if not 0 < share < 1:
                advice = "leave it out to take all weights other than 0" if share == 1 else "such as .1"
                raise InvalidSpecError(f"`keep` must be more than 0 and less than 1, not {self.keep}: {advice}")
            object.__setattr__(self, "keep", share)

    def said(self) -> dict[str, Any]:
        """The rule as JSON-able values, for a recipe."""
        if self.above is not None:
            return {"rule": "above", "above": self.above}
        if self.keep is not None:
            return {"rule": "keep", "keep": str(self.keep), "scope": self.scope}
        return {"rule": self.name or "mask, else nonzero"}

    def of(self, part: Part) -> str:
        """The rule that this one means for a part: mask, nonzero, above or keep."""
        if self.name is None and self.above is None and self.keep is None:
            return "mask" if part.mask else "nonzero"
        return self.name or str(self.said()["rule"])


def kept(parts: Mapping[str, Part], rule: Rule) -> dict[str, Mask]:
    """The mask of each layer that a rule gives.

    Args:
        parts: parameter name -> weights, the chosen layers in order.
        rule: which weights are edges.

    Raises:
        InvalidGraphError: names the layer that has weights that are no numbers, no mask where one is asked for, a
            mask of other values than 0 and 1, or, unless a mask says so, no weight left.
        TooLargeError: not enough free memory.

    Cost: O(weights) time; 9 bytes a weight and another 16 of the largest layer, or of all with the scope "global".
    """
    sizes = [math.prod(part.shape) for part in parts.values()]
    require_memory(9 * sum(sizes) + 16 * (sum(sizes) if rule.scope == "global" else max(sizes)), "extraction")
    if rule.keep is not None and rule.scope == "global":
        masks = _largest_share({name: _magnitudes(name, part) for name, part in parts.items()}, Fraction(rule.keep))
    else:
        masks = {name: _one(name, part, rule) for name, part in parts.items()}
    for name, part in parts.items():
        if rule.of(part) != "mask" and not masks[name].any():
            raise InvalidGraphError(_emptied(name, part, rule))
    return masks


def _one(name: str, part: Part, rule: Rule) -> Mask:
    found = rule.of(part)
    if found == "mask":
        if part.mask is None:
            raise InvalidGraphError(f"{name} has no mask: leave out `rule` mask to take its weights other than 0")
        if part.weight is not None:
            _magnitudes(name, part)
        return checked_masks({name: part.mask()})[name]
    magnitudes = _magnitudes(name, part)
    if rule.keep is not None:
        return _largest_share({name: magnitudes}, Fraction(rule.keep))[name]
    return np.asarray(magnitudes > (rule.above or 0.0))


def _magnitudes(name: str, part: Part) -> NDArray[np.float64]:
    """|w| of each weight, refused if one is not a number. float64, so that a threshold means what it says."""
    if part.weight is None:
        raise InvalidGraphError(f"of {name} there is only a mask, and no weights: take `rule` mask")
    weight = part.weight()
    if weight.dtype.kind not in "biuf":
        raise InvalidGraphError(f"{name} holds {weight.dtype} values; weights must be real numbers")
    magnitudes: NDArray[np.float64] = np.abs(weight.astype(np.float64))
    require_numbers(name, magnitudes)
    return magnitudes


def require_numbers(name: str, weights: NDArray[Any]) -> None:
    """Refuse weights of which some are not a number.

    Raises:
        InvalidGraphError: names the first of them.
    """
    missing = np.isnan(weights)
    if missing.any():
        at = ", ".join(str(place) for place in np.argwhere(missing)[0])
        count = int(missing.sum())
        are = "a weight that is" if count == 1 else f"{count:,} weights that are"
        raise InvalidGraphError(
            f"{name} holds {are} not a number (NaN), the first at [{at}]: take a checkpoint from before the training "
            "went wrong"
        )


def largest(magnitudes: NDArray[Any], count: int) -> Mask:
    """Return a mask of the `count` largest of some numbers; of equal ones the first. O(numbers)."""
    if count == 0:
        return np.zeros(magnitudes.size, np.bool_)
    least = np.partition(magnitudes, magnitudes.size - count)[magnitudes.size - count]
    chosen: Mask = magnitudes > least
    chosen[np.flatnonzero(magnitudes == least)[: count - int(chosen.sum())]] = True
    return chosen


def _largest_share(layers: Mapping[str, NDArray[np.float64]], share: Fraction) -> dict[str, Mask]:
    """The largest numbers of all layers together, round(share * how many there are), and none that is 0."""
    flat = np.concatenate([magnitudes.ravel() for magnitudes in layers.values()])
    chosen = largest(flat, min(round(share * flat.size), int(np.count_nonzero(flat))))
    ends = np.cumsum([magnitudes.size for magnitudes in layers.values()])[:-1]
    parts = np.split(chosen, ends)
    return {name: mask.reshape(layers[name].shape) for name, mask in zip(layers, parts, strict=True)}


def _emptied(name: str, part: Part, rule: Rule) -> str:
    largest = float(_magnitudes(name, part).max())
    total = f"none of the {math.prod(part.shape):,} weights of {name}"
    if largest == 0:
        return f"{total} is other than 0: leave the layer out with `layers`"
    if rule.above is not None:
        return f"`above` {rule.above:g} keeps {total}, of which the largest is {largest:g}: give a smaller number"
    advice = "a larger share, or `scope` layer" if rule.scope == "global" else "a larger share"
    return f"`keep` {float(Fraction(rule.keep or 0)):g} keeps {total}: give {advice}"
