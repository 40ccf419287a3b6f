"""Progress on stderr: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from statistics import fmean
from threading import RLock
from typing import TYPE_CHECKING, Any

from tqdm import auto

from topokit_train.methods import Callback
from topokit_train.metrics import ACCURACY, Metrics, shown
from topokit_train.ranks import this_rank

if TYPE_CHECKING:
    from topokit_train.training import Trainer

SECONDS = 10  # between two lines
auto.std_tqdm.set_lock(RLock())  # tqdm's own is a semaphore too, which outlives a process that is killed


class Progress(Callback):
    """Shows how far a run is.

    Args:
        trainer: trains it.
    """

    reads_gradients = False

    def __init__(self, trainer: Trainer):
        self.epochs, self.trainer = trainer.config.epochs, trainer
        self.bar = bar(total=trainer.steps, initial=trainer.steps_done, unit="step")
        self.said = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def after_step(self, _trainer: Trainer) -> None:
        self.bar.update()

    def epoch(self, networks: Sequence[Metrics]) -> None:
        """Show the metrics of an epoch, the mean of several networks."""
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


def drawn() -> bool:
    """Whether bars are drawn: in a terminal or a notebook, by the first of several processes of a run."""
    return this_rank().first and (sys.stderr.isatty() or auto.notebook_tqdm is not auto.std_tqdm)


def bar(*, wanted: bool = True, **options: Any) -> Any:
    """Return a bar, drawn if it is wanted and can be; the options are those of tqdm."""
    return auto.tqdm(disable=not (wanted and drawn()), dynamic_ncols=True, **options)


def phase(text: str) -> None:
    """Print what is done before the first epoch, where the bar is drawn later."""
    if drawn():
        say(f"{text} ...")


def say(text: str) -> None:
    """Print a line on stderr; of several processes of a run only the first speaks."""
    if this_rank().first and logging.getLogger("topokit").level <= logging.INFO:  # as without --quiet
        print(text, file=sys.stderr)
