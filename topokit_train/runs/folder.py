"""RunFolder: the files of one training run, held by one process at a time."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain, count
from os.path import samestat
from pathlib import Path
from typing import Any

from topokit.errors import FileFormatError, OutputExistsError, TopokitError, no_folder
from topokit.formats import CHECKPOINT, replacing
from topokit_train.json_files import read_json, write_json
from topokit_train.metrics import Metrics

RUNS = Path("runs")
START = "start.safetensors"
CONFIG = "config.json"
METRICS = "metrics.jsonl"
RESULT = "result.json"
LOCK = ".lock"
TRIES, PAUSE = 10, 0.01  # to get a lock, and the seconds between them


class RunBusyError(TopokitError):
    """Another process trains in a run's folder."""


def is_held(lock: Path) -> bool:
    """Whether a process holds the folder of this lock file."""
    if not lock.exists():
        return False
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _lock(file: int) -> None:
    """Lock an open file; who only looks (`is_held`) has it for an instant too, so one try is not enough."""
    for tries_left in reversed(range(TRIES)):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not tries_left:
                raise
            time.sleep(PAUSE)
        else:
            return


def begun(folder: Path) -> Path:
    """Where it is recorded what a run was started with: in its checkpoint, before the first one in START."""
    start = folder / START  # beside a checkpoint: of a run that is replaced
    return start if start.exists() else folder / CHECKPOINT


class RunFolder:
    """A folder with config.json, metrics.jsonl (a line per epoch), checkpoint.safetensors and result.json.

    All that a run needs is in the checkpoint, before there is one in start.safetensors; the other files are for people
    and other programs, and are written anew from it when the run is continued. Inside `with`, no other process can use
    the folder: the lock is the operating system's (flock), so it ends with the process, however that ends.

    Args:
        path: the folder; made if missing, but not the folders above it. None makes runs/<name>, or
            runs/<name>-2 and so on where that exists.
        name: for a folder in runs/.

    Raises:
        TopokitError: another process uses the folder, or it cannot be made.
    """

    writes = True

    def __init__(self, path: Path | None, name: str):
        self.path, self._made = made_folder(path, name)
        self._lock = self._hold(name)
        for part in self.path.glob(".topokit-*.part"):  # of a process that was killed while it wrote
            part.unlink()

    def _hold(self, name: str) -> int:
        """The lock file, open and locked, of a folder that stays."""
        for _ in range(TRIES):
            lock = self._try_to_hold()
            if lock is not None:
                return lock
            time.sleep(PAUSE)  # who held the folder has removed it, as nothing came of its run
            self._made += made_folder(self.path, name)[1]
        raise TopokitError(f"cannot use {self.path} as a run's folder: no lock stays there; choose another `run`")

    def _try_to_hold(self) -> int | None:
        """The lock file, open and locked; None where it is no longer the one in the folder."""
        try:
            lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(self.path, error) from None
        try:
            _lock(lock)
        except OSError as error:
            os.close(lock)
            busy = isinstance(error, BlockingIOError)
            reason = "another process trains in it: wait for it" if busy else f"no lock ({error.strerror})"
            kind = RunBusyError if busy else TopokitError
            raise kind(f"cannot use {self.path} as a run's folder: {reason}, or choose another `run`") from None
        with suppress(FileNotFoundError):
            if samestat(os.fstat(lock), (self.path / LOCK).stat()):
                return lock
        os.close(lock)
        return None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        if self._made and not begun(self.path).exists():  # nothing came of it
            (self.path / LOCK).unlink(missing_ok=True)
            remove_empty(self._made)
        os.close(self._lock)

    @property
    def checkpoint(self) -> Path:
        """Where the checkpoint is, or will be."""
        return self.path / CHECKPOINT

    def settings(self) -> dict[str, Any]:
        """What config.json says; nothing where it is missing or damaged."""
        with suppress(FileFormatError):
            return read_json(self.path / CONFIG)
        return {}

    def require_free(self, *others: str) -> None:
        """Refuse to start a run over another one's files, or over what is not of a run.

        Args:
            others: names of more files that the run will write.

        Raises:
            OutputExistsError: names the file.
        """
        found = [name for name in (CHECKPOINT, START, CONFIG, METRICS, RESULT, *others) if (self.path / name).exists()]
        if found:
            advice = (
                "continue that run with `resume`, replace it with `force`"
                if found[0] in (CHECKPOINT, START)
                else "use `force`"
            )
            raise OutputExistsError(f"{self.path} holds {found[0]} already: {advice}, or choose another `run`")

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """Write config.json or result.json."""
        write_json(self.path / name, value)

    def write_metrics(self, history: Iterable[Metrics]) -> None:
        """Write metrics.jsonl anew."""
        with replacing(self.path / METRICS, force=True) as temporary:
            temporary.write_text("".join(map(_line, history)))

    def add_metrics(self, metrics: Metrics) -> None:
        """Add a line to metrics.jsonl."""
        with (self.path / METRICS).open("a") as file:
            file.write(_line(metrics))

    def remove(self, *names: str) -> None:
        """Remove the files of a run that is about to be replaced."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)


def made_folder(path: Path | None, name: str) -> tuple[Path, list[Path]]:
    """A folder for a run or for runs, and what was made for it.

    Args:
        path: the folder, made if missing, but not the folders above it; None makes runs/<name>, or runs/<name>-2 and
            so on where that exists.
        name: for a folder in runs/.

    Raises:
        TopokitError: it cannot be made.
    """
    try:
        if path is not None:
            return path, _make(path)
        made = _make(RUNS)
        numbered = (RUNS / f"{name}-{number}" for number in count(2))
        path = next(folder for folder in chain([RUNS / name], numbered) if _is_new(folder))
        return path, [*made, path]
    except OSError as error:
        raise _unusable(path or RUNS, error) from None


def _make(folder: Path) -> list[Path]:
    if folder.is_dir():
        return []
    folder.mkdir(exist_ok=True)
    return [folder]


def _is_new(folder: Path) -> bool:
    with suppress(FileExistsError):
        folder.mkdir()
        return True
    return False


def remove_empty(made: Sequence[Path]) -> None:
    """Remove the folders that `made_folder` made, as far as there is nothing in them."""
    for folder in reversed(made):
        with suppress(OSError):
            folder.rmdir()


def _unusable(path: Path, error: OSError) -> TopokitError:
    if isinstance(error, FileNotFoundError):
        return no_folder(path)
    return TopokitError(f"cannot use {path} as a run's folder ({error.strerror}): choose another `run`")


class FolderElsewhere(RunFolder):
    """The folder of a run that another process holds and writes: here it is only read.

    Args:
        path: the folder.
    """

    writes = False

    def __init__(self, path: Path):
        self.path = path


def _line(metrics: Metrics) -> str:
    return json.dumps(vars(metrics)) + "\n"
