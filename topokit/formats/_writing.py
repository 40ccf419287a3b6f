"""Writing all or nothing: under another name in the same folder, and renamed when all is on the disk."""

from __future__ import annotations

import math
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EEXIST, ENOTEMPTY, EROFS
from pathlib import Path

from topokit.errors import InvalidSpecError, OutputExistsError, TopokitError, no_folder


@contextmanager
def replacing(path: str | Path, *, force: bool, folder_of: str | None = None) -> Iterator[Path]:
    """Give a new name to write to; what stands there at the end becomes `path`.

    Whatever goes wrong meanwhile, Ctrl-C included, nothing half-written is left and what stood at `path`
    before is untouched. Of several that make `path` at the same time without `force`, one does, wherever the file
    system has hard links. Folders above `path` are never created.

    Args:
        path: the file or folder to make.
        force: take the place of what stands there.
        folder_of: suffix of the files of a folder that is to be made (".tsv"); None for a single file.

    Raises:
        OutputExistsError: `path` exists and `force` is not set, or is nothing that may be replaced.
        TopokitError: the disk is full, the folder above does not exist or may not be written to.
    """
    target = Path(os.path.realpath(path))
    temporary = _beside(target)
    try:
        _require_free(path, target, force, folder_of)
        if folder_of:
            temporary.mkdir()
        yield temporary
        _flush_to_disk(temporary)
        _require_free(path, target, force, folder_of)
        if force:
            _replace(temporary, target)
        else:
            _place(path, temporary, target)
    except TopokitError:
        raise
    except OSError as error:
        free = "" if isinstance(error, PermissionError) or error.errno == EROFS else "free some space there, or "
        raise TopokitError(f"cannot write {path}: {error.strerror or error}: {free}choose another place") from error
    finally:
        _remove(temporary)


def require_disk(path: str | Path, size: int) -> None:
    """Refuse a file that cannot fit on its disk, before anything is written.

    Raises:
        TopokitError: it needs `size` bytes, and fewer are free.
    """
    if size > (free := free_bytes(path)) and (Path(path).is_file() or not Path(path).exists()):
        sizes = f"{size / 2**30:,.1f} GiB and {free / 2**30:,.1f} GiB are free on its disk"
        raise TopokitError(f"{path} needs {sizes}: choose another disk, or a smaller network")


def free_bytes(path: str | Path) -> float:
    """Return the free space on the disk of a file that is to be written; infinity if its folder does not exist."""
    folder = Path(os.path.realpath(path)).parent
    return shutil.disk_usage(folder).free if folder.is_dir() else math.inf


def _beside(target: Path) -> Path:
    return target.with_name(f".topokit-{secrets.token_hex(8)}.part")


def _require_free(path: str | Path, target: Path, force: bool, folder_of: str | None) -> None:
    if not folder_of and os.fspath(path).endswith(os.sep):
        raise InvalidSpecError(f"{path} is the name of a folder: give that of a file")
    if not target.parent.is_dir():
        raise no_folder(Path(path))
    if not target.exists():
        return
    if folder_of and target.is_dir():
        entries = sorted(target.iterdir())
        foreign = [entry.name for entry in entries if entry.suffix != folder_of or not entry.is_file()]
        if foreign:
            raise OutputExistsError(f"{path} holds more than {folder_of} files ({foreign[0]}): choose another folder")
        if not entries:
            return
    elif folder_of or not target.is_file():
        raise OutputExistsError(f"{path} exists and is no {'folder' if folder_of else 'file'}: choose another name")
    if not force:
        raise _exists(path)


def _exists(path: str | Path) -> OutputExistsError:
    return OutputExistsError(f"{path} exists: choose another name, or replace it with `force`")


def _flush_to_disk(temporary: Path) -> None:
    for path in temporary.iterdir() if temporary.is_dir() else [temporary]:
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _place(path: str | Path, temporary: Path, target: Path) -> None:
    """Put what was written where nothing stands, or an empty folder; others may do the same meanwhile.

    Raises:
        OutputExistsError: another one was faster.
    """
    try:
        if temporary.is_dir():
            temporary.rename(target)  # which takes the place of an empty folder, and of no other
        else:
            _link(temporary, target)
    except OSError as error:
        if error.errno in (EEXIST, ENOTEMPTY):
            raise _exists(path) from error
        raise


def _link(temporary: Path, target: Path) -> None:
    """Give a file its name, unless the name is taken: a rename would not ask. The other name is removed later."""
    try:
        target.hardlink_to(temporary)
    except FileExistsError:
        raise
    except OSError:  # this file system has no hard links, or a rename fails as well and says why
        temporary.replace(target)


def _replace(temporary: Path, target: Path) -> None:
    if not target.is_dir():
        temporary.replace(target)
        return
    old = _beside(target)  # a folder cannot take the place of another one in a single step
    try:
        target.rename(old)
        temporary.rename(target)
    except BaseException:
        if target.exists():
            _remove(old)
        else:
            old.rename(target)
        raise
    _remove(old)  # where this fails the new folder is in place all the same


def _remove(temporary: Path) -> None:
    if temporary.is_dir():
        with suppress(OSError):
            temporary.chmod(0o700)  # what was replaced may be read-only
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        with suppress(OSError):  # the user must see the first error
            temporary.unlink()
