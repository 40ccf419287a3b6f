"""Records calls of the native library in files that native/replay.cpp reads."""

import ctypes
import struct
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from topokit._native import LayerRows, native
from topokit_train import native as binding
from topokit_train import native_inference

SAMPLES = 90


class Call:
    """A call in the form that native/replay.cpp reads."""

    def __init__(self, name, tolerance=0.0):
        self.name, self.tolerance, self.arrays, self.wanted = name, tolerance, [], []

    def array(self, data, wanted=None):
        """Add an array, and what the call must write into it; returns its number."""
        self.arrays.append(bytes(data))
        if wanted is not None:
            kind = {"float32": "f", "float64": "d"}.get(wanted.dtype.name, "i")
            head = struct.pack("qqd", len(self.arrays), ord(kind), self.tolerance)
            self.wanted.append(head + counted(np.ascontiguousarray(wanted).tobytes()))
        return len(self.arrays)

    def memory(self, address, size, wanted=None):
        """Add the numbers at an address, if there are any."""
        return self.array(ctypes.string_at(address, size), wanted) if address else 0

    def save(self, path, arguments, result=0):
        arrays = [struct.pack("q", len(self.arrays)), *map(counted, self.arrays)]
        numbers = [struct.pack(f"q{len(arguments)}qq", len(arguments), *arguments, result)]
        wanted = [struct.pack("q", len(self.wanted)), *self.wanted]
        path.write_bytes(b"".join([counted(self.name.encode() + b"\0"), *arrays, *numbers, *wanted]))


def counted(data):
    return struct.pack("q", len(data)) + data


