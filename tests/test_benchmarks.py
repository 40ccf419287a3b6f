"""The benchmark scripts run, on a small scale, and their numbers are of the right work."""

import io
import json
import os
import runpy
import subprocess
import sys
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from torch.nn.functional import linear

import topokit
from topokit._native import native
from topokit_train.machine import cpu_threads

FOLDER = Path(__file__).parents[1] / "benchmarks"
QUICK = ("--processes", "1", "--seconds", "0", "--threads", "1")


def run_alone(script, *args):
    """What a benchmark prints, in processes of its own."""
    command = [sys.executable, FOLDER / script, *args]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # several are slow where other programs run
    return subprocess.run(command, capture_output=True, text=True, check=True, env=one_thread).stdout


@pytest.fixture
def run_here(monkeypatch, scripts):  # noqa: ARG001
    """What a benchmark prints, in this process; what it measures in others is measured there."""

    def in_this_process(command, **_):
        monkeypatch.setattr(sys, "argv", list(map(str, command[1:])))
        with redirect_stdout(io.StringIO()) as printed, cpu_threads(1):
            runpy.run_path(str(command[1]), run_name="__main__")
        return SimpleNamespace(stdout=printed.getvalue())

    in_this_process.of = lambda script, *args: in_this_process([sys.executable, FOLDER / script, *args]).stdout
    return in_this_process


@pytest.fixture
def run(monkeypatch, run_here):
    """What a benchmark prints, in this process and no other: each would import torch again."""
    monkeypatch.setattr(subprocess, "run", run_here)
    return run_here.of


def test_building(tmp_path):
    path = tmp_path / "build.json"
    printed = run_alone("build.py", "--layers", "12", "--repeat", "1", "--json", str(path))
    runs = json.loads(path.read_text())["runs"]
    assert {way: [one["edges"] for one in measured] for way, measured in runs.items()} == {
        way: [65536 * 12 * 32] for way in ("build", "fresh", "stream", "shared", "scipy")
    }
    assert "25,165,824" in printed


def test_the_accelerator_script_on_the_cpu(run, tmp_path):
    path = tmp_path / "gpu.json"
    run("gpu.py", "--device", "cpu", "--quick", "--json", str(path))
    report = json.loads(path.read_text())
    assert {row["kernel"] for row in report["checked"]} >= {"masked", "csr"}
    assert all(row["right"] for row in report["checked"])
    assert [row["seed"] for row in report["stacked seeds"] if row["right"]] == [0, 1, 2, 3]
    assert [row["sparse"] for row in report["lenet-5"] if row["right"]] == [False, True]
    assert all(ms > 0 for ms in report["lenet-5 ms"].values())
    assert {row["dtype"] for row in report["timed"]} == {"float32", "bfloat16"}
    assert all(ms > 0 for row in report["timed"] for ms in row["ms"].values())
    assert [row["networks"] for row in report["stacks"]] == [1, 2]


@pytest.mark.parametrize(
    ("script", "ways"),
    [
        ("lenet.py", {"dense", "csr", "radix x 16, shared"}),
        ("lenet5.py", {"plain", "lenet-5", "lenet-5 sparse"}),
    ],
)
def test_steps_of_a_whole_network(run, tmp_path, script, ways):
    path = tmp_path / "measured.json"
    printed = run(script, *QUICK, "--json", str(path))
    (measured,) = json.loads(path.read_text())["runs"]
    assert ways <= set(measured)
    assert all(0 < low <= median for low, median in measured.values())
    assert all(name in printed for name in measured)


@pytest.mark.usefixtures("scripts")
def test_the_plain_lenet_5_is_the_same_network(monkeypatch):
    import lenet5

    monkeypatch.setattr(lenet5, "noise", partial(lenet5.noise, 20))
    for name in lenet5.WAYS:
        assert lenet5.trainer_of(name).feed.images.shape[0] == 20
    monkeypatch.setitem(lenet5.WAYS, "wrong", ("lenet-5", True, False, "1"))
    monkeypatch.setattr(lenet5, "plain", lambda model, _: lambda images: model(images) + 0.01)
    with pytest.raises(SystemExit, match="wrong does not give the logits of lenet-5"):
        lenet5.trainer_of("wrong")


