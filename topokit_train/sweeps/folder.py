"""SweepFolder: the folder of a sweep's runs, and what became of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from enum import StrEnum
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from typing import Any

from topokit.errors import FileFormatError, TopokitError, no_folder
from topokit_train.json_files import read_json, write_json
from topokit_train.metrics import with_metric
from topokit_train.runs.folder import CHECKPOINT, CONFIG, LOCK, METRICS, RESULT, is_held
from topokit_train.sweeps.known import Known, spared
from topokit_train.sweeps.planned import Planned

KIND = "topokit.sweep"
SCHEMA = 1
ABOUT = "sweep.json"
RUNS = "runs"
TABLES = "tables"
RUN = "run.json"
ERROR = "error.json"
STARTS = "starts"
MOST_STARTS = 4  # of a run that gets no epoch further: each time its process is killed, or out of memory


class State(StrEnum):
    """What became of a run."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing more will become of it by itself."""
        return self in (State.FINISHED, State.FAILED)


class SweepFolder:
    """A folder with sweep.json, a folder runs/<hash> for each run, and tables/.

    A run's folder holds what `topokit train` writes there, run.json (what it is a run of), log.txt (of those that are
    trained together, one has it), and error.json if it failed. All that is known of a sweep is in these files, so any
    number of programs can work on one folder, and one that starts later goes on where others ended, however they ended.

    Args:
        path: the folder.
        make: make it if it is missing, but not the folders above it; else a missing one is as one without runs.

    Raises:
        FileFormatError: it holds something else, or a sweep of another version of this program.
        TopokitError: it cannot be made.
    """

    def __init__(self, path: Path, *, make: bool = True):
        self.path = path
        self.known: Known = {}
        try:
            if (path / ABOUT).exists():
                self._require_ours(path / ABOUT)
            else:
                self._require_empty()
            if make:
                self._make()
        except FileNotFoundError:
            raise no_folder(path) from None
        except OSError as error:
            raise TopokitError(
                f"cannot use {path} as a sweep's folder ({error.strerror}): choose another `out`"
            ) from None

    def _require_empty(self) -> None:
        found = [one.name for one in self.path.iterdir()] if self.path.exists() else []
        others = [name for name in found if not name.startswith(".topokit-")]  # left by a process that was killed
        if others:
            raise FileFormatError(f"{self.path} is no sweep's folder: it holds {min(others)}. Choose another `out`")

    def _make(self) -> None:
        self.path.mkdir(exist_ok=True)
        if not (self.path / ABOUT).exists():
            write_json(self.path / ABOUT, {"kind": KIND, "schema": SCHEMA, "topokit": version("topokit")})
        self.runs.mkdir(exist_ok=True)

    @staticmethod
    def _require_ours(about: Path) -> None:
        found = read_json(about)
        if found.get("kind") != KIND:
            raise FileFormatError(f"{about} is not of a sweep: choose another `out`")
        if found.get("schema") != SCHEMA:
            raise FileFormatError(
                f"{about.parent} was written by topokit {found.get('topokit')}, in format {found.get('schema')}; this "
                f"topokit writes format {SCHEMA}: choose another `out`, or go on with that version"
            )

    @property
    def runs(self) -> Path:
        """Where the runs' folders are."""
        return self.path / RUNS

    @property
    def tables(self) -> Path:
        """Where the tables are."""
        return self.path / TABLES

    def run(self, name: str) -> Path:
        """The folder of a run."""
        return self.runs / name

    def know(self, known: Known, runs: Sequence[Planned]) -> None:
        """Let the runs that other tables tell of count as finished, but for those whose topologies are needed here.

        Args:
            known: as `read_known` gives them.
            runs: of the grid.
        """
        self.known = {}
        self.known = spared(known, runs, {run.name for run in runs if self.state(run.name) is State.FINISHED})

    def state(self, name: str) -> State:
        """What became of a run. O(1)."""
        if name in self.known:
            return State.FINISHED
        folder = self.run(name)
        if (folder / RESULT).exists():
            return State.FINISHED
        if (folder / ERROR).exists():
            return State.FAILED
        return State.RUNNING if is_held(folder / LOCK) else State.WAITING

    def result(self, name: str) -> dict[str, Any]:
        """What a run came to that was finished here."""
        return read_json(self.run(name) / RESULT)

    def test_metric(self, name: str) -> tuple[str, float]:
        """The name of the first metric of a finished run, wherever that was, and its value."""
        found = with_metric(self.known[name].row if name in self.known else self.result(name))
        return found["metric"], float(found["test_metric"])

    def error(self, name: str) -> str:
        """Why a run failed."""
        return str(read_json(self.run(name) / ERROR).get("message"))

    def starts(self, runs: Iterable[Planned]) -> int:
        """How often any of these runs was begun or gone on with."""
        places = (self.run(run.name) / STARTS for run in runs)
        return sum(place.stat().st_size for place in places if place.exists())

    def forget_start(self, name: str) -> None:
        """Let the latest start of a run count for nothing, where that can be written: its end was no fault of it."""
        place = self.run(name) / STARTS
        with suppress(OSError):
            place.write_text("".join(place.read_text().splitlines(keepends=True)[:-1]))

    def forget_failure(self, name: str) -> None:
        """Let a failed run be tried again, from its last checkpoint; from the beginning where that is damaged."""
        from topokit_train.runs.checkpoints import DamagedCheckpointError, load

        for file in (ERROR, STARTS):
            (self.run(name) / file).unlink(missing_ok=True)
        checkpoint = self.run(name) / CHECKPOINT
        try:
            if checkpoint.exists():
                load(checkpoint)
        except DamagedCheckpointError:
            for file in (CHECKPOINT, CONFIG, METRICS):
                (self.run(name) / file).unlink(missing_ok=True)
        except FileFormatError:  # of a later release, which can go on with it
            return


def count_start(folder: Path) -> int:
    """Note that a run is begun or gone on with; returns how often since its last whole epoch, this time included."""
    metrics = folder / METRICS
    epochs = metrics.read_text().count("\n") if metrics.exists() else 0
    with (folder / STARTS).open("a+") as file:
        file.write(f"{epochs}\n")
        file.seek(0)
        before = file.read().splitlines()
    return sum(1 for _ in takewhile(lambda line: line == str(epochs), reversed(before)))
