"""Recorded calls of the native library, replayed by native/replay.cpp under sanitizers."""

import ctypes
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from topokit import Topology
from topokit._native import native
from topokit_train import native as binding
from topokit_train.fused_steps import FusedSteps
from topokit_train.kernels import KERNELS
from topokit_train.layers.linear import SparseLinear
from topokit_train.layers.stacks import StackedLinear, StackedSparse

NATIVE = Path(__file__).parents[2] / "native"
COMPILER = shutil.which("g++") or shutil.which("clang++")
FLAGS = "-std=c++17 -O1 -g -fno-exceptions -fno-rtti -ffp-contract=fast -Wno-psabi -pthread -DTK_BUILD=tk_baseline"
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(native() is None or not COMPILER, reason="needs the native library and a compiler"),
]


class Recording:
    """The arrays of a call, in memory of exactly their sizes."""

    def __init__(self):
        self.arrays = []

    def add(self, pointer, size):
        """Read an array; returns its number, as a pointer."""
        if pointer:
            self.arrays.append(ctypes.string_at(pointer, size))
        return len(self.arrays) if pointer else None


def sizes(job):
    """The bytes of each array of a job and of its layers."""
    number = 8 if job.is_double else 4
    several = job.networks > 1
    arenas = job.threads if several else 1
    own = job.networks if several and not job.shared else 1
    samples = len(LABELS)
    widths = (job.layer[0].into, job.layer[job.layers - 1].out)
    yield "saved", job.saved_size * arenas * number
    yield "scratch", job.scratch_size * arenas * number
    yield "index", job.batch * own * 8
    yield "labels", samples * 8
    yield "losses", job.batch * arenas * number
    yield "loss", job.networks * 8
    for name, width in (("x", widths[0]), ("dx", widths[0]), ("y", widths[1]), ("dy", widths[1])):
        array = getattr(job, name)
        rows = samples if name == "x" and job.index else job.batch
        yield name, ((width - 1) * array.feature + (rows - 1) * array.sample + 1) * number


