"""Task: runs that one process does at once, and what is written of them whatever happens."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from threading import current_thread, main_thread

from topokit.errors import TopokitError
from topokit_train.config import TrainConfig
from topokit_train.runs.folder import CHECKPOINT, LOCK, RunBusyError, is_held
from topokit_train.sweeps.folder import ERROR, MOST_STARTS, RUN, SweepFolder, count_start, write_json
from topokit_train.sweeps.planned import Planned

LARGEST_STACK = 16  # networks in one program; more are slower, by network, than so many
LOG = "log.txt"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


class DiskError(TopokitError):
    """Nothing can be written; no fault of any run."""


@dataclass(frozen=True)
class Task:
    """Runs that one process does at once: a stack of seeds, or a single run."""

    runs: tuple[Planned, ...]
    folder: SweepFolder

    def __call__(self) -> None:
        """Do them, or go on with them; what goes wrong with a run is written into its folder.

        Raises:
            DiskError: a full disk.
            RunBusyError: another process does one of them.
        """
        from topokit_train.runs.train import train_all  # takes seconds, in which another program may take a run

        runs = [run for run in self.runs if not self.folder.state(run.name).ended]
        folders = [self.folder.run(run.name) for run in runs]
        if not runs:
            return
        try:
            for run, folder in zip(runs, folders, strict=True):
                _begin(run, folder)
            nets = [net for wiring in runs[0].wirings for net in wiring.open(self.folder.runs)]
            configs = [_as_begun(run.config, folder) for run, folder in zip(runs, folders, strict=True)]
            with _told_to(folders[0] / LOG):
                train_all(configs, nets, folders, resume=True)
        except (RunBusyError, DiskError):
            raise
        except Exception as error:
            _require_disk(error, self.folder.path)
            for folder in folders:
                folder.mkdir(exist_ok=True)
                write_json(folder / ERROR, {"type": type(error).__name__, "message": str(error)})


def tasks_of(runs: Sequence[Planned], folder: SweepFolder) -> list[Task]:
    """The tasks that do these runs: those that differ in their seeds only go together."""
    stacks: dict[str, list[Planned]] = {}
    place = SweepFolder(folder.path.resolve(), make=False)  # a worker may stand in another folder
    for run in runs:
        stacks.setdefault(run.stack, []).append(run)
    return [
        Task(tuple(stack[start : start + LARGEST_STACK]), place)
        for stack in stacks.values()
        for start in range(0, len(stack), LARGEST_STACK)
    ]


def _begin(run: Planned, folder: Path) -> None:
    if is_held(folder / LOCK):
        raise RunBusyError(f"another process does the run in {folder}")
    folder.mkdir(exist_ok=True)
    if not (folder / RUN).exists():
        write_json(folder / RUN, run.identity)
    if count_start(folder) > MOST_STARTS:
        raise TopokitError(
            f"its process died {MOST_STARTS} times without an epoch's progress: killed, or out of memory"
        )


def _as_begun(config: TrainConfig, folder: Path) -> TrainConfig:
    """The settings with the device, threads and names of files that a run was begun with, as it goes on with these."""
    from topokit_train.runs.checkpoints import load

    path = folder / CHECKPOINT
    if not path.exists():
        return config
    begun = load(path).origin.config
    return replace(config, device=begun.device, threads=begun.threads, weights=begun.weights)


@contextmanager
def _told_to(log: Path) -> Iterator[None]:
    """Send what a run says to its log; where threads share a process (Dask), stderr is not one run's alone."""
    if current_thread() is not main_thread():
        yield
        return
    with log.open("a", encoding="utf-8") as file, redirect_stderr(file):
        yield


def _require_disk(error: BaseException, place: Path) -> None:
    """Pass on that a disk is full, as what it is."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in FULL:
            raise DiskError(
                f"cannot write into {place} ({cause.strerror}); nothing is lost: make room, and run the same command "
                "again"
            ) from None
        cause = cause.__cause__
