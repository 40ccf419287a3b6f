"""text:FILE, the characters of a text file as next-token data."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from topokit.csr import require_memory
from topokit.errors import FileFormatError, InvalidSpecError, reading
from topokit.reprs import counted
from topokit_train.datasets import Dataset

BLOCK = 64
TEST = 10  # the last tenth of the characters


def load(place: str, _data_dir: Path | None) -> Dataset:
    """Cut the text of a file into blocks of characters; the target of a character is the one after it.

    Networks train on the first 90 % of the characters and are tested on the last 10 %. A sample is a block; blocks do
    not overlap, so an epoch uses each character once. The vocabulary is the sorted set of all characters of the text.

    Args:
        place: FILE, in UTF-8, or FILE block=N with N characters in a block, 64 by default.

    Raises:
        FileFormatError: the text is not UTF-8, or too short.
        InvalidSpecError: N is not a positive integer.
        TopokitError: the file cannot be read.
    """
    found = re.fullmatch(r"(.*?)(?:\s+block=(\S*))?", place, re.DOTALL)
    assert found is not None  # any text is a path
    path, given = Path(found[1]).expanduser(), found[2] or str(BLOCK)
    if place[:1] in ("'", '"'):
        raise InvalidSpecError(f"the dataset text:{place}: leave out the quotes around the file, also if it has blanks")
    if not re.fullmatch(r"[1-9]\d{0,8}", given, re.ASCII):
        raise InvalidSpecError(f"the dataset text:{place}: block must be a positive number of characters, not {given}")
    block = int(given)
    try:
        with reading(path):
            require_memory(32 * path.stat().st_size, f"the text {path}")
            text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is not a text in UTF-8 ({error.reason} at byte {error.start})") from None
    if len(text) // TEST <= block:
        raise FileFormatError(
            f"{path} has {counted(len(text), 'character')}, too few for blocks of {block}: give at least "
            f"{TEST * (block + 1):,}, or a smaller block"
        )
    vocabulary, tokens = np.unique(np.array([text]).view(np.uint32), return_inverse=True)
    tokens = tokens.astype(np.int32)
    train, test = (_blocks(part, block) for part in np.split(tokens, [len(tokens) - len(tokens) // TEST]))
    return Dataset(f"text:{place}", *train, *test, task="next-token", classes=len(vocabulary))


def _blocks(tokens: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the blocks of tokens and the blocks of the tokens after them, each of shape (blocks, block)."""
    end = (len(tokens) - 1) // block * block
    return tokens[:end].reshape(-1, block), tokens[1 : end + 1].reshape(-1, block)
