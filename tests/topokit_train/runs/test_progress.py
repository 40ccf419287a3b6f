"""Progress: a bar in a terminal, a line now and then elsewhere."""

import io
import sys
from types import SimpleNamespace

import pytest

from topokit_train.runs.progress import Progress, drawn, phase
from topokit_train.training import Metrics


def metrics(epoch, **more):
    known = {"train_loss": 0.5, "test_accuracy": 0.875, "validation_accuracy": None, "seconds": 1.0, "lr": 0.1}
    return Metrics(epoch=epoch, **(known | more))


def trainer(epochs, done, steps):
    return SimpleNamespace(
        config=SimpleNamespace(epochs=epochs), steps=epochs * steps, steps_done=done * steps, epochs_done=done
    )


def test_a_terminal_shows_a_bar(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    trained = trainer(epochs=4, done=1, steps=10)
    with Progress(trained) as progress:
        for _ in range(10):
            progress.after_step(trained)
        progress.epoch([metrics(2)])
    shown = terminal.getvalue()
    assert "20/40" in shown
    assert "epoch 2/4, loss 0.5000, test 87.50%" in shown
    assert "mean" not in shown


def test_what_comes_before_the_bar_is_said_only_where_there_is_one(monkeypatch, capsys):
    phase("reading")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    phase("building")
    assert capsys.readouterr().err == "building ...\n"


def test_a_notebook_has_bars(monkeypatch):
    assert not drawn()
    monkeypatch.setattr("tqdm.auto.notebook_tqdm", object)
    assert drawn()


def test_of_several_networks_the_mean_is_shown(capsys):
    with Progress(trainer(epochs=4, done=3, steps=1)) as progress:
        progress.epoch([metrics(4), metrics(4, train_loss=1.5, test_accuracy=0.625)])
    assert capsys.readouterr().err == "epoch 4/4, loss 1.0000, test 75.00%, mean of 2\n"


def test_other_metrics_have_their_names(capsys):
    with Progress(trainer(epochs=4, done=3, steps=1)) as progress:
        progress.epoch([metrics(4, metric="mse", test_accuracy=None, test_metric=0.0123)])
    assert capsys.readouterr().err == "epoch 4/4, loss 0.5000, test mse 0.0123\n"


@pytest.mark.parametrize(("seconds", "lines"), [(1, [10, 20, 25]), (9, [*range(2, 25, 2), 25]), (11, range(1, 26))])
def test_elsewhere_there_is_a_line_every_ten_seconds_and_one_at_the_end(monkeypatch, capsys, seconds, lines):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with Progress(trainer(epochs=25, done=0, steps=1)) as progress:
        for epoch in range(1, 26):
            clock[0] += seconds
            progress.epoch([metrics(epoch)])
    out, err = capsys.readouterr()
    said = [int(line.split()[1].partition("/")[0]) for line in err.splitlines()]
    assert out == ""
    assert said == [*lines]
