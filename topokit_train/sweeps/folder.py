"""SweepFolder: the folder of a sweep's runs, and the state of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from enum import StrEnum
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from typing import Any

from topokit.errors import FileFormatError, TopokitError, no_folder
from topokit.formats import CHECKPOINT
from topokit_train.json_files import read_json, write_json
from topokit_train.metrics import with_metric
from topokit_train.runs.folder import CONFIG, LOCK, METRICS, RESULT, is_held
from topokit_train.sweeps.known import Known, spared
from topokit_train.sweeps.planned import Planned

KIND = "topokit.sweep"
SCHEMA = 1
ABOUT = "sweep.json"
RUN = "run.json"
ERROR = "error.json"
STARTS = "starts"
MOST_STARTS = 4  # of a run that completes no further epoch: its process was killed each time, or out of memory


class State(StrEnum):
    """The state of a run."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self in (State.FINISHED, State.FAILED)


class SweepFolder:
    """A folder with sweep.json, a folder runs/<hash> for each run, and tables/.

    A run's folder contains the files of `topokit train`, run.json (the identity of the run), log.txt (one for runs that
    are trained together), and error.json if it failed. These files are the whole state of a sweep, so any number of
    programs can work in one folder, and a later one continues, however the earlier ones ended.

    Args:
        path: the folder.
        make: create it if it is missing, but not its parents; otherwise a missing folder is a sweep without runs.

    Attributes:
        runs: the folder of the runs' folders.
        tables: the folder of the tables.
        known: runs in the tables of other sweeps, which count as finished.

    Raises:
        FileFormatError: it contains something else, or a sweep of another version of topokit.
        TopokitError: it cannot be created.
    """

    def __init__(self, path: Path, *, make: bool = True):
        self.path, self.runs, self.tables = path, path / "runs", path / "tables"
        self.known: Known = {}
        try:
            self._require_ours()
            if make:
                path.mkdir(exist_ok=True)
                if not (path / ABOUT).exists():
                    write_json(path / ABOUT, {"kind": KIND, "schema": SCHEMA, "topokit": version("topokit")})
                self.runs.mkdir(exist_ok=True)
        except FileNotFoundError:
            raise no_folder(path) from None
        except OSError as error:
            raise TopokitError(
                f"cannot use {path} as a sweep's folder ({error.strerror}): choose another `out`"
            ) from None

    def _require_ours(self) -> None:
        about = self.path / ABOUT
        if not about.exists():
            names = [one.name for one in self.path.iterdir()] if self.path.exists() else []
            others = [name for name in names if not name.startswith(".topokit-")]  # those are of a killed process
            if others:
                raise FileFormatError(f"{self.path} is not of a sweep: it contains {min(others)}. Choose another `out`")
            return
        found = read_json(about)
        if found.get("kind") != KIND:
            raise FileFormatError(f"{about} is not of a sweep: choose another `out`")
        if found.get("schema") != SCHEMA:
            raise FileFormatError(
                f"{about.parent} was written by topokit {found.get('topokit')}, in format {found.get('schema')}; this "
                f"topokit writes format {SCHEMA}: choose another `out`, or use that version"
            )

    def run(self, name: str) -> Path:
        """Return the folder of a run."""
        return self.runs / name

    def know(self, known: Known, runs: Sequence[Planned]) -> None:
        """Count the runs in other tables as finished, except those whose topologies are needed here.

        Args:
            known: as `read_known` returns them.
            runs: of the grid.
        """
        self.known = {}
        self.known = spared(known, runs, {name for name, state in self.states(runs).items() if state is State.FINISHED})

    def state(self, name: str) -> State:
        """Return the state of a run. O(1)."""
        if name in self.known:
            return State.FINISHED
        folder = self.run(name)
        if (folder / RESULT).exists():
            return State.FINISHED
        if (folder / ERROR).exists():
            return State.FAILED
        return State.RUNNING if is_held(folder / LOCK) else State.WAITING

    def states(self, runs: Iterable[Planned]) -> dict[str, State]:
        """Return the state of each run, by its name."""
        return {run.name: self.state(run.name) for run in runs}

    def result(self, name: str) -> dict[str, Any]:
        """Return the result.json of a run that is finished in this folder."""
        return read_json(self.run(name) / RESULT)

    def test_metric(self, name: str) -> tuple[str, float]:
        """Return the name and the value of the first metric of a finished run."""
        found = with_metric(self.known[name].row if name in self.known else self.result(name))
        return found["metric"], float(found["test_metric"])

    def error(self, name: str) -> str:
        """Return the error message of a failed run."""
        return str(read_json(self.run(name) / ERROR).get("message"))

    def starts(self, runs: Iterable[Planned]) -> int:
        """Return how often these runs were started or continued, all together."""
        places = (self.run(run.name) / STARTS for run in runs)
        return sum(place.stat().st_size for place in places if place.exists())

    def forget_start(self, name: str) -> None:
        """Discount the latest start of a run, which ended through no fault of its own, unless the disk is full."""
        place = self.run(name) / STARTS
        with suppress(OSError):
            place.write_text("".join(place.read_text().splitlines(keepends=True)[:-1]))

    def forget_failure(self, name: str) -> None:
        """Allow a failed run to be repeated from its last checkpoint, or from the beginning if that is damaged."""
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
        except FileFormatError:  # of a later release, which can continue it
            return


def count_start(folder: Path) -> int:
    """Record a start of a run; return the number of starts since its last complete epoch, this one included."""
    metrics = folder / METRICS
    epochs = metrics.read_text().count("\n") if metrics.exists() else 0
    with (folder / STARTS).open("a+") as file:
        file.write(f"{epochs}\n")
        file.seek(0)
        before = file.read().splitlines()
    return sum(1 for _ in takewhile(lambda line: line == str(epochs), reversed(before)))
