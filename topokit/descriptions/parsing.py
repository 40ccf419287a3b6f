"""From texts and recipes to Descriptions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, replace
from pathlib import Path
from typing import Any

from topokit._registry import near, nearest
from topokit.descriptions._values import REPEATED, from_text
from topokit.descriptions._words import Word, error_at, quoted, split
from topokit.descriptions.description import AFTER_FILE, AROUND, DENSE, Description, fields_of, kind_of
from topokit.errors import InvalidSpecError
from topokit.families import FAMILIES
from topokit.formats import FORMATS
from topokit.layered import Recipe
from topokit.recipes import from_recipe
from topokit.spec import option
from topokit.transforms import TRANSFORMS

PRUNED = "pruned"
_PATTERN = re.compile(r"\s*[\w.*?]*\s*[:=]?\s*([\w-]*)(?!\S)", re.ASCII)
"""A word, and perhaps the name of a family."""

_GLUED = re.compile(r"([\w-]+)[(:,]", re.ASCII)
"""A name with options in the form of another language: butterfly(nodes=8), butterfly:nodes=8."""

PRUNED_FIELDS = {"sparsity": option("Sparsity that the run saves.", kind="numbers")}


def parse(text: str, folder: Path | str = "", *, pruned: bool = False) -> Description:
    """Read a description: NAME KEY=VALUE ... with the name of a family or a transform, or a file.

    If the first word is neither, and the whole text is an existing path, it is that file.

    Args:
        text: the description.
        folder: where files are looked for.
        pruned: whether the first word may be pruned=LABEL, as in a grid.

    Raises:
        InvalidSpecError: names what is wrong, the nearest word that is known, and the place in the text.

    >>> parse("radix-net radices=10,10 kron=8,3,1").options
    {'radices': ((10, 10),), 'kron': (8, 3, 1)}
    """
    first = (text.split(None, 1) or [""])[0]
    if text and not kind_of(first) and _exists(Path(folder, text)):
        return Description(kind="file", name=str(Path(folder, text)))
    words = split(text)
    if not words or not words[0].text:
        raise InvalidSpecError("an empty text describes no topology: give a file, or a family and its options")
    kind, name = _head(words, text, folder, pruned)
    if kind != "file" and len(words) == 1 and _exists(Path(folder, text)):
        raise error_at(f"{text} is a {kind}, and a file has that name too: write ./{text} for the file", text, 0)
    given = _given(words[1:], text, folder, name, declared_of(kind, name))
    around = {key: given.pop(key) for key in AFTER_FILE if key in given}
    try:
        return Description(kind=kind, name=name, options=given, **around)
    except InvalidSpecError as error:
        raise error_at(str(error), text, words[0].start) from None


def _head(words: Sequence[Word], text: str, folder: Path | str, pruned: bool) -> tuple[str, str]:
    word = words[0]
    known = kind_of(word.text)
    if known == (DENSE, DENSE):
        raise error_at("dense is a model without topologies, not a topology: use it alone", text, word.start)
    if known:
        return known
    label = word.text.removeprefix(f"{PRUNED}=")
    if label != word.text and pruned:
        return PRUNED, label
    path = Path(folder, word.text)
    if _exists(path):
        return "file", str(path)
    if label != word.text:
        raise error_at(f"{word.text} is of a run in the same grid, and has no use elsewhere", text, word.start)
    names = [*FAMILIES, *TRANSFORMS]
    found = _PATTERN.match(text)
    if text.rstrip().endswith(":") or (found and kind_of(found[1])):
        raise error_at("a pattern is followed by a colon and a blank, 'fc*: bernoulli density=.1'", text, word.start)
    glued = _GLUED.match(word.text)
    if glued and kind_of(glued[1]):
        form = f"'{glued[1]} key=value key=value'"
        raise error_at(f"{word.text!r} is not a name: write the options of {glued[1]} as {form}", text, word.start)
    hint = near(word.text, names)
    whole = Path(folder, "" if hint else _path_with_blanks(words, text))
    if whole != Path(folder):
        problem = f"there is no file {str(whole)!r}: give a file that exists"
        if _exists(whole):
            problem = f"a path with blanks and options needs quotes: write {quoted(str(whole))}"
        raise error_at(problem, text, word.start)
    advice = hint or ("give a file that exists" if "." in path.name else nearest(word.text, names))
    raise error_at(f"there is no file, family or transform {str(path)!r}: {advice}", text, word.start)


def _path_with_blanks(words: Sequence[Word], text: str) -> str:
    """Return the words before the options, if they are several and look like a path without its quotes; else ""."""
    end = next((word.start for word in words[1:] if "=" in word.text), len(text))
    whole = text[:end].strip()
    several = len(words) > 1 and words[1].start < end
    suffixes = [FORMATS[name].suffix for name in FORMATS]
    return whole if several and (os.sep in whole or Path(whole).suffix in suffixes) else ""


def declared_of(kind: str, name: str) -> dict[str, Any]:
    """Return the declared fields that may follow a family, a transform, a file or a pruning entry, by their keys."""
    if kind == PRUNED:
        return {**PRUNED_FIELDS, **{key: AROUND[key] for key in ("random_equivalent", "seed")}}
    return AFTER_FILE if kind == "file" else {**fields_of(kind, name), **AROUND}


def _given(
    words: Iterable[Word], text: str, folder: Path | str, name: str, declared: Mapping[str, Any]
) -> dict[str, Any]:
    """The values of KEY=VALUE words by their keys, typed by the declared fields."""
    given: dict[str, Any] = {}
    for word in words:
        written, equals, value = word.text.partition("=")
        key = written.replace("-", "_")
        if not equals:
            raise error_at(f"{word.text!r} is not KEY=VALUE", text, word.start)
        if key not in declared:
            hint = nearest(written, [one.replace("_", "-") for one in declared])
            raise error_at(f"{name} has no option {written!r}: {hint}", text, word.start)
        metadata = declared[key].metadata
        kind, repeated = metadata["kind"], metadata["kind"] in REPEATED
        if key in given and not repeated:
            raise error_at(f"{written} is given twice: give it once", text, word.start)
        try:
            read = None if kind in ("net", "nets") else from_text(metadata, value)
        except InvalidSpecError as error:
            raise error_at(f"{written}: {error}", text, word.start) from None
        read = parse(value, folder) if read is None else read
        given[key] = (*given.get(key, ()), read) if repeated else read
    return given


def split_pattern(text: str, folder: Path | str = "") -> tuple[str | None, str]:
    """Split 'PATTERN: DESCRIPTION' into the pattern and the description; the pattern is None if there is none.

    >>> split_pattern("fc*: bernoulli density=.1"), split_pattern("a:b.safetensors")
    (('fc*', 'bernoulli density=.1'), (None, 'a:b.safetensors'))
    """
    first, *rest = text.split(None, 1) or [""]
    quotes = first[:1] in ("'", '"')  # of a file's name with a colon and a space
    if not first.endswith(":") or first == ":" or quotes or not rest or _exists(Path(folder, text)):
        return None, text
    return first[:-1], rest[0]


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 (pathlib's raises if a name is too long)


def of_recipe(recipe: Recipe) -> Description:
    """Return the description of the network that a recipe makes.

    Raises:
        InvalidSpecError: the recipe is not valid, or begins with something that no text describes.
    """
    return _described(from_recipe(recipe).recipe)


def _described(recipe: Any) -> Description:
    kind = "family" if "family" in recipe else "transform"
    name, options = recipe[kind], dict(recipe["options"])
    seed = options.pop("seed", None)
    given: dict[str, Any] = {}
    for key, one in fields_of(kind, name).items():
        value = options.get(key)
        if value is None or (one.default is not MISSING and value == one.default):
            continue
        if key == "kron" and one.default is None and {*value} == {1}:  # the widths that a RadiX-Net has without it
            continue
        nested = one.metadata["kind"]
        given[key] = (
            _described(value) if nested == "net" else tuple(map(_described, value)) if nested == "nets" else value
        )
    if name == "crop" and not (given["of"].crop or given["of"].random_equivalent):
        of: Description = given["of"]
        return replace(of, crop=given["widths"], crop_keep=given.get("keep"))
    return Description(kind=kind, name=name, options=given, seed=seed)
