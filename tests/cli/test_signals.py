"""SIGTERM, Ctrl-C and kill -9 at random moments: nothing stays half-written, no process stays, and resume is exact.

TOPOKIT_MOMENTS is the number of random moments of each command and signal, and TOPOKIT_SEED chooses them.
"""

import csv
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.numpy
from topokit_cli.main import Terminated, _prepare

from topokit._signals import uninterrupted

MAIN = "from topokit_cli.main import main; main()"
REWIRE = Path(__file__).parents[2] / "docs" / "examples" / "rewire.py"
SEED = int(os.environ.get("TOPOKIT_SEED", random.randrange(10**6)))
MOMENTS = int(os.environ.get("TOPOKIT_MOMENTS", "6"))
PATIENCE = 300  # seconds for what takes a few on an idle machine
SETTINGS = "--epochs 30 --batch-size 300 --threads 1 --run out"
GRID = """
[[runs]]
epochs = 15
batch_size = 300
topology = "bernoulli widths=784,100,10 density=.1 seed=0"
model = "mlp"
each.lr = [0.001, 0.002, 0.003, 0.004]
"""
COMMANDS = {
    "build": "build --family graph-challenge --neurons 16384 --layers 60 -o out.safetensors",
    "convert": "convert big.safetensors out --to tsv",
    "train": f"train --topology 'bernoulli widths=784,300,100 density=.1 seed=0' {SETTINGS}",
    "rewire": f"train --method '{REWIRE}:Rewire every=5 fraction=.2' --topology 'bernoulli widths=784,300,100 "
    f"density=.02 seed=0' {SETTINGS}",
    "prune": f"prune --to .5,.9 {SETTINGS}",
    "seeds": f"train --seeds 0-1 {SETTINGS}",
    "sweep": "sweep grid.toml --workers 2 --out out",
}
NOT_COMPARED = (".lock", "log.txt", "starts", "sweep.json")


def started(command, folder):
    """Start a command in a folder, in a session of its own."""
    words = ["bash", "-c", f'exec "$0" -c "$1" {command}', sys.executable, MAIN]
    with (folder / "said.txt").open("w") as said:
        return subprocess.Popen(words, cwd=folder, stdout=said, stderr=said, start_new_session=True)


