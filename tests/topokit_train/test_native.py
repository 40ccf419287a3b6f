"""The native library against dense float64 arithmetic in NumPy, and what it must refuse."""

import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import topokit
from topokit import Topology
from topokit._native import LIBRARY, _loaded, description, native
from topokit.errors import InvalidSpecError
from topokit_train import SparseLinear
from topokit_train.fusing import fuse
from topokit_train.kernels import KERNELS
from topokit_train.layers.choice import _say_csr, choose
from topokit_train.native import Chain, Pattern, Rows, dense_pattern, grouped, memory, tiling

needs_library = pytest.mark.skipif(native() is None, reason=description())


def random_mask(random, most=70):
    """A pattern of any density whose nodes may have copies, shuffled, perhaps with nodes without edges."""
    base = random.random(random.integers(1, 21, size=2)) < random.choice([0, 0.1, 0.5, 1])
    for axis in (0, 1):
        base = base.repeat(random.integers(1, 7, size=base.shape[axis]), axis=axis)[: (most, None)[axis]]
    return base[random.permutation(base.shape[0])][:, random.permutation(base.shape[1])]


def strided(array, random, dtype):
    """The same numbers as a tensor that lies in memory in one of several ways."""
    tensor = torch.tensor(array, dtype=dtype)
    way = random.integers(3)
    if way == 0:
        return tensor
    if way == 1:
        return tensor.T.contiguous().T
    return torch.empty(2 * tensor.shape[0], 3 * tensor.shape[1], dtype=dtype)[::2, ::3].copy_(tensor)


def compare(seed, kernel="native"):
    """Forward and all gradients of a random layer, against the dense oracle."""
    random = np.random.default_rng(seed)
    mask = random_mask(random)
    compare_layer(seed, mask, int(random.choice([1, 2, 7, 8, 31, 64, 100, 128, 130, 513])), random, kernel)


def equal_rows(random):
    """A pattern of 581 x 77 in classes of 29 and 19 equal nodes, shuffled; one node of each side has no edges."""
    mask = np.zeros((581, 77), bool)
    mask[:-1, :-1] = np.kron(random.random((20, 4)) < 0.95, np.ones((29, 19)))
    return mask[random.permutation(len(mask))][:, random.permutation(mask.shape[1])]


