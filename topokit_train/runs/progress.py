"""Progress on stderr: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from statistics import fmean
from threading import RLock

from tqdm import tqdm

from topokit_train.metrics import ACCURACY, Metrics, shown
from topokit_train.ranks import this_rank

SECONDS = 10  # between two lines
tqdm.set_lock(RLock())  # tqdm's own is a semaphore too, which outlives a process that is killed


class Progress:
    """Shows how far a run is.

    Args:
        epochs: of the whole run.
        done: epochs that are done already.
        steps: in an epoch.
    """

    def __init__(self, epochs: int, done: int, steps: int):
        self.epochs = epochs
        # disable=None is tqdm's way of saying: not unless stderr is a terminal
        disable = None if this_rank().first else True
        self.bar = tqdm(total=epochs * steps, initial=done * steps, unit="step", disable=disable, dynamic_ncols=True)
        self.said = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def step(self) -> None:
        """Count an optimisation step."""
        self.bar.update()

    def epoch(self, networks: Sequence[Metrics]) -> None:
        """Show what an epoch came to, the mean of several networks."""
        metrics = networks[0]
        loss, test = (fmean(getattr(one, name) for one in networks) for name in ("train_loss", "test_metric"))
        name = "" if metrics.metric == ACCURACY else f"{metrics.metric} "
        text = f"epoch {metrics.epoch}/{self.epochs}, loss {loss:.4f}, test {name}{shown(metrics.metric, test)}"
        text += f", mean of {len(networks)}" if len(networks) > 1 else ""
        if not self.bar.disable:
            self.bar.set_postfix_str(text)
        elif time.monotonic() - self.said >= SECONDS or metrics.epoch == self.epochs:
            self.said = time.monotonic()
            say(text)


def say(text: str) -> None:
    """Print a line on stderr; of several processes of a run only the first speaks."""
    if this_rank().first:
        print(text, file=sys.stderr)