def record_layer(recording, copy, job, number, written):
    """Put the arrays of a layer into a recording; yields number, address and size of those that are compared."""
    arenas = job.threads if job.networks > 1 else 1
    values, out = copy.edges * number, copy.out * number
    found = [("values", values * job.networks), ("bias", out * job.networks)]
    found += [("values_grad", values * arenas), ("bias_grad", out * arenas)]
    for name, size in found:
        address = getattr(copy, name)
        setattr(copy, name, recording.add(address, size))
        if address and ("gradients" if name.endswith("grad") else "parameters") in written:
            yield len(recording.arrays), address, size
    for i in range(4):
        copy.moments[i] = recording.add(copy.moments[i], (values, out)[i // 2] * job.networks)
    for matrix, rows in ((copy.weight, copy.out), (copy.transposed, copy.into)):
        for name in ("bounds", "work"):
            setattr(matrix, name, recording.add(getattr(matrix, name), 4 * (matrix.groups + 1)))
        for name, size in (("rows", rows), ("starts", rows + 1), ("columns", copy.edges), ("order", copy.edges)):
            setattr(matrix, name, recording.add(getattr(matrix, name), 4 * size))


def record(job, path, written):
    """Write a job to a file, call the library, and write what it gave; `written` names the arrays to compare."""
    recording, number = Recording(), 8 if job.is_double else 4
    layers = type(job.layer.contents)
    copies = [layers.from_buffer_copy(job.layer[i]) for i in range(job.layers)]
    outputs = []
    for copy in copies:
        outputs += record_layer(recording, copy, job, number, written)
    whole = type(job).from_buffer_copy(job)
    for name, size in sizes(job):
        array = name in ("x", "y", "dy", "dx")
        address = getattr(job, name).data if array else getattr(job, name)
        place = recording.add(address, size)
        setattr(*((getattr(whole, name), "data", place) if array else (whole, name, place)))
        outputs += [(place, address, size)] * (bool(address) and name in written)
    recording.arrays.append(b"".join(map(bytes, copies)))
    raw = bytearray(bytes(whole))
    offset = type(job).layer.offset
    raw[offset : offset + 8] = struct.pack("q", len(recording.arrays))
    binding.native().tk_run(ctypes.byref(job))
    with path.open("wb") as file:
        file.write(struct.pack("q", len(recording.arrays)))
        for array in recording.arrays:
            file.write(struct.pack("q", len(array)) + array)
        file.write(raw)
        for place, address, size in outputs:
            file.write(struct.pack("q", place) + ctypes.string_at(address, size))
        file.write(struct.pack("q", 0))


MASK = np.kron(np.random.default_rng(0).random((13, 9)) < 0.3, np.ones((2, 3))).astype(bool)
LAYER = Topology.from_dense([MASK]).layer(0)
LABELS = torch.arange(90) % 5


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """Makes calls that are recorded; gives the files."""
    files = []

    def run(job):
        written = {"parameters"} if job.what & binding.OPTIMIZE else {"gradients", "dx", "y"}
        job.saved_size = job.saved_size or SIZES["saved"]
        job.scratch_size = job.scratch_size or SIZES["scratch"]
        files.append(tmp_path / f"case-{len(files)}")
        record(job, files[-1], written)

    form = binding.Chain.form

    def remember(chain, batch, dtype):
        found = form(chain, batch, dtype)
        SIZES.update(saved=found.saved, scratch=found.scratch)
        return found

    monkeypatch.setattr(binding.Chain, "form", remember)
    monkeypatch.setattr(binding, "run", run)
    monkeypatch.setattr("topokit_train.fused_steps.run", run)
    yield files
    binding.dense_pattern.cache_clear()


SIZES = {}


def make_calls():
    """Products, gradients and steps, of all layouts, in both types."""
    torch.manual_seed(0)
    kernel = KERNELS["native"]
    plan = kernel.prepare(LAYER)
    for dtype in (torch.float32, torch.float64):
        for batch in (1, 17, 130):
            values = torch.randn(LAYER.edges, dtype=dtype, requires_grad=True)
            bias = torch.randn(LAYER.shape[1], dtype=dtype, requires_grad=True)
            for x in (torch.randn(26, batch, dtype=dtype), torch.randn(batch, 26, dtype=dtype).T):
                kernel.multiply(x.requires_grad_(), values, plan, bias, True).sum().backward()
    inputs = torch.rand(len(LABELS), 26)
    one = nn.Sequential(SparseLinear(LAYER, kernel="native"), nn.Linear(27, 5))
    stack = nn.Sequential(
        StackedSparse(LAYER, 3, shared=True, kernel="native", device="cpu"),
        StackedLinear(3, 27, 5, shared=False, device="cpu"),
    )
    nn.init.normal_(stack[1].weight), nn.init.normal_(stack[1].bias)
    for model, networks in ((one, 1), (stack, 3)):
        for kind in (torch.optim.Adam, torch.optim.SGD):
            layers = [(model[0], True), (model[1], False)]
            steps = FusedSteps(layers, kind(model.parameters(), lr=1e-5), inputs, LABELS, networks)
            with steps.steps():
                steps(torch.randperm(len(LABELS))[:21])


@pytest.mark.parametrize(("size", "isa"), [(16, ""), (32, "-mavx2 -mfma"), (64, "-mavx2 -mfma")])
def test_recorded_calls_replay_under_sanitizers(recorded, tmp_path, size, isa, monkeypatch):
    # the tiles of a build with vectors of this size
    monkeypatch.setattr(binding, "tiling", tiling_of(size))
    files = recorded
    library = binding.native()
    if library.tk_lanes(0) * 4 > size:
        pytest.skip("the library's vectors are longer than these tiles")
    make_calls()
    program = tmp_path / "replay"
    sources = [NATIVE / name for name in ("step.cpp", "library.cpp", "replay.cpp")]
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-DTK_BYTES={size}"]
    command = [COMPILER, *FLAGS.split(), *isa.split(), *sanitizers, *map(str, sources), "-o", str(program), "-lm"]
    subprocess.run(command, check=True)
    done = subprocess.run([str(program), *map(str, files)], capture_output=True, text=True)
    assert done.stdout == "all equal\n", done.stderr
    assert not done.returncode


def tiling_of(size):
    def tiling(batch, dtype):
        lanes = size // (8 if dtype == torch.float64 else 4)
        tiles = max(1, -(-batch // (binding.MOST_VECTORS * lanes)))
        return max(1, -(-batch // (tiles * lanes))) * lanes, tiles

    return tiling