def test_every_way_of_a_layer(run, tmp_path):
    path = tmp_path / "layers.json"
    printed = run("layers.py", "--layers", "300x100", "--batches", "8", *QUICK, "--json", str(path))
    results = json.loads(path.read_text())["results"]
    assert [result["allocator"] for result in results] == ["as it is", "keeps blocks"]
    kernels = {"topokit masked", "topokit csr", "topokit band"}
    for result in results:
        assert result["runs"][0].keys() >= {"dense", "masked dense", "torch csr", "torch coo"} | kernels
        assert all(low <= middle for low, middle in result["runs"][0].values())
    assert printed.startswith("date ")


def test_a_sweep_and_its_plot(run, tmp_path):
    path, plot = tmp_path / "sweep.json", tmp_path / "sweep.svg"
    ways = ("--ways", "topokit csr", "--radices", "2", "--widths", "128", "--batches", "8")
    printed = run("layers.py", "--sweep", *ways, *QUICK, "--plot", str(plot), "--json", str(path))
    results = json.loads(path.read_text())["results"]
    seen = [(result["family"], result["width"], result["density"]) for result in results]
    assert seen == [("radix-net", 128, 1 / 64), ("bernoulli", 128, 1 / 64)]
    assert all(result["runs"][0].keys() == {"dense", "topokit csr"} for result in results)
    assert "bernoulli 128x128, batch 8" in printed
    assert "radix-net 128×128" in plot.read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_memory(run_here, tmp_path):
    path = tmp_path / "memory.json"
    layer = ("--layers", "784x300 first", "--batches", "8")
    run_here.of("layers.py", "--memory", "--ways", "topokit csr", *layer, "--json", str(path))
    dense, csr = json.loads(path.read_text())["results"]
    x = 8 * 784 * 4  # bytes of the input
    assert (dense["parameters"], dense["saved"]) == (4 * 784 * 300 * 4, x)  # the weight, its gradient, two moments
    assert (csr["parameters"], csr["saved"]) == (4 * 23_520 * 4, x)
    assert dense["peak"] > csr["peak"] > 0


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.mark.usefixtures("scripts")
def test_where_a_way_gets_faster_than_dense():
    from _sweep import FASTER, crossover

    def row(density, speedup):
        return {"density": density, "runs": [{"dense": (1, 1), "way": (1, 1 / (speedup * FASTER))}]}

    falling = [row(0.5, 1 / 2), row(0.125, 8), row(0.03125, 16)]
    assert crossover(falling, "way") == pytest.approx(2**-1.5)  # 2^3 to 2^-1: three quarters of the way from 2^-3
    assert crossover(falling[1:], "way") == 0.125
    assert crossover(falling[:1], "way") is None
    assert crossover(falling, "not timed") is None


@pytest.mark.usefixtures("scripts")
@pytest.mark.parametrize("radix", [64, 2])
def test_layers_of_a_sweep_have_the_density_they_are_shown_at(radix):
    from _cases import layer_of, points

    radix_net, bernoulli = (layer_of(str(point), shuffled=False)[0] for point in points([256], [radix]))
    assert radix_net.shape == bernoulli.shape == (256, 256)
    assert radix_net.edges == 256 * 256 * radix / 128
    assert bernoulli.edges == pytest.approx(radix_net.edges, rel=0.2)


WRONG = {
    "output": lambda x, w: linear(x, w) + linear(x, w).detach(),
    "gradient of x": lambda x, w: linear(2 * x, w) - linear(x.detach(), w),
    "gradient of w": lambda x, w: linear(x, 2 * w) - linear(x, w.detach()),
}


@pytest.mark.usefixtures("scripts")
@pytest.mark.parametrize("wrong", WRONG)
def test_a_way_that_multiplies_wrongly_is_not_timed(monkeypatch, wrong):
    import _ways

    def build(weight):
        dense = weight.to_dense().requires_grad_()
        mask = (dense != 0).to(dense.dtype)
        return _ways.Way(lambda x: WRONG[wrong](x, dense * mask), dense, features_first=False)

    monkeypatch.setitem(_ways.TORCH, "torch coo", build)
    layer = topokit.RadixNet(radices=[(2, 2)]).layer(0)
    with pytest.raises(SystemExit, match="torch coo does not give"):
        _ways.steps(layer, 3, False, ["torch coo"])