def in_session(leader):
    """The processes of a session that live."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and entry.name != str(os.getpid()):
            try:
                state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if int(session) == leader and state != "Z":
                found.append(entry.name)
    return found


def contents(folder):
    """All that a command wrote, file by file, without the times; reading it shows that it is whole."""
    found = {}
    for path in sorted(folder.glob("out*")) + sorted(folder.glob("out*/**/*")):
        if path.is_dir() or path.name in NOT_COMPARED or path.suffix == ".part":
            continue
        if path.suffix == ".safetensors":
            value = {name: array.tobytes() for name, array in safetensors.numpy.load_file(path).items()}
        elif path.suffix in (".json", ".jsonl"):
            text = path.read_text()
            for line in [text] if path.suffix == ".json" else text.splitlines():
                json.loads(line)
            value = re.sub(r'"(train_)?seconds": [\d.e-]+', "", text).replace(str(folder), "")
        elif path.suffix == ".csv":
            with path.open(newline="") as file:
                value = [
                    {key: one for key, one in row.items() if key != "train_seconds"} for row in csv.DictReader(file)
                ]
        else:
            value = path.read_bytes()
        found[str(path.relative_to(folder))] = value
    return found


def again(command, folder):
    """The command that continues what was stopped: of a run without its settings, as the run knows them."""
    records = {path.parent for name in ("start", "checkpoint") for path in folder.glob(f"out/**/{name}.safetensors")}
    if "--run" not in command:
        return command
    whole = records and records >= set(folder.glob("out/seed*"))
    return f"{command.split()[0]} --run out --resume" if whole else f"{command} --force"


@pytest.mark.parametrize(
    "command",
    [
        "train --epochs 2 --batch-size 500 --topology 'bernoulli widths=784,300,100 density=.1 seed=0'",
        "train --epochs 2 --batch-size 500 --seeds 0,1",
        "prune --epochs 2 --batch-size 500 --to .5",
    ],
)
def test_a_run_that_is_stopped_before_its_data_are_read_is_the_one_that_resumes(
    topokit, tmp_path, monkeypatch, command
):
    verb, *options = shlex.split(command)
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr("topokit_train.runs.train.load_dataset", interrupt)
        stopped = topokit(verb, *options, "--run", one / "out")
    assert stopped.code == 130
    assert f"stopped: continue with --run {one / 'out'} --" in stopped.err
    assert topokit(verb, "--run", one / "out", "--resume", "--epochs", "3").code == 2
    assert topokit(verb, *options, "--run", one / "out").code == 1
    assert topokit(verb, "--run", one / "out", "--resume").code == 0
    assert topokit(verb, *options, "--run", two / "out").code == 0
    assert contents(one) == contents(two)


def interrupt(*_):
    raise KeyboardInterrupt


def test_a_run_that_replaces_another_is_the_one_that_resumes(topokit, monkeypatch):
    assert topokit("train", "--epochs", "1", "--batch-size", "500", "--run", "run").code == 0
    with monkeypatch.context() as patched:
        patched.setattr("topokit_train.runs.train.load_dataset", interrupt)
        topokit("train", "--epochs", "2", "--batch-size", "500", "--run", "run", "--force")
    assert topokit("train", "--run", "run", "--resume", "--json").json["epochs"] == 2


@pytest.mark.parametrize("place", ["run", "run/seed0"])
def test_a_folder_in_which_no_run_was_started_is_not_resumed(topokit, tmp_path, place):
    (tmp_path / place).mkdir(parents=True)
    refused = topokit("train", "--run", "run", "--resume")
    assert refused.code == 2
    assert f"no run was started in {place}: omit --resume to start one" in refused.err


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A function that returns what an undisturbed command writes, and how many seconds it takes."""
    done = {}

    def carry_out(name):
        if name not in done:
            folder = prepared(tmp_path_factory)
            begun = time.monotonic()
            assert started(COMMANDS[name], folder).wait(PATIENCE) == 0, (folder / "said.txt").read_text()
            done[name] = contents(folder), time.monotonic() - begun
        return done[name]

    return carry_out


def prepared(tmp_path_factory):
    """A folder with what commands read."""
    folder = tmp_path_factory.mktemp("s")
    (folder / "grid.toml").write_text(GRID)
    make = "build --family graph-challenge --neurons 1024 --layers 30 -o big.safetensors"
    assert started(make, folder).wait(PATIENCE) == 0
    return folder


@pytest.fixture
def prepared_process(monkeypatch):
    """This process as the command line prepares it; afterwards it is as before."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored if the tests run in the background
    yield _prepare
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("first", "kind"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_second_signal_does_not_interrupt_what_the_first_one_cleans_up(prepared_process, first, kind):
    prepared_process()
    cleaned = []

    def work():
        try:
            signal.raise_signal(first)
        finally:
            try:
                raise OSError
            except OSError:
                signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            cleaned.append(True)

    with pytest.raises(KeyboardInterrupt) as error:
        work()
    assert (error.type, cleaned) == (kind, [True])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_waits_for_the_end_of_an_uninterrupted_block(prepared_process, number):
    prepared_process()
    handler, done = signal.getsignal(number), []

    def work():
        with uninterrupted():
            with uninterrupted():
                signal.raise_signal(number)
                signal.raise_signal(signal.SIGTERM)
                done.append("inside")
            done.append("outside")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["inside", "outside"]
    assert signal.getsignal(number) is handler


def test_a_late_second_signal_ends_an_uninterrupted_block(prepared_process, monkeypatch):
    prepared_process()
    monkeypatch.setattr("topokit._signals.PATIENCE", 0)

    def work():
        with uninterrupted():
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0.01)
            signal.raise_signal(signal.SIGINT)
            pytest.fail("the second signal is lost")

    with pytest.raises(KeyboardInterrupt):
        work()


def test_a_thread_has_ordinary_blocks():
    with ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError):
        pool.submit(_divide_uninterrupted).result()


def _divide_uninterrupted():
    with uninterrupted():
        return 1 / 0


TRAIN_OWN = "train --model own.py:net --epochs 2 --batch-size 500 --run out"
OWN = """
import os, signal
from pathlib import Path
import torch
from torch import nn

