"""Progress of a sweep on stderr: a line for each run that ends, and a bar in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from topokit_train.metrics import ACCURACY, shown
from topokit_train.runs.progress import bar
from topokit_train.sweeps.folder import State, SweepFolder
from topokit_train.sweeps.planned import Planned


class Progress:
    """Prints the runs of a sweep that end.

    Args:
        runs: of the grid.
        folder: of the sweep.
        quiet: print nothing.
    """

    def __init__(self, runs: Iterable[Planned], folder: SweepFolder, quiet: bool = False):
        self.folder, self.quiet = folder, quiet
        states = folder.states(runs)
        self.runs, self.done = len(states), sum(state.ended for state in states.values())
        self.bar = bar(total=self.runs, initial=self.done, unit="run", wanted=not quiet)
        if self.done:
            failed = list(states.values()).count(State.FAILED)
            known = f", {len(folder.known)} in other tables" if folder.known else ""
            self._print(f"{self.done} of {self.runs} runs are there already, {failed} of them failed{known}")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.bar.close()
        if kind and issubclass(kind, KeyboardInterrupt):
            self._print(f"stopped after {self.done} of {self.runs} runs: the same command continues")

    def report(self, run: Planned, state: State) -> None:
        """Print the new state of a run."""
        if state is State.RUNNING:
            self._print(f"another program does {run.about}: waiting for it ({run.name})")
            return
        self.done += 1
        self.bar.update()
        if state is State.FINISHED:
            metric, value = self.folder.test_metric(run.name)
            text = f"{'' if metric == ACCURACY else f'{metric} '}{shown(metric, value)}"
        else:
            text = f"failed: {self.folder.error(run.name)} ({run.name})"
        self._print(f"[{self.done:>{len(str(self.runs))}}/{self.runs}] {run.about}: {text}")

    def _print(self, text: str) -> None:
        if not self.quiet:
            self.bar.write(text, file=sys.stderr)
