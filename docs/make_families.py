"""Write docs/families: a page and a picture for each family of topologies, and the list of them.

python docs/make_families.py            # write what changed
python docs/make_families.py --check    # write nothing, only say what the code would make differently now

Needs matplotlib. Takes some seconds.
"""

from __future__ import annotations

import argparse
import re
import sys
from decimal import Decimal
from pathlib import Path

from family_page import example, page, picture, prose, sections, table

from topokit.families import FAMILIES

FOLDER = Path(__file__).parent / "families"
NUMBER = r"\d+(?:\.\d+)?(?:e[-+]?\d+)?"


def made() -> dict[str, str]:
    """Every file of the folder by its name, as the code makes it now.

    Raises:
        ValueError: a family's docstring lacks something.
    """
    files, rows = {}, []
    for name in FAMILIES:
        family = FAMILIES[name]
        try:
            definition = sections(family.__doc__)[""]
            code, net = example(family)
            files[f"{name}.md"] = page(family, code, net)
        except ValueError as error:
            raise ValueError(f"{family.__name__}: {error}") from error
        files[f"images/{name}.svg"] = picture(net)
        thumbnail = f'[<img src="images/{name}.svg" width="240" alt="{net.summary()}">]({name}.md)'
        rows.append((thumbnail, f"**[{name}]({name}.md)**<br>{prose(definition.splitlines()[0])}"))
    files["README.md"] = "\n\n".join(
        [
            "<!-- Made by docs/make_families.py. -->",
            "# Families of topologies",
            "Each page has the definition, a picture, the proof of what is promised, an example with its degrees and "
            "what the checks say of it, the options and the source.",
            table(("example", "family"), rows) + "\n",
        ]
    )
    return files


def stale(files: dict[str, str]) -> list[str]:
    """The names in the folder that are missing, differ from `files`, or are not among them."""
    there = {str(path.relative_to(FOLDER).as_posix()) for path in FOLDER.rglob("*") if path.is_file()}
    return sorted(
        name
        for name in there | files.keys()
        if name not in there & files.keys() or not is_same((FOLDER / name).read_text("utf-8"), files[name])
    )


def is_same(old: str, new: str) -> bool:
    """Whether two files are equal up to rounding; of pictures, only those by the same matplotlib are compared.

    Processors differ in the last bits of a number, so at times in the last digit that is printed of it. Other releases
    of matplotlib round other digits. Packed bits are not compared, since other packers pack the same panel otherwise;
    what a panel shows is on the page too: the fingerprint.
    """
    old, new = (re.sub(r"base64,[^\"]*", "", text) for text in (old, new))
    releases = [re.search(r"Matplotlib v[\d.]+", text) for text in (old, new)]
    other = all(releases) and releases[0][0] != releases[1][0]  # type: ignore[index]
    numbers = (re.findall(NUMBER, text) for text in (old, new))
    return bool(other) or (
        re.sub(NUMBER, "#", old) == re.sub(NUMBER, "#", new)
        and all(one == two or _is_rounded(Decimal(one), Decimal(two)) for one, two in zip(*numbers, strict=True))
    )


def _is_rounded(one: Decimal, two: Decimal) -> bool:
    """Whether two decimal fractions differ by one in the last of at least four digits."""
    finer = min(one, two, key=lambda number: number.as_tuple().exponent)
    _, digits, last = finer.as_tuple()
    return len(digits) >= 4 and int(last) < 0 and abs(one - two) <= Decimal(1).scaleb(int(last))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    check = parser.parse_args().check
    try:
        files = made()
    except ValueError as error:
        sys.exit(f"make_families.py: {error}")
    names = stale(files)
    for name in names:
        print(f"{'out of date' if check else 'written' if name in files else 'removed'}: docs/families/{name}")
        path = FOLDER / name
        if check:
            continue
        if name in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[name], "utf-8")
        else:
            path.unlink()
    sys.exit(bool(check and names))


if __name__ == "__main__":
    main()
