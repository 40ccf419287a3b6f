"""Task: runs that one process does together, and the files that it writes in any case."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from threading import current_thread, main_thread

from topokit.errors import TopokitError
from topokit.formats import CHECKPOINT
from topokit_train.config import TrainConfig
from topokit_train.json_files import write_json
from topokit_train.runs.folder import START, RunFolder
from topokit_train.sweeps.folder import ERROR, MOST_STARTS, RUN, SweepFolder, count_start
from topokit_train.sweeps.planned import Planned

LARGEST_STACK = 16  # networks in one program; more are slower, by network, than so many
LOG = "log.txt"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)

Held = tuple[Planned, RunFolder]


class DiskError(TopokitError):
    """The disk is full or read-only, so no run counts as failed."""


@dataclass(frozen=True)
class Task:
    """Runs that one process does together: a stack of seeds, or a single run."""

    runs: tuple[Planned, ...]
    folder: SweepFolder

    def __call__(self) -> None:
        """Start or continue the runs; the error of a run is written into its folder.

        Raises:
            DiskError: a full disk.
            RunBusyError: another process does one of them.
        """
        import topokit_train.runs.train  # noqa: F401  # a process that dies while it loads torch has started no run

        try:
            with ExitStack() as held:
                self._do([(run, folder) for run, folder in self._hold(held) if _begin(run, folder.path)])
        except Exception as error:
            _require_disk(error, self.folder.path)
            raise

    def _hold(self, held: ExitStack) -> list[Held]:
        """Lock the folders of the runs that have not ended, until `held` is closed; return both."""
        folders: dict[str, RunFolder] = {}
        for name in sorted(run.name for run in self.runs):  # in one order, so that two programs do not deadlock
            if not self.folder.state(name).ended:
                self.folder.run(name).mkdir(exist_ok=True)
                folders[name] = held.enter_context(RunFolder(self.folder.run(name), name))
        left = [run for run in self.runs if run.name in folders]
        return [(run, folders[run.name]) for run in left if not self.folder.state(run.name).ended]

    def _do(self, held: Sequence[Held]) -> None:
        """Do runs together; after an error, do each that has not ended alone, to find the ones that fail."""
        failure = None  # as text, because the exception would keep networks in memory
        try:
            self._train(held)
        except Exception as error:
            _require_disk(error, self.folder.path)
            failure = _failure(error)
        if failure and len(held) > 1:
            for run, folder in held:
                if not self.folder.state(run.name).ended:
                    self._do([(run, folder)])
        elif failure:
            write_json(held[0][1].path / ERROR, failure)

    def _train(self, held: Sequence[Held]) -> None:
        from topokit_train.runs.train import common, train_all

        kinds: dict[TrainConfig, list[tuple[Planned, TrainConfig, RunFolder]]] = {}
        for run, folder in held:
            folder.remove(START)  # the run's name already determines its start
            config = _as_started(run.config, folder.path)
            kinds.setdefault(common(config), []).append((run, config, folder))
        for together in kinds.values():  # one, unless files of one content have several names
            runs, configs, folders = zip(*together, strict=True)
            with _logged(folders[0].path / LOG):
                runs[0].require_data()
                nets = [net for one in runs[0].topologies for net in one.open(self.folder.runs)]
                train_all(configs, nets or None, folders, resume=True)


def tasks_of(runs: Sequence[Planned], folder: SweepFolder) -> list[Task]:
    """Return the tasks for these runs; runs that differ only in their seeds are together."""
    stacks: dict[str, list[Planned]] = {}
    place = SweepFolder(folder.path.resolve(), make=False)  # a worker may have another working directory
    for run in runs:
        stacks.setdefault(run.stack, []).append(run)
    return [
        Task(tuple(stack[start : start + LARGEST_STACK]), place)
        for stack in stacks.values()
        for start in range(0, len(stack), LARGEST_STACK)
    ]


def _begin(run: Planned, folder: Path) -> bool:
    """Count the start of a run that this process has locked; return false after too many."""
    if not (folder / RUN).exists():
        write_json(folder / RUN, run.identity)
    if count_start(folder) <= MOST_STARTS:
        return True
    died = f"its process died {MOST_STARTS} times without an epoch's progress: killed, or out of memory"
    write_json(folder / ERROR, _failure(TopokitError(died)))
    return False


def _failure(error: Exception) -> dict[str, str]:
    """The contents of error.json."""
    return {"type": type(error).__name__, "message": str(error)}


def _as_started(config: TrainConfig, folder: Path) -> TrainConfig:
    """The settings with the device, threads and file names of the run's checkpoint, with which it must continue."""
    from topokit_train.runs.checkpoints import load

    path = folder / CHECKPOINT
    if not path.exists():
        return config
    started = load(path).origin.config
    return replace(config, device=started.device, threads=started.threads, weights=started.weights)


@contextmanager
def _logged(log: Path) -> Iterator[None]:
    """Send stderr to the log of a run, unless threads share the process (Dask), and with it stderr."""
    if current_thread() is not main_thread():
        yield
        return
    with log.open("a", encoding="utf-8") as file, redirect_stderr(file):
        yield


def _require_disk(error: BaseException, place: Path) -> None:
    """Raise a DiskError if a full disk caused the error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in FULL:
            raise DiskError(
                f"cannot write into {place} ({cause.strerror}); nothing is lost: make room, and run the same command "
                "again"
            ) from None
        cause = cause.__cause__ or cause.__context__  # `from None` hides the cause of some errors
