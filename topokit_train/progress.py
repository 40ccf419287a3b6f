"""Progress on stderr: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from topokit_train.training import Metrics

SECONDS = 10  # between two lines


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
        self.bar = tqdm(total=epochs * steps, initial=done * steps, unit="step", disable=None, dynamic_ncols=True)
        self.said = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def step(self) -> None:
        """Count an optimisation step."""
        self.bar.update()

    def epoch(self, metrics: Metrics) -> None:
        """Show what an epoch came to."""
        text = f"epoch {metrics.epoch}/{self.epochs}, loss {metrics.train_loss:.4f}, test {metrics.test_accuracy:.2%}"
        if not self.bar.disable:
            self.bar.set_postfix_str(text)
        elif time.monotonic() - self.said >= SECONDS or metrics.epoch == self.epochs:
            self.said = time.monotonic()
            print(text, file=sys.stderr)