def test_the_costs_of_convolutions(run):
    cases = "LeNet-5, conv1", "depthwise, 512 x 7 x 7"
    fitted, times = np.split(run("convolutions.py", "--seconds", "0", "--cases", *cases).splitlines(), [2])
    assert [line.count(",") for line in fitted] == [4, 4]
    assert [line.split("  ")[0] for line in times] == [name for name in cases for _ in range(3)]
    assert all("auto masked" in line for line in times[3:])


def test_the_edges_of_a_timed_convolution_are_within_its_groups(scripts):  # noqa: ARG001
    from convolutions import CASES, DENSITIES, Case

    assert [Case(8, 4, 3, 5, groups=groups).layer(1).edges for groups in (1, 4)] == [4 * 72, 4 * 18]
    for density in DENSITIES:
        case = CASES["128 x 7 x 7"]
        assert case.layer(density).edges == pytest.approx(density * 128 * 128 * 9, rel=0.02)


def test_the_challenge(run, tmp_path):
    path = tmp_path / "challenge.json"
    small = ("--layers", "6", "--images", "100", "--repeat", "2", "--dataset", "digits")
    printed = run("challenge.py", *small, "--json", str(path))
    rates = json.loads(path.read_text())["edges per second"]
    assert {name: len(found) for name, found in rates.items()} == dict.fromkeys(
        ["graphblas", "torch", *["native"] * bool(native())], 2
    )
    assert "100 images" in printed


SOURCE = '''\
def f(a, b: int = 3) -> bool:
    """Add 1 + 1."""
    a.x = 2.5
    if not a and isinstance(b, int | str):
        return f"{a + b}"
    a += g(a) if a else a << b
    g(a)
    return 0 <= a < b
'''
FAULTS = """\
3 -> (4)
3 -> (2)
a.x = 2.5 -> pass
2.5 -> (3.5)
2.5 -> (1.5)
not a and isinstance(b, int | str) -> (not a or isinstance(b, int | str))
not a -> (a)
return f"{a + b}" -> return None
a += g(a) if a else a << b -> pass
a += g(a) if a else a << b -> a -= g(a) if a else a << b
a -> (not a)
a << b -> (a >> b)
g(a) -> pass
return 0 <= a < b -> return None
0 <= a < b -> (0 < a < b)
0 <= a < b -> (0 > a < b)
0 <= a < b -> (0 <= a <= b)
0 <= a < b -> (0 <= a >= b)
0 -> (1)
0 -> (-1)
"""


@pytest.mark.usefixtures("scripts")
def test_faults_of_a_source():
    from _faults import faults

    found = faults(SOURCE)
    assert [str(fault) for fault in found] == FAULTS.splitlines()
    lines = SOURCE.splitlines()
    for fault in found:
        changed = fault.put_into(SOURCE).splitlines()
        assert [i for i, line in enumerate(lines) if changed[i] != line] == [fault.line - 1]


@pytest.mark.usefixtures("scripts")
def test_a_fault_is_caught_or_escapes_and_the_file_is_as_before(tmp_path, monkeypatch):
    import mutants

    source, test = "def double(a):\n    return a + a\n", "from code_of import double\n\ndef test_it():\n"
    for name, text in {
        "code_of.py": source,
        "test_weak.py": f"{test}    assert double(0) == 0\n",
        "test_strong.py": f"{test}    assert double(2) == 4\n",
    }.items():
        (tmp_path / name).write_text(text)
    lines = {"lines": {"code_of.py": [2]}, "seconds": 1}

    def verdicts(*tests):
        covered = dict.fromkeys(tests, lines)
        drawn = mutants.draw(tmp_path, 0, 9, covered)
        assert drawn == mutants.draw(tmp_path, 0, 9, covered)
        return {str(one.fault): mutants.verdict(tmp_path, one, covered) for one in drawn}

    known = "code_of.py: return a + a -> return None"
    monkeypatch.setitem(mutants.EQUIVALENTS, known, "it is not drawn then")
    assert verdicts("test_weak.py") == {"a + a -> (a - a)": "escaped 1 test files"}
    assert verdicts("test_weak.py", "test_strong.py") == {"a + a -> (a - a)": "caught by test_strong.py::test_it"}
    assert (tmp_path / "code_of.py").read_text() == source
    monkeypatch.setattr(mutants, "run", lambda *_, **__: (1, "FAILED test_weak.py::test_it[a b] - assert False"))
    unclear = "unclear: fails without the fault too: test_weak.py::test_it[a b]"
    assert verdicts("test_weak.py") == {"a + a -> (a - a)": unclear}
