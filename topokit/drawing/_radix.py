"""The RadiX-Net behind a network, for the pictures of how RadiX-Nets are made."""

from __future__ import annotations

from typing import Any

from topokit.drawing._captions import origin
from topokit.errors import InvalidSpecError, OutsideRecipeError
from topokit.families.radix_net import RadixNet
from topokit.layered import Layered
from topokit.recipes import from_recipe
from topokit.spec import Spec


def radix_net_of(net: Layered) -> tuple[RadixNet, tuple[str, ...]]:
    """The RadiX-Net that a network's recipe starts from, and a line that says what was done to it later.

    Raises:
        InvalidSpecError: the recipe does not start from a RadiX-Net, or there is none.
    """
    recipe, transforms = origin(net.recipe)
    spec = _made_from(recipe)
    if not isinstance(spec, RadixNet):
        raise InvalidSpecError(
            "these are the steps of a RadiX-Net, and this network's recipe starts from none: "
            "take a network that was built from radices"
        )
    if not transforms:
        return spec, ()
    return spec, (f"Done to it afterwards, and not shown: {', '.join(reversed(transforms))}.",)


def _made_from(recipe: Any) -> Spec | None:
    try:
        return None if recipe is None else from_recipe(recipe)
    except OutsideRecipeError:
        return None