def compare_equal_rows(seed):
    """The same of layers whose rows share copies of their inputs: in gradients of values, and in products W x."""
    random = np.random.default_rng(seed)
    compare_layer(seed, equal_rows(random), (31, 130, 513)[seed // 2 % 3], random)


def compare_layer(seed, mask, batch, random, kernel="native"):
    """The same of a layer."""
    sources, targets = mask.shape
    dtype = (torch.float32, torch.float64)[seed % 2]
    W, x, g = (random.standard_normal(shape) for shape in ((targets, sources), (sources, batch), (targets, batch)))
    bias, relu = random.standard_normal(targets), bool(random.integers(2))
    W = W * mask.T
    kernel = KERNELS[kernel]
    plan = kernel.prepare(Topology.from_dense([mask]).layer(0))
    X = strided(x, random, dtype).requires_grad_()
    values = plan.from_canonical(torch.tensor(W.T[mask], dtype=dtype)).requires_grad_()
    b = torch.tensor(bias, dtype=dtype).requires_grad_()
    torch.set_num_threads(int(random.integers(1, 4)))
    y = kernel.multiply(X, values, plan, b, relu)
    found = torch.autograd.grad(y, (X, values, b), strided(g, random, dtype))
    z = W @ x + bias[:, None]
    passed = g * (z > 0) if relu else g
    wanted = np.maximum(z, 0) if relu else z, W.T @ passed, (passed @ x.T).T[mask], passed.sum(1)
    got = y.detach(), found[0], plan.to_canonical(found[1]), found[2]
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    for one, exact in zip(got, wanted, strict=True):
        assert one.shape == exact.shape
        error = np.abs(one.numpy() - exact).max(initial=0)
        assert error <= tolerance * max(np.abs(exact).max(initial=0), 1)


def compare_bfloat16(seed):
    """The same in bfloat16: sums in float32, which are rounded once to 8 bits."""
    random = np.random.default_rng(seed)
    mask = random_mask(random)
    sources, targets = mask.shape
    batch, relu = int(random.choice([1, 7, 64, 130, 513])), bool(random.integers(2))
    shapes = (mask.sum(), (sources, batch), (targets, batch), targets)
    values, x, g, b = (torch.tensor(random.standard_normal(shape)).bfloat16() for shape in shapes)
    kernel = KERNELS["native"]
    plan = kernel.prepare(Topology.from_dense([mask]).layer(0))
    X, G = (strided(one.double().numpy(), random, one.dtype) for one in (x, g))
    operands = [one.requires_grad_() for one in (X, plan.from_canonical(values), b)]
    y = kernel.multiply(operands[0], operands[1], plan, b, relu)
    along, found, bias = torch.autograd.grad(y, operands, G)
    W = np.zeros(mask.shape)
    W[mask] = values.double()
    W, x, g, b = W.T, *(one.detach().double().numpy() for one in (x, g, b))
    z, most = W @ x + b[:, None], np.abs(W) @ np.abs(x) + np.abs(b)[:, None]
    g = g * (z > 0) if relu else g
    size = np.abs(g)
    for one, exact, whole in (
        (y.detach(), np.maximum(z, 0) if relu else z, most),
        (along, W.T @ g, np.abs(W).T @ size),
        (plan.to_canonical(found), (g @ x.T).T[mask], (size @ np.abs(x).T).T[mask]),
        (bias, g.sum(1), size.sum(1)),
    ):
        assert one.dtype == torch.bfloat16
        assert one.shape == exact.shape
        assert (np.abs(one.double().numpy() - exact) <= 2.0**-8 * np.abs(exact) + 1e-6 * whole).all()


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("seed", range(60))
def test_random_layers_equal_the_oracle(seed):
    compare(seed)


@needs_library
@pytest.mark.parametrize("seed", range(2))
def test_wide_layers_that_read_their_inputs_often_equal_the_oracle(seed, monkeypatch):
    """They have smaller tiles, and sums over the batch in several parts."""
    monkeypatch.setattr("topokit_train.native.CACHE", 1 << 19)
    random = np.random.default_rng(seed)
    mask = random.random((1100, 400)) < 0.3
    if native() is not None:
        dtype = (torch.float32, torch.float64)[seed % 2]
        assert tiling(513, dtype, 1100)[0] <= 0.6 * tiling(513, dtype)[0]
    compare_layer(seed, mask, 513, random)


@pytest.mark.parametrize("seed", range(6))
def test_layers_with_many_equal_rows_equal_the_oracle(seed):
    compare_equal_rows(seed)


@needs_library
def test_many_equal_rows_are_found():
    rows = KERNELS["native"].prepare(topokit.topology("radix-net radices=8,8 kron=16,16,16").layer(0))
    weight, transposed = rows.pattern(torch.empty(0)).arrays
    assert weight.ends.tolist() == transposed.ends.tolist() == [4 * (g // 4 + 1) for g in range(256)]
    random = np.random.default_rng(0)
    plan = KERNELS["native"].prepare(Topology.from_dense([equal_rows(random)]).layer(0))
    for matrix in plan.pattern(torch.empty(0)).arrays:
        columns = [
            matrix.columns[matrix.starts[r] : matrix.starts[r + 1]].tolist() for r in matrix.rows[matrix.bounds[:-1]]
        ]
        for group, end in enumerate(matrix.ends):
            equal = [other for other, own in enumerate(columns) if own == columns[group]]
            rows = matrix.bounds[equal[-1] + 1] - matrix.bounds[equal[0]]
            assert end == (equal[-1] + 1 if rows >= 16 and len(columns[group]) >= 32 else 0)
    assert not Rows(**GOOD).ends.any()
    none = np.zeros(1, np.int32)
    assert Rows(none, none[:0], none[:0], none, 3).ends.size == 0


@needs_library
@pytest.mark.parametrize("seed", range(30))
def test_random_layers_in_bfloat16_equal_the_oracle(seed):
    compare_bfloat16(seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(60, 500))
def test_many_random_layers_equal_the_oracle(seed):
    compare(seed)


@pytest.mark.long
@needs_library
@pytest.mark.parametrize("isa", ["0", "baseline", "avx2", "avx512"])
def test_every_instruction_set_equals_the_oracle(isa):
    assert_in_process("for seed in range(500): test.compare(seed)", TOPOKIT_NATIVE=isa)


@needs_library
@pytest.mark.parametrize("isa", ["0", "baseline", "avx2"])
def test_other_instruction_sets_equal_the_oracle(isa):
    code = "for seed in range(20): test.compare(seed)\nfor seed in range(6): test.compare_equal_rows(seed)"
    assert_in_process(code, TOPOKIT_NATIVE=isa)


def assert_in_process(code, **environment):
    """Run code that has this file as `test` in a new process."""
    code = f"import runpy, types; test = types.SimpleNamespace(**runpy.run_path({__file__!r}))\n{code}"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **environment}, check=True, timeout=600)


def test_switched_off_it_says_so_and_auto_leaves_it_alone():
    code = (
        "from topokit._native import description; assert description() == 'no native library: TOPOKIT_NATIVE is 0'; "
        "import topokit as tk, topokit_train as tt; layer = tt.SparseLinear(tk.RadixNet(radices=[(4, 4)]).layer(0)); "
        "assert layer.kernel != 'native'"
    )
    assert_in_process(code, TOPOKIT_NATIVE="0")


@needs_library
@pytest.mark.parametrize(
    ("text", "dtype", "taken"),
    [
        ("bernoulli widths=784,300 density=.1 seed=0", torch.float32, "native"),
        ("bernoulli widths=784,300 density=.1 seed=0", torch.float64, "native"),
        ("bernoulli widths=784,300 density=.1 seed=0", torch.bfloat16, "native"),
        ("radix-net radices=10,10 kron=8,3,1 crop=784,300,100", torch.float32, "native"),
        ("radix-net radices=10,10 kron=32,32,32", torch.float32, "band"),
        ("radix-net radices=10,10 kron=32,32,32", torch.bfloat16, "native"),
        ("radix-net radices=4,4", torch.float32, "native"),
    ],
)
def test_auto_takes_it_where_it_is_faster(text, dtype, taken):
    layer = topokit.topology(text).layer(0)
    assert choose(layer, torch.device("cpu"), dtype).kernel == taken
    assert choose(layer, torch.device("cuda"), torch.float32).kernel != "native"


def test_an_unknown_instruction_set_is_named():
    for value, end in (("sse9", "TOPOKIT_NATIVE is sse9: it must be 0, 1, baseline, avx2, avx512"), ("", ")")):
        command = [sys.executable, "-c", "from topokit_cli.main import main; main()", "--version"]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TOPOKIT_NATIVE": value})
        assert (done.stdout + done.stderr).strip().endswith(end)
        assert done.returncode == (2 if value else 0)


def test_native_without_the_library_is_said(monkeypatch, caplog):
    monkeypatch.setattr("topokit_train.layers.choice.native", lambda: None)
    _say_csr.cache_clear()
    assert choose(LAYER, torch.device("cpu"), torch.float32, "native").kernel == "native"
    assert "kernel native multiplies as csr does" in caplog.text


LAYER = Topology.from_dense([np.kron(np.random.default_rng(0).random((30, 20)) < 0.3, np.ones((2, 3)))]).layer(0)


def chain_of_three():
    """Three layers, sparse and dense, as a chain, with an input and their parameters."""
    random = torch.Generator().manual_seed(0)
    plan = KERNELS["native"].prepare(LAYER)
    sources, targets = LAYER.shape
    patterns = [plan.pattern(torch.empty(0)), dense_pattern(1, 9, targets), dense_pattern(1, 5, 9)]
    values = [torch.randn(pattern.edges, generator=random) for pattern in patterns]
    biases = [torch.randn(pattern.shape[0], generator=random) for pattern in patterns]
    x, grad = (torch.randn(width, 200, generator=random) for width in (sources, 5))
    return SimpleNamespace(chain=Chain(patterns, [True, True, False]), x=x, values=values, biases=biases, grad=grad)


@needs_library
def test_a_chain_in_bfloat16_is_computed_in_float32_and_rounded_at_its_end():
    case = chain_of_three()
    values, biases = ([one.bfloat16() for one in some] for some in (case.values, case.biases))
    x, grad, all_six = case.x.bfloat16(), case.grad.bfloat16(), [True] * 6
    y, tiles = case.chain.forward(x, values, biases)
    found = case.chain.backward(grad, tiles, values, biases, all_six, True)
    wide_values, wide_biases = ([one.float() for one in some] for some in (values, biases))
    wanted, tiles = case.chain.forward(x.float(), wide_values, wide_biases)
    others = case.chain.backward(grad.float(), tiles, wide_values, wide_biases, all_six, True)
    for one, two in zip((y, *found), (wanted, *others), strict=True):
        assert torch.equal(one, two.bfloat16())
    with pytest.raises(InvalidSpecError, match=r"values and biases of torch\.bfloat16"):
        case.chain.forward(x, values, case.biases)


@needs_library
def test_all_numbers_of_threads_give_the_same_bits(monkeypatch):
    monkeypatch.setattr("topokit_train.native.LEAST_OF_A_THREAD", 1)
    case, seen = chain_of_three(), []
    for threads in (1, 2, 3, 5, 16):
        torch.set_num_threads(threads)
        y, tiles = case.chain.forward(case.x, case.values, case.biases)
        found = case.chain.backward(case.grad, tiles, case.values, case.biases, [True] * 6, True)
        seen.append([y, *found])
    for other in seen[1:]:
        assert all(torch.equal(one, two) for one, two in zip(seen[0], other, strict=True))


@needs_library
def test_all_numbers_of_threads_give_the_same_bits_if_rows_are_equal(monkeypatch):
    """Threads may begin and end inside the rows that share copies of their inputs."""
    monkeypatch.setattr("topokit_train.native.LEAST_OF_A_THREAD", 1)
    layer, seen = Topology.from_dense([equal_rows(np.random.default_rng(0))]).layer(0), []
    plan, x, grad = KERNELS["native"].prepare(layer), torch.randn(581, 300), torch.randn(77, 300)
    values = torch.randn(layer.edges)
    for threads in (1, 2, 3, 5, 16):
        torch.set_num_threads(threads)
        y, saved = plan.product(x, values)
        seen.append([y, *plan.gradients(grad, x, values, saved, True, True)])
    for other in seen[1:]:
        assert all(torch.equal(one, two) for one, two in zip(seen[0], other, strict=True))


@needs_library
def test_nan_and_inf_reach_what_they_are_connected_to_and_nothing_else():
    plan = KERNELS["native"].prepare(LAYER)
    mask = LAYER.to_scipy().toarray() != 0
    for bad in (float("nan"), float("inf")):
        for batch in (1, 100):
            x = torch.ones(LAYER.shape[0], batch)
            x[7, 0] = bad
            values = torch.full((LAYER.edges,), 0.5)
            y = plan.product(x, values)[0]
            reached = np.zeros(y.shape, bool)
            reached[mask[7], 0] = True
            assert ((~torch.isfinite(y)).numpy() == reached).all()
            grad = torch.ones(LAYER.shape[1], batch)
            grad[4, batch - 1] = bad
            along, found = plan.gradients(
                grad, torch.ones_like(x), values, plan.product(torch.ones_like(x), values)[1], True, True
            )
            reached = np.zeros(along.shape, bool)
            reached[mask[:, 4], batch - 1] = True
            assert ((~torch.isfinite(along)).numpy() == reached).all()
            assert ((~torch.isfinite(plan.to_canonical(found))).numpy() == (LAYER.targets == 4)).all()


@needs_library
def test_a_forked_child_starts_threads_of_its_own(monkeypatch):
    monkeypatch.setattr("topokit_train.native.LEAST_OF_A_THREAD", 1)
    case = chain_of_three()
    torch.set_num_threads(2)
    before, _ = case.chain.forward(case.x, case.values, case.biases)
    child = os.fork()
    if not child:
        after, _ = case.chain.forward(case.x, case.values, case.biases)
        os._exit(0 if torch.equal(before, after) else 1)
    assert os.waitpid(child, 0)[1] == 0


GOOD = {
    "starts": np.array([0, 2, 4, 5], np.int32),
    "columns": np.array([0, 1, 0, 1, 2], np.int32),
    "rows": np.array([0, 1, 2], np.int32),
    "bounds": np.array([0, 2, 3], np.int32),
    "width": 3,
}


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("starts", np.array([0, 4, 2, 5], np.int32), "starts must rise"),
        ("starts", np.array([0, 2, 4, 6], np.int32), "starts must rise"),
        ("starts", np.array([0, 2, 4, 5], np.int64), "int32"),
        ("columns", np.array([0, 1, 0, 1, 3], np.int32), "columns must be from 0 to 2"),
        ("columns", np.array([0, 1, 0, 1, -1], np.int32), "columns must be from 0 to 2"),
        ("columns", np.array([0, 1, 0, 2, 2], np.int32), "equal columns"),
        ("rows", np.array([0, 1, 1], np.int32), "rows must have each"),
        ("bounds", np.array([0, 2, 2, 3], np.int32), "a group must have 1 to 4 rows"),
        ("bounds", np.array([0, 1, 3], np.int32), "equal columns"),
        ("order", np.array([0, 1, 2, 3, 3], np.int32), "order must have"),
    ],
)
def test_a_plan_that_is_not_one_is_refused(name, wrong, message):
    Rows(**GOOD)
    with pytest.raises(InvalidSpecError, match=message):
        Rows(**{**GOOD, name: wrong})


