"""The benchmark scripts run, on a small scale, and their numbers are of the right work."""

import json
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "benchmarks"


def run(script, *args):
    command = [sys.executable, FOLDER / script, *args]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # several are slow where other programs run
    return subprocess.run(command, capture_output=True, text=True, check=True, env=one_thread).stdout


def test_building(tmp_path):
    path = tmp_path / "build.json"
    printed = run("build.py", "--layers", "12", "--repeat", "1", "--json", str(path))
    runs = json.loads(path.read_text())["runs"]
    assert {way: [one["edges"] for one in measured] for way, measured in runs.items()} == {
        way: [65536 * 12 * 32] for way in ("build", "stream", "shared", "scipy")
    }
    assert "25,165,824" in printed


def test_the_accelerator_script_on_the_cpu(tmp_path):
    path = tmp_path / "gpu.json"
    run("gpu.py", "--device", "cpu", "--quick", "--json", str(path))
    report = json.loads(path.read_text())
    assert {row["kernel"] for row in report["checked"]} >= {"masked", "csr"}
    assert all(row["right"] for row in report["checked"])
    assert [row["seed"] for row in report["stacked seeds"] if row["right"]] == [0, 1, 2, 3]
    assert {row["dtype"] for row in report["timed"]} == {"float32", "bfloat16"}
    assert all(ms > 0 for row in report["timed"] for ms in row["ms"].values())
    assert [row["networks"] for row in report["stacks"]] == [1, 2]


def test_steps_of_lenet(tmp_path):
    path = tmp_path / "lenet.json"
    printed = run("lenet.py", "--processes", "1", "--threads", "1", "--seconds", "0", "--json", str(path))
    (measured,) = json.loads(path.read_text())["runs"]
    assert {"dense", "csr", "radix x 16, shared"} <= set(measured)
    assert all(0 < low <= median for low, median in measured.values())
    assert all(name in printed for name in measured)