class Signals(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        signal_in("function")
        return grad

def signal_in(place):
    if Path("wanted").exists() and Path("wanted").read_text() == place:
        Path("wanted").unlink()
        os.kill(os.getpid(), signal.SIGTERM)
        sum(range(10**5))  # a handler would run here
        Path("whole").touch()

class Net(nn.Sequential):
    def forward(self, x):
        x = super().forward(x)
        if x.requires_grad:
            x.register_hook(lambda grad: signal_in("hook"))
        return Signals.apply(x)

def net(outputs):
    return Net(nn.Flatten(), nn.Linear(784, outputs))
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a run of OWN without a signal."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "own.py").write_text(OWN)
    assert started(TRAIN_OWN, folder).wait(PATIENCE) == 0
    return folder


@pytest.mark.parametrize("place", ["function", "hook"])
def test_a_signal_in_code_that_autograd_calls_ends_the_run_after_its_step(tmp_path, place, undisturbed):
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "wanted").write_text(place)
    code, said = started(TRAIN_OWN, tmp_path).wait(PATIENCE), (tmp_path / "said.txt").read_text()
    assert (code, (tmp_path / "whole").exists()) == (143, True), said
    assert "stopped: continue with --run out --resume" in said
    assert started("train --run out --resume", tmp_path).wait(PATIENCE) == 0
    assert contents(tmp_path) == contents(undisturbed)


def test_a_signal_waits_until_torch_is_imported(prepared_process, monkeypatch):
    prepared_process()
    spec = SimpleNamespace(_initializing=True)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(__spec__=spec))
    signal.raise_signal(signal.SIGTERM)
    spec._initializing = False
    with pytest.raises(Terminated):
        time.sleep(60)  # which the next try ends


def test_a_signal_that_is_ignored_stays_ignored(prepared_process):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepared_process()
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(("given", "policy"), [({}, "passive"), ({"KMP_BLOCKTIME": "9"}, None)])
def test_threads_that_wait_do_not_spin_unless_the_user_says_how_they_wait(prepared_process, monkeypatch, given, policy):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    prepared_process()
    assert os.environ.get("OMP_WAIT_POLICY") == policy


def test_sigterm_leaves_nothing_half_written(tmp_path):
    process = started(COMMANDS["build"], tmp_path)
    while not list(tmp_path.glob("*.part")):
        time.sleep(0.001)
    process.terminate()
    process.terminate()
    assert process.wait(PATIENCE) == 143
    assert (tmp_path / "said.txt").read_text().splitlines()[-1] == "topokit: terminated"
    assert [path.name for path in tmp_path.iterdir()] == ["said.txt"]


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_stopped_at_any_moment(name, number, straight, tmp_path_factory):
    print(f"TOPOKIT_SEED={SEED}")
    chance = random.Random(f"{SEED} {name} {number}")
    expected, seconds = straight(name)
    folder, command = prepared(tmp_path_factory), COMMANDS[name]
    for _ in range(MOMENTS):
        process = started(command, folder)
        time.sleep(chance.uniform(0, seconds))
        send = chance.choice([os.kill, os.killpg])  # to one process, or to all of a job
        for pause in [0] if number == signal.SIGKILL else [0, chance.uniform(0, 0.2)]:
            time.sleep(pause)
            if process.poll() is None:
                send(process.pid, number)
        code, said = process.wait(PATIENCE), (folder / "said.txt").read_text()
        assert code in (0, -number, 143), said  # -15 before Python has begun
        done = contents(folder) == expected  # or a file is whole, and not all is printed
        assert done or code != 0
        end = time.monotonic() + PATIENCE
        while in_session(process.pid):
            assert time.monotonic() < end, "a process stays"
            time.sleep(0.01)
        if number == signal.SIGTERM:
            assert not list(folder.rglob("*.part"))
            assert not re.search("Traceback|leaked|Exception ignored", said), said
        if done:
            folder, command = prepared(tmp_path_factory), COMMANDS[name]
        else:
            command = again(COMMANDS[name], folder)
    assert started(command, folder).wait(PATIENCE) == 0, (folder / "said.txt").read_text()
    assert contents(folder) == expected