def test_arrays_with_gaps_are_refused():
    with pytest.raises(InvalidSpecError, match="contiguous"):
        Rows(**{**GOOD, "columns": GOOD["columns"].repeat(2)[::2]})


def test_a_transpose_of_another_shape_is_refused():
    rows = Rows(**GOOD)
    with pytest.raises(InvalidSpecError, match="transpose"):
        Pattern(rows, Rows(**{**GOOD, "width": 4, "order": np.arange(5, dtype=np.int32)}))


@needs_library
def test_wrong_operands_are_refused_before_the_call():
    case = chain_of_three()
    forward = case.chain.forward
    for wrong in (case.values[0][:-1], case.values[0].double(), torch.empty(2 * LAYER.edges)[::2]):
        with pytest.raises(InvalidSpecError, match="contiguous numbers"):
            forward(case.x, [wrong, *case.values[1:]], case.biases)
    for wrong in (case.x[1:], case.x.half(), case.x[0]):
        with pytest.raises(InvalidSpecError, match="expected shape"):
            forward(wrong, case.values, case.biases)
    with pytest.raises(InvalidSpecError, match="contiguous numbers"):
        forward(case.x, case.values, [case.biases[0][1:], *case.biases[1:]])
    _, tiles = forward(case.x, case.values, case.biases)
    with pytest.raises(InvalidSpecError, match="contiguous numbers"):
        case.chain.backward(case.grad, tiles[:-1], case.values, case.biases, [True] * 6, True)


