"""Fixtures of the training tests: one finished run, and what two equal runs have in common."""

import json
import random
import signal
import subprocess
import sys
import threading
from contextlib import nullcontext
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from math import prod

import pytest

from topokit_train import dataset
from topokit_train.config import TrainConfig
from topokit_train.datasets import load_dataset
from topokit_train.datasets.idx import FILES
from topokit_train.fused_steps import steps_of
from topokit_train.machine import cpu_threads
from topokit_train.runs.checkpoints import load
from topokit_train.runs.topologies import default_topology
from topokit_train.runs.train import train
from topokit_train.training import Trainer


@pytest.fixture(scope="session")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="session")
def few_digits(digits):
    """The first 100 digits to train on and 60 to test with, for networks that need not learn."""
    train, test = (
        (digits.train_inputs[:100], digits.train_targets[:100]),
        (digits.test_inputs[:60], digits.test_targets[:60]),
    )
    return dataset(train, test)


@pytest.fixture
def one_thread():
    with cpu_threads(1):
        yield


@pytest.fixture
def float64():
    """All networks are trained in float64.

    In float32 another order of additions, by another kernel, processor or stack, soon puts a unit on the other side of
    its ReLU or an image into another class. In float64 this needs numbers that agree to 13 digits by chance.
    """
    with pytest.MonkeyPatch.context() as patch:  # of its own: some tests undo theirs
        patch.setattr(Trainer, "__init__", in_float64)
        yield


def in_float64(trainer, *args, make=Trainer.__init__, **more):
    """Make a trainer whose network and images are float64."""
    make(trainer, *args, **more)
    trainer.model.double()
    feed = trainer.feed
    feed.images = feed.inputs.of_tests(feed.images).double()
    feed.held_out, feed.test = ((images.double(), labels) for images, labels in (feed.held_out, feed.test))


@pytest.fixture(scope="session")
def short():
    """Settings of a short run."""
    return TrainConfig(epochs=3, batch_size=300)


@pytest.fixture(scope="module")
def straight(short, tmp_path_factory):
    """A finished short run on the default topology: (its folder, its result)."""
    folder = tmp_path_factory.mktemp("straight")
    return folder, train(short, default_topology(), run=folder)


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Save a checkpoint after each epoch, so that runs that are stopped continue in the middle."""
    monkeypatch.setattr("topokit_train.runs.jobs.INTERVAL", 0)


@pytest.fixture
def threads(monkeypatch):
    """The thread counts that runs ask for; they stay with the one there is, as more are slow on a busy machine."""
    asked = []
    monkeypatch.setattr("topokit_train.runs.jobs.cpu_threads", lambda count: nullcontext(asked.append(count)))
    return asked


@pytest.fixture
def stopped(monkeypatch):
    """A function that carries out a run, which Ctrl-C stops in the last step of the epoch after so many."""

    def stop(run, epochs):
        def interrupted(trainer):
            for step in steps_of(trainer):
                if trainer.epochs_done == epochs and (trainer.steps_done + 1) % trainer.steps_per_epoch == 0:
                    raise KeyboardInterrupt
                yield step

        with monkeypatch.context() as patch:
            patch.setattr("topokit_train.training.steps_of", interrupted)
            with pytest.raises(KeyboardInterrupt):
                run()

    return stop


@pytest.fixture
def assert_resumed(tmp_path, stopped, assert_same_run):
    """A function that asserts: a run that was stopped and resumed equals one that was not, in the folder `straight`."""

    def check(epochs, *args, **more):
        run = partial(train, *args, **more)
        run(run=tmp_path / "straight")
        stopped(partial(run, run=tmp_path / "stopped"), epochs)
        run(run=tmp_path / "stopped", resume=True)
        assert_same_run(tmp_path / "straight", tmp_path / "stopped")

    return check


KILLED = """
import os, signal, sys, threading, time
from pathlib import Path
from topokit_train.config import TrainConfig
from topokit_train.runs import jobs
from topokit_train.runs.train import train

jobs.INTERVAL = 0
folder, settings, topology, lines, delay = Path(sys.argv[1]), *map(eval, sys.argv[2:])
metrics = folder / "metrics.jsonl"

def die():  # in this process: on a busy machine another one would come too late
    while not metrics.exists() or metrics.read_bytes().count(b"\\n") <= lines:  # it may be cut at this moment
        time.sleep(0.001)
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=die, daemon=True).start()
train(TrainConfig(**settings), topology, run=folder, resume=True)
"""


@pytest.fixture
def assert_survives(tmp_path, assert_same_run):
    """A function that asserts: a run that is killed several times and resumed equals one that was not killed."""

    def check(kills, settings, topology):
        train(TrainConfig(**settings), topology, run=tmp_path / "straight")
        folder, done = tmp_path / "killed", [0]
        for attempt in range(kills):
            delay = random.Random(attempt).uniform(0, 0.2)
            given = map(repr, (settings, topology, done[-1], delay))
            command = [sys.executable, "-c", KILLED, folder, *given]
            process = subprocess.run(command, capture_output=True, text=True, check=False)
            assert process.returncode == -signal.SIGKILL, process.stderr
            done.append(len(load(folder / "checkpoint.safetensors").metrics))
        assert done == sorted({*done})
        assert done[-1] < settings["epochs"]
        assert not (folder / "result.json").exists()
        train(TrainConfig(**settings), topology, run=folder, resume=True)
        assert_same_run(tmp_path / "straight", folder)

    return check


@pytest.fixture(scope="session")
def assert_same_run():
    """A function that asserts: all that two runs leave behind is equal bit for bit, but for the times."""
    return check_same_run


def check_same_run(one, two):
    a, b = (load(folder / "checkpoint.safetensors") for folder in (one, two))
    assert a.tensors.keys() == b.tensors.keys()
    assert all(a.tensors[name].tobytes() == b.tensors[name].tobytes() for name in a.tensors)
    assert (a.origin, a.fingerprints, a.scheduler) == (b.origin, b.fingerprints, b.scheduler)
    assert told(one) == told(two)
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}


def told(folder):
    """The contents of metrics.jsonl and result.json, without the times."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(row.pop("seconds") > 0 for row in rows)
    result = json.loads((folder / "result.json").read_text())
    assert result.pop("run") == str(folder)
    assert result.pop("train_seconds") > 0
    return rows, result


@pytest.fixture(scope="session")
def make_idx():
    """Write an IDX folder of a few images, all as bright as is said."""

    def make(folder, brightness):
        folder.mkdir(exist_ok=True)
        for name, shape in zip(FILES, [(40, 28, 28), (40,), (20, 28, 28), (20,)], strict=True):
            header = bytes((0, 0, 8, len(shape))) + b"".join(n.to_bytes(4, "big") for n in shape)
            values = [brightness] * prod(shape) if len(shape) > 1 else [i % 10 for i in range(*shape)]
            (folder / name).write_bytes(header + bytes(values))

    return make


class SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """The address of a server of the folder `server`; downloads are cached in the folder `cache`."""
    (tmp_path / "server").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SilentHandler, directory=tmp_path / "server"))
    threading.Thread(target=server.serve_forever).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
