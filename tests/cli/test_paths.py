"""`-` as a file, and what is said before and while a large file is written."""

import io
import json
import subprocess
import sys
from contextlib import contextmanager

import pytest
from topokit_cli import render
from topokit_cli.main import main

import topokit as tk
from topokit.formats import _writing

MAIN = "from topokit_cli.main import main; main()"
NET = "radix-net radices=2,3 kron=2,2,2"


@pytest.fixture
def piped(monkeypatch, tmp_path):
    """Call as piped(stdin, "convert", "-", "-"): the bytes on stdout, and the text on stderr."""
    monkeypatch.chdir(tmp_path)

    def run(stdin, *args):
        streams = {name: io.TextIOWrapper(io.BytesIO(stdin if name == "stdin" else b"")) for name in STREAMS}
        for name, stream in streams.items():
            monkeypatch.setattr(sys, name, stream)
        monkeypatch.setattr(sys, "argv", ["topokit", *args])
        with pytest.raises(SystemExit) as end:
            main()
        for stream in streams.values():
            stream.flush()
        assert not end.value.code, streams["stderr"].buffer.getvalue()
        return streams["stdout"].buffer.getvalue(), streams["stderr"].buffer.getvalue().decode()

    return run


STREAMS = ("stdin", "stdout", "stderr")


def test_a_dash_is_stdin_and_stdout(piped, tmp_path):
    net = tk.topology(NET)
    built, text = piped(b"", "build", "--radices", "2,3", "--kron", "2,2,2", "-o", "-")
    assert text.splitlines()[0].split() == ["file", "-"]
    masks, _ = piped(built, "mask", "-", "--names", "fc1,fc2", "-o", "-")
    extracted, _ = piped(masks, "extract", "-", "-o", "-")
    converted, _ = piped(extracted, "convert", "-", "-", "--to", "npz")
    (tmp_path / "net").write_bytes(converted)
    assert tk.load(tmp_path / "net") == net
    (tmp_path / "masks").write_bytes(masks)
    assert {*tk.load_masks(tmp_path / "masks")} == {"fc1.weight", "fc2.weight"}
    shown, _ = piped(built, "verify", "-")
    assert shown.startswith(b"-: ")
    assert b"verdict: holds" in shown
    assert json.loads(piped(built, "info", "-", "--json")[0])["file"] == "-"
    piped(built, "draw", "-", "-o", "net.svg")
    assert (tmp_path / "net.svg").stat().st_size > 1000
    assert {path.name for path in tmp_path.iterdir()} == {"net", "masks", "net.svg"}


def test_an_error_names_stdin_as_it_was_typed():
    run = subprocess.run([sys.executable, "-c", MAIN, "verify", "-"], input=b"?", capture_output=True, check=False)
    assert run.returncode == 1
    assert run.stderr.split()[1] == b"-", run.stderr


def test_a_closed_stdout_is_an_error(tmp_path):
    command = ["bash", "-c", 'exec "$0" -c "$1" verify "$2" >&-', sys.executable, MAIN, NET]
    run = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path)
    assert run.returncode == 1
    assert run.stderr.startswith(b"topokit: stdout is closed: ")


def test_stdin_is_read_once(piped):
    built, _ = piped(b"", "build", "--radices", "2,3", "-o", "-")
    with pytest.raises(AssertionError, match="stdin can be read once: name a file in place of the second -"):
        piped(built, "compare", "-", "-")


def test_the_size_and_the_free_space_come_first(topokit, monkeypatch, tmp_path):
    monkeypatch.setattr(render, "LARGE", 1)
    first = topokit("build", "--radices", "2,2", "-o", "net.safetensors").err.splitlines()[0]
    assert first.startswith("note: net.safetensors takes at least 0.0 GiB; ")
    assert first.endswith(" GiB are free on its disk")
    monkeypatch.setattr(_writing, "free_bytes", lambda _path: 8)
    for args in (("build", "--radices", "3,3"), ("convert", "net.safetensors", "folder", "--to", "tsv")):
        run = topokit(*args)
        assert (run.code, run.out) == (1, "")
        assert "needs 0.0 GiB and 0.0 GiB are free on its disk: choose another" in run.err
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize(
    ("command", "calls"),
    [
        ("build --radices 2,2 -o x", [("writing", 0), ("writing", 1)]),
        ("fit 30-20-10 --limit 1 at 90 %", [("counting paths", 0)]),
    ],
)
def test_progress_is_shown(topokit, monkeypatch, command, calls):
    seen = []

    @contextmanager
    def progress(_length):
        yield lambda doing, done: seen.append((doing, done))

    monkeypatch.setattr(render, "progress", progress)
    assert topokit(*command.split()).code == 0
    assert seen[: len(calls)] == calls
    assert len(seen) == len(calls) or command.startswith("fit")