def test_a_thread_keeps_its_memory_for_the_next_call_unless_it_is_large(monkeypatch):
    monkeypatch.setattr("topokit_train.native.MOST_KEPT", 1 << 20)
    kept = memory(1 << 20)
    assert memory(5) is kept
    with torch.device("meta"):
        assert memory(1 << 27).device.type == "cpu"
    assert memory(1 << 27).numel() == 1 << 27
    assert memory(1 << 20) is kept
    others = []
    thread = threading.Thread(target=lambda: others.append(memory(10)))
    thread.start()
    thread.join()
    assert others[0].data_ptr() != kept.data_ptr()


@needs_library
def test_a_changed_plan_is_checked_again():
    plan = KERNELS["native"].prepare(LAYER)
    plan.product(torch.ones(LAYER.shape[0], 3), torch.ones(LAYER.edges))
    plan.sources[5] = LAYER.shape[0]
    with pytest.raises(InvalidSpecError, match="columns must be from"):
        plan.product(torch.ones(LAYER.shape[0], 3), torch.ones(LAYER.edges))


def test_classes_become_groups_of_at_most_four():
    bounds = grouped(np.array([1, 3, 4, 5, 9]))
    assert bounds.tolist() == [0, 1, 4, 8, 11, 13, 16, 19, 22]


