"""Progress of a sweep on stderr: a line for each run that ends, and a bar in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from tqdm.auto import tqdm

from topokit_train.metrics import ACCURACY, shown
from topokit_train.sweeps.folder import State, SweepFolder
from topokit_train.sweeps.planned import Planned


class Progress:
    """Says what becomes of a sweep's runs.

    Args:
        runs: of the grid.
        folder: of the sweep.
        quiet: say nothing.
    """

    def __init__(self, runs: Iterable[Planned], folder: SweepFolder, quiet: bool = False):
        self.folder, self.quiet = folder, quiet
        states = {run.name: folder.state(run.name) for run in runs}
        self.runs, self.done = len(states), sum(state.ended for state in states.values())
        # disable=None is tqdm's way of saying: not unless stderr is a terminal
        self.bar = tqdm(total=self.runs, initial=self.done, unit="run", disable=quiet or None, dynamic_ncols=True)
        if self.done:
            failed = list(states.values()).count(State.FAILED)
            known = f", {len(folder.known)} in other tables" if folder.known else ""
            self._say(f"{self.done} of {self.runs} runs are there already, {failed} of them failed{known}")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.bar.close()
        if kind is KeyboardInterrupt:
            self._say(f"stopped after {self.done} of {self.runs} runs: the same command goes on")

    def told(self, run: Planned, state: State) -> None:
        """Say what became of a run."""
        if state is State.RUNNING:
            self._say(f"another program does {run.about}: waiting for it ({run.name})")
            return
        self.done += 1
        self.bar.update()
        if state is State.FINISHED:
            metric, value = self.folder.test_metric(run.name)
            name = "" if metric == ACCURACY else f"{metric} "
            self._say(f"{self._count()} {run.about}: {name}{shown(metric, value)}")
        else:
            self._say(f"{self._count()} {run.about}: failed: {self.folder.error(run.name)} ({run.name})")

    def _count(self) -> str:
        return f"[{self.done:>{len(str(self.runs))}}/{self.runs}]"

    def _say(self, text: str) -> None:
        if not self.quiet:
            self.bar.write(text, file=sys.stderr)
