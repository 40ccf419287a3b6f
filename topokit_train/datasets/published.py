"""Published files, known by their checksums: verified where they are found, else downloaded into the cache."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten

from topokit.errors import FileFormatError, TopokitError, needing

GZIP_MAGIC = b"\x1f\x8b"


def require_published(path: Path, known: str, name: str, advice: str, *, unpack: bool = False) -> None:
    """Refuse a file that is not the published one. Reads all of it.

    Args:
        path: the file.
        known: MD5 of what it must be, as hexadecimal digits.
        name: the dataset's.
        advice: what to do else.
        unpack: whether `known` is of the unpacked bytes; the file may be gzipped or plain.

    Raises:
        FileFormatError: its MD5 is another one, or it is damaged.
    """
    with path.open("rb") as raw:
        packed = unpack and raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        try:
            file = gzip.GzipFile(fileobj=raw) if packed else raw
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise FileFormatError(f"{path} is a damaged gzip file: {error}") from None
    if found != known:
        which = "the MD5 of its unpacked bytes" if packed else "its MD5"
        raise FileFormatError(f"{path} is not the published file of {name}: {which} is {found}, not {known}. {advice}")


def retrieve(
    name: str,
    file: str,
    md5: str,
    *,
    mirrors: Sequence[str],
    folders: Sequence[Path],
    needs: Sequence[str],
    members: Sequence[str] | None = None,
) -> list[Path]:
    """A file from the cache, or downloaded into it; pooch verifies the checksum in both cases.

    Args:
        name: the dataset's, and of its folder in the cache.
        file: its name, in the cache and on the mirrors.
        md5: of the file, as hexadecimal digits.
        mirrors: addresses of folders that hold it, the first to ask first.
        folders: where it was looked for, for the message.
        needs: all files of the dataset, for the message.
        members: what to unpack from the file, a tar archive, beside it in the cache; None to leave it as it is.

    Returns:
        The file's path, or those of its members in any order.

    Raises:
        MissingDependencyError: pooch is not installed.
        TopokitError: no mirror has it; the message says where to put it.
    """
    with needing(f"downloading {name}"):
        import pooch
    cache = Path(pooch.os_cache("topokit")) / name
    unpack = pooch.Untar(members=list(members)) if members else None
    failure: Exception | None = None
    for mirror in mirrors:
        try:
            paths = pooch.retrieve(mirror + file, f"md5:{md5}", fname=file, path=cache, processor=unpack)
        except (OSError, ValueError) as error:  # no network, no such file; another checksum
            failure = error
        else:
            return [Path(path) for path in (paths if members else [paths])]
    raise TopokitError(
        f"{name} needs {', '.join(needs)}: {file} is not in {', '.join(map(str, [*folders, cache]))}, and could not "
        f"be downloaded ({shorten(str(failure), 120)}). "
        "Put the files into a folder and name it by `data_dir` or TOPOKIT_DATA_DIR"
    )
