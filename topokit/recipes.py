"""Recipes: from the record of how a network was made back to the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from reprlib import repr as shortened
from typing import Any, TypeGuard

from topokit.errors import InvalidSpecError, OutsideRecipeError
from topokit.families import FAMILIES
from topokit.spec import Spec, options_of
from topokit.transforms import TRANSFORMS

KINDS = {"family": FAMILIES, "transform": TRANSFORMS}
"""The kinds of recipes that can be carried out, and the classes of each by name."""

OUTSIDE = "extraction"
"""The kind of a recipe that says from which file of weights a topology was taken; see topokit.extraction."""

IN_MEMORY = {"module": "a module", "arrays": "arrays"}
"""Kinds of extractions without a file."""

MAX_NESTING = 64
MAX_BITS = 1000


def from_recipe(recipe: Mapping[str, Any]) -> Spec:
    """Return the network that a recipe describes. O(size of the recipe): no layer is computed.

    A recipe may come from an untrusted file: any mistake in it is an InvalidSpecError.

    Args:
        recipe: {"family": name, "options": {...}}, or {"transform": name, "options": {...}} with a recipe, or
            a list of recipes, where the transform's option is a network.

    Raises:
        OutsideRecipeError: it is sound, but begins with a file of weights, which nothing here can make.
        InvalidSpecError: what is wrong with it.

    >>> from_recipe({"family": "radix-net", "options": {"radices": [[2, 2, 2]], "kron": [10, 10]}}).widths
    (8, 80, 80, 8)
    """
    _require_modest(recipe)
    return _spec(recipe)


def origin(recipe: Any) -> tuple[Any, list[str]]:
    """Return the recipe that the transforms of one network started from, and the transforms' names, last one first.

    A recipe from a file may hold anything, so nothing but its form is read.
    """
    transforms = []
    while isinstance(recipe, Mapping) and "transform" in recipe:
        options = recipe.get("options")
        if not isinstance(options, Mapping) or not isinstance(options.get("of"), Mapping):
            break
        transforms.append(str(recipe["transform"]))
        recipe = options["of"]
    return recipe, transforms


def extraction_of(recipe: Any) -> Mapping[str, Any]:
    """Return the options of the extraction that a recipe starts from; empty if it starts from none or is malformed."""
    first, _ = origin(recipe)
    options = first.get("options") if isinstance(first, Mapping) and OUTSIDE in first else None
    return options if isinstance(options, Mapping) else {}


def family_of(recipe: Any) -> str | None:
    """Return the family that a recipe starts from, None if it has none."""
    first, _ = origin(recipe)
    return str(first["family"]) if isinstance(first, Mapping) and "family" in first else None


def _spec(recipe: object) -> Spec:
    if not isinstance(recipe, Mapping):
        raise InvalidSpecError(f"a recipe must be a JSON object, not {type(recipe).__name__}")
    if OUTSIDE in recipe:
        raise _from_outside(recipe)
    kinds = [kind for kind in KINDS if kind in recipe]
    if len(kinds) != 1 or set(recipe) != {kinds[0], "options"}:
        raise InvalidSpecError('a recipe holds "family" or "transform", and "options", and nothing else')
    name, given = recipe[kinds[0]], recipe["options"]
    if not isinstance(name, str) or not isinstance(given, Mapping):
        raise InvalidSpecError(f"in a recipe the {kinds[0]} must be a name, and the options a JSON object")
    make = KINDS[kinds[0]][name]
    fields = options_of(make)
    unknown = [key for key in given if key not in fields]
    if unknown:
        raise InvalidSpecError(f"the recipe gives {name} an option {shortened(unknown[0])}; it has {', '.join(fields)}")
    spec: Spec = make(**{key: _value(fields[key].metadata["kind"], value) for key, value in given.items()})
    return spec


def _from_outside(recipe: Mapping[str, Any]) -> InvalidSpecError:
    options = recipe.get("options")
    if recipe.keys() == {OUTSIDE, "options"} and recipe[OUTSIDE] in IN_MEMORY and isinstance(options, Mapping):
        return OutsideRecipeError(f"it was extracted from {IN_MEMORY[recipe[OUTSIDE]]} in memory")
    file, digest = (options.get(key) if isinstance(options, Mapping) else None for key in ("file", "sha256"))
    if set(recipe) != {OUTSIDE, "options"} or not isinstance(file, str) or not _is_digest(digest):
        return InvalidSpecError(f'a recipe of an {OUTSIDE} holds the "file" and its "sha256" among its "options"')
    return OutsideRecipeError(f"it was extracted from {shortened(file)} (SHA-256 {digest[:12]}...)")


def _is_digest(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")


def _value(kind: str, value: object) -> object:
    if kind == "net":
        return _spec(value)
    if kind == "nets":  # never a text, which would be read as the name of a file
        return tuple(map(_spec, value if isinstance(value, Sequence) and not isinstance(value, str) else [value]))
    return value


def _require_modest(recipe: object) -> None:
    """Refuse what would exhaust Python's recursion or its integers instead of being a bad recipe."""
    level = [recipe]
    for _ in range(MAX_NESTING):
        level = [part for value in level for part in _parts(value)]
        if not level:
            return
    raise InvalidSpecError(f"a recipe must not be nested more than {MAX_NESTING} deep")


def _parts(value: object) -> Sequence[object]:
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise InvalidSpecError(f"a recipe's integers must be below 2^{MAX_BITS}")
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list | tuple) else ()