def test_a_network_in_one_call_equals_the_same_layer_by_layer():
    net = topokit.topology("radix-net radices=4,4 kron=3,2,1")
    parts = [torch.nn.Linear(*net.layer(0).shape), torch.nn.ReLU(), torch.nn.Linear(*net.layer(1).shape)]
    from topokit_train import sparsify
    from topokit_train.fusing import fuse

    torch.manual_seed(0)
    model = sparsify(torch.nn.Sequential(*parts, torch.nn.Linear(16, 3)), net, kernel="native")
    x, wanted = torch.randn(50, 48), []
    for fused in (False, True):
        model = fuse(model) if fused else model
        model.zero_grad()
        y = model(x)
        y.square().sum().backward()
        wanted.append([y, *(one.grad for one in model.parameters())])
    for one, two in zip(*wanted, strict=True):
        assert torch.allclose(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", ["native", "csr"])
def test_second_derivatives_of_a_layer_that_is_used_twice(kernel):
    layer = SparseLinear(Topology.from_dense([[[1]]]).layer(0), kernel=kernel, bias=False, dtype=torch.float64)
    layer.values.data.fill_(3.0)
    x = torch.ones(1, 1, dtype=torch.float64)
    for module in (nn.Sequential(layer, layer), fuse(nn.Sequential(layer, layer))):
        (first,) = torch.autograd.grad(module(x).sum(), layer.values, create_graph=True)  # of w^2
        assert first.item() == 6
        assert torch.autograd.grad(first, layer.values)[0].item() == 2
    y = layer(2 * layer.values[:, None])  # 2 w^2: the input depends on the values
    assert torch.autograd.grad(y.sum(), layer.values, create_graph=True)[0].item() == 12


def test_a_layer_moves_to_shared_memory():
    layer = SparseLinear(LAYER, kernel="native")
    x = torch.randn(5, LAYER.shape[0])
    before = layer(x)
    layer.share_memory()
    assert torch.equal(layer(x), before)


@needs_library
@pytest.mark.parametrize("kept", [100, 5000, 400_000])
def test_a_library_file_that_was_cut_is_not_loaded(tmp_path, kept, monkeypatch):
    cut = tmp_path / "libtopokit.so"
    cut.write_bytes(LIBRARY.read_bytes()[:kept])
    monkeypatch.setattr("topokit._native.LIBRARY", cut)
    library, reason = _loaded.__wrapped__()
    assert library is None
    assert "damaged" in reason or "does not load" in reason