class Calls:
    """The calls of a test, each in a file of its folder."""

    def __init__(self, folder, size):
        self.folder, self.size, self.names, self.wanted, self.form = folder, size, [], {}, None

    def save(self, call, arguments, result=0):
        call.save(self.folder / f"call-{len(self.names)}", arguments, result)
        self.names.append(call.name)

    def add(self, name, *arguments, result=0, written=None):
        """Add a call whose arguments are numbers and arrays; `written` has arrays by the number of their argument."""
        call = Call(name)
        wanted = [(written or {}).get(number) for number in range(len(arguments))]
        places = [
            one if isinstance(one, int) else call.array(one, each) for one, each in zip(arguments, wanted, strict=True)
        ]
        self.save(call, places, result)

    def add_of_rows(self, name, rows, *arguments, result=1, written=None):
        """The same with the rows of a layer as the first argument: a dictionary of fields."""
        call = Call(name)
        fields = {key: one if isinstance(one, int) else call.array(one) for key, one in rows.items()}
        places = [call.array(LayerRows(**fields))]
        for number, one in enumerate(arguments):
            places.append(one if isinstance(one, int) else call.array(one, (written or {}).get(number)))
        self.save(call, places, result)

    def run(self, job):
        """Record a job with the results in `wanted`, and do it."""
        number = 8 if job.is_double else 4
        call = Call("tk_run", tolerance=1e-10 if job.is_double else 1e-4)
        layers = (binding.Layer * job.layers)(*(job.layer[i] for i in range(job.layers)))
        for i, layer in enumerate(layers):
            self._put_layer(call, layer, i, job, number)
        whole = binding.Job.from_buffer_copy(job)
        whole.layer = ctypes.cast(call.array(layers), ctypes.POINTER(binding.Layer))
        for name, size in self._sizes(job, number):
            holder = getattr(whole, name) if name in ("x", "y", "dy", "dx") else whole
            field = name if holder is whole else "data"
            setattr(holder, field, call.memory(getattr(holder, field), size, self.wanted.get(name)))
        self.save(call, [call.array(whole)])
        if job.what & binding.PACK:  # the vectors of the replay may be longer, and their last numbers are 0
            ctypes.memset(job.saved, 0, self.form.saved * number * (job.threads if job.networks > 1 else 1))
        native().tk_run(ctypes.byref(job))

    def _put_layer(self, call, layer, i, job, number):
        arenas = job.threads if job.networks > 1 else 1
        values, out = layer.edges * number, layer.out * number
        for name, size in (("values", values * job.networks), ("bias", out * job.networks)):
            setattr(layer, name, call.memory(getattr(layer, name), size, self.wanted.get((name, i))))
        for name, size in (("values_grad", values * arenas), ("bias_grad", out * arenas)):
            setattr(layer, name, call.memory(getattr(layer, name), size, self.wanted.get((name, i))))
        for k in range(4):
            size = (values, out)[k // 2] * job.networks
            layer.moments[k] = call.memory(layer.moments[k], size, self.wanted.get(("moments", i, k)))
        for matrix, rows in ((layer.weight, layer.out), (layer.transposed, layer.into)):
            groups = matrix.groups
            counts = {"bounds": groups + 1, "ends": groups, "work": groups + 1, "rows": rows, "starts": rows + 1}
            for name, count in {**counts, "columns": layer.edges, "order": layer.edges}.items():
                setattr(matrix, name, call.memory(getattr(matrix, name), 4 * count))

    def _sizes(self, job, number):
        """The bytes of each array of a job."""
        several = job.networks > 1
        arenas = job.threads if several else 1
        yield "saved", self.form.saved * arenas * number
        yield "scratch", self.form.scratch * arenas * number
        yield "index", job.batch * (job.networks if several and not job.shared else 1) * 8
        yield "labels", SAMPLES * 8
        yield "losses", job.batch * arenas * number
        yield "loss", job.networks * 8
        last = job.layer[job.layers - 1].out
        for name, width in (("x", job.layer[0].into), ("dx", job.layer[0].into), ("y", last), ("dy", last)):
            array = getattr(job, name)
            rows = SAMPLES if name == "x" and job.index else job.batch
            size = 1 if name == "x" and job.x_bytes else number
            yield name, ((width - 1) * array.feature + (rows - 1) * array.sample + 1) * size

    def infer(self, job_reference):
        """Record an inference with the results in `wanted`; it is not done, as its tiles are those of the replay."""
        job, call = job_reference._obj, Call("tk_infer")
        layers = (binding.Layer * job.layers)(*(job.layer[i] for i in range(job.layers)))
        for layer in layers:
            self._put_layer(call, layer, 0, SimpleNamespace(networks=1, threads=1), 4)
        tile = 24 * self.size // 16
        slots, images = job.blocks * (job.tiles + 1), job.blocks * job.tiles * tile
        whole = type(job).from_buffer_copy(job)
        whole.layer = ctypes.cast(call.array(layers), ctypes.POINTER(binding.Layer))
        sizes = {"activations": slots * job.features * tile, "slots": slots, "images": job.blocks, "left": images}
        for name, size in {**sizes, "places": 4 * job.threads * job.tiles * tile}.items():
            setattr(whole, name, call.memory(getattr(job, name), 4 * size))
        written = [call.array(np.zeros_like(self.wanted[name]), self.wanted[name]) for name in ("outputs", "which")]
        self.save(call, [call.array(whole), *written])
        raise Recorded

    def cross(self, images, features, layers):
        """Record the inference of images, shape (images, inputs), through layers of at most so many features."""
        with pytest.raises(Recorded):
            native_inference._Blocks(images, features).cross(layers)


class Recorded(Exception):  # noqa: N818 (it is not an error)
    """An inference was recorded."""


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Records calls for a build with vectors of 16 bytes, or of `calls.size` that a test has set."""
    found = Calls(tmp_path, 16)
    form = binding.Chain.form

    def remember(chain, batch, dtype):
        found.form = form(chain, batch, dtype)
        return found.form

    def tiling(batch, dtype, _features=0):
        lanes = found.size // dtype.itemsize
        tiles = max(1, -(-batch // (binding.MOST_VECTORS * lanes)))
        return max(1, -(-batch // (tiles * lanes))) * lanes, tiles

    monkeypatch.setattr(binding, "tiling", tiling)
    monkeypatch.setattr(binding.Chain, "form", remember)
    monkeypatch.setattr(binding, "LEAST_OF_A_THREAD", 1)
    monkeypatch.setattr(binding, "run", found.run)
    monkeypatch.setattr("topokit_train.fused_steps.run", found.run)
    library = SimpleNamespace(tk_tile=lambda: 24 * found.size // 16, tk_infer=found.infer)
    monkeypatch.setattr(native_inference, "native", lambda: library)
    for name, size in (("FEWEST", 48), ("BLOCK", 1)):  # several blocks
        monkeypatch.setattr(native_inference, name, size)
    before, threads = native().tk_isa(), torch.get_num_threads()
    native().tk_limit(b"baseline")  # which takes the tiles of all builds
    yield found
    native().tk_limit(before)
    torch.set_num_threads(threads)
    binding.dense_pattern.cache_clear()
