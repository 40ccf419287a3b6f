"""Calls of all functions of the native library with results of NumPy and torch, replayed under sanitizers."""

import re
import shutil
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from topokit import Bernoulli, Topology
from topokit._native import ABI, native
from topokit.challenge import CLIP, WEIGHT
from topokit_train import native as binding
from topokit_train import native_inference
from topokit_train.fused_steps import FusedSteps
from topokit_train.kernels import KERNELS
from topokit_train.layers.linear import SparseLinear
from topokit_train.layers.stacks import StackedLinear, StackedSparse

NATIVE = Path(__file__).parents[3] / "native"
COMPILER = shutil.which("g++") or shutil.which("clang++")
FLAGS = "-std=c++17 -O0 -g -fno-exceptions -fno-rtti -ffp-contract=fast -Wno-psabi -pthread -DTK_BUILD=tk_baseline"
FUNCTIONS = re.findall(r"\b(tk_\w+)\(", (NATIVE / "topokit.h").read_text().partition("visibility push")[2])
pytestmark = pytest.mark.skipif(native() is None or not COMPILER, reason="needs the native library and a compiler")
LONG = pytest.mark.long


# ---- products, gradients and training steps, against torch in float64 ----

MASK = np.kron(np.random.default_rng(0).random((13, 9)) < 0.3, np.ones((2, 3))).astype(bool)
SPARSE = MASK & (np.random.default_rng(1).random(MASK.shape) < 0.1)  # with rows and columns that are empty
MASKS = {"groups": MASK, "empty rows": SPARSE, "no edges": np.zeros((26, 27), bool), "dense": np.ones((3, 5), bool)}
EQUAL = np.kron([[1, 1], [1, 0]] + 5 * [[1, 1]], np.ones((80, 17))).astype(bool)  # rows share copies of their inputs
LABELS = torch.arange(90) % 5  # of all samples


def weight(mask, values):
    """The dense weight, shape (out, in): values are sorted by target, then source."""
    return torch.zeros(mask.T.shape, dtype=torch.float64).masked_scatter(torch.from_numpy(mask.T), values)


def layouts(width, batch, dtype):
    """Inputs that lie in memory in several ways."""
    yield torch.randn(width, batch, dtype=dtype)
    yield torch.randn(batch, width, dtype=dtype).T
    yield torch.randn(width, batch + 5, dtype=dtype)[:, 2 : batch + 2]
    yield torch.randn(batch, width + 3, dtype=dtype)[:, 1 : width + 1].T


def chain_calls(calls, masks, batch, dtype):
    """Products and gradients of layers one after another, ReLU after all but the last."""
    kernel = KERNELS["native"]
    plans = [kernel.prepare(Topology.from_dense([mask]).layer(0)) for mask in masks]
    chain = binding.Chain([plan.pattern(torch.empty(0)) for plan in plans], [True] * (len(masks) - 1) + [False])
    values = [torch.randn(int(mask.sum()), dtype=dtype) for mask in masks]
    biases = [torch.randn(mask.shape[1], dtype=dtype) for mask in masks]
    for number, x in enumerate(layouts(len(masks[0]), batch, dtype)):
        torch.set_num_threads(1 + 2 * (number % 2))
        grad = torch.randn(masks[-1].shape[1], batch, dtype=dtype)
        exact = [one.double().clone().requires_grad_() for one in (x, *values, *biases)]
        y = exact[0]
        for i, mask in enumerate(masks):
            y = weight(mask, exact[1 + i]) @ y + exact[1 + i + len(masks)][:, None]
            y = y.relu() if i + 1 < len(masks) else y
        along, *grads = (one.to(dtype).numpy() for one in torch.autograd.grad(y, exact, grad.double()))
        calls.wanted = {"y": y.detach().to(dtype).numpy().T}
        _, tiles = chain.forward(x, values, biases, x.new_empty(batch, len(y)).T)
        names = product(("values_grad", "bias_grad"), range(len(masks)))
        calls.wanted = {"dx": along.T, **dict(zip(names, grads, strict=True))}
        chain.backward(grad, tiles, values, biases, [True] * 2 * len(masks), True)


def step_calls(calls, optimizer, settings, batch, networks=1, shared=True, dtype=torch.float32, scale=None):
    """Two training steps of one network or a stack."""
    layer = Topology.from_dense([MASK]).layer(0)
    about = {"device": "cpu", "kernel": "native"}
    if networks == 1:
        parts = [SparseLinear(layer, kernel="native", dtype=dtype), nn.Linear(27, 5, dtype=dtype)]
    else:
        parts = [
            StackedSparse(layer, networks, shared=shared, **about),
            StackedLinear(networks, 27, 5, shared=False, device="cpu"),
        ]
    ours = [parts[0].values, parts[0].bias, parts[1].weight, parts[1].bias]
    for one in ours:
        nn.init.normal_(one)
    exact = [one.detach().double().clone().requires_grad_() for one in ours]
    inputs = torch.rand(len(LABELS), 26, dtype=dtype)
    given = torch.randint(256, inputs.shape, dtype=torch.uint8) if scale else inputs
    inputs = (given.double() - scale[0]) * scale[1] if scale else inputs
    theirs = optimizer(exact, **settings)
    layers = [(parts[0], True), (parts[1], False)]
    steps = FusedSteps(layers, optimizer(ours, **settings), given, LABELS, networks, shared=shared, scale=scale)
    with steps.steps():
        for _ in range(2):
            index = torch.randint(len(LABELS), (batch,) if steps.shared else (batch, networks))
            own = index.view(batch, -1).expand(batch, networks)
            losses = torch.stack([loss_of(exact, networks, k, inputs[own[:, k]], own[:, k]) for k in range(networks)])
            theirs.zero_grad()
            losses.sum().backward()
            theirs.step()
            calls.wanted = {"loss": losses.detach().numpy()}
            for number, one in enumerate(exact):
                i, k = divmod(number, 2)
                calls.wanted[("values", "bias")[k], i] = one.detach().to(dtype).numpy()
                moments = [m for m in theirs.state[one].values() if m is not None and m.ndim]
                calls.wanted |= {("moments", i, 2 * k + n): m.to(dtype).numpy() for n, m in enumerate(moments)}
            steps(index)


def loss_of(parameters, networks, k, x, index):
    """The cross-entropy of network k of a stack."""
    values, bias, second, second_bias = (one.view(networks, -1)[k] for one in parameters)
    hidden = (x.double() @ weight(MASK, values).T + bias).relu()
    return nn.functional.cross_entropy(hidden @ second.view(5, 27).T + second_bias, LABELS[index])


OPTIMIZERS = [
    (torch.optim.Adam, {"lr": 1e-2, "eps": 1e-3, "weight_decay": 0.1}),
    (torch.optim.AdamW, {"lr": 1e-2, "eps": 1e-3, "weight_decay": 0.1}),
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
    (torch.optim.SGD, {"lr": 0.1}),
]


def training_calls(calls):
    torch.manual_seed(0)
    for dtype, batch in product((torch.float32, torch.float64), (1, 17, 513)):
        for mask in MASKS.values():
            chain_calls(calls, [mask], batch, dtype)
        chain_calls(calls, [MASK, MASK.T, SPARSE, np.ones((27, 5), bool)], batch, dtype)
        chain_calls(calls, [EQUAL], min(batch, 70), dtype)
        for optimizer, settings in OPTIMIZERS:
            step_calls(calls, optimizer, settings, batch, dtype=dtype)
    for threads, shared, batch in product((1, 2), (True, False), (1, 100)):
        torch.set_num_threads(threads)
        step_calls(calls, *OPTIMIZERS[0], batch, networks=3, shared=shared)
        step_calls(calls, *OPTIMIZERS[0], batch, networks=3, shared=shared, scale=(33.3, 1 / 78.6))


# ---- inference of the Graph Challenge, and edges of layers, against dense arrays in NumPy ----


def inference_calls(calls):
    """Images of which a few, some, and all are dropped on the way."""
    random = np.random.default_rng(2)
    net = Bernoulli(widths=(70, 130, 140, 40), density=".3", seed=0)
    layers = [native_inference._Weights(layer, -0.25) for layer in net]
    for images, density in ((1, 1.0), (100, 0.5), (250, 0.7), (60, 0.0)):
        x = (random.random((images, 70)) < density * random.random((images, 1))).astype(np.float32)
        y = x
        for layer in net:
            y = np.clip(y @ (WEIGHT * layer.to_dense()) - 0.25, 0, CLIP).astype(np.float32)
        (left,) = y.any(1).nonzero()
        assert left.size < images or images == 1
        calls.wanted = {"outputs": y[left], "which": left.astype(np.int32)}  # of 40 nodes, without a gap
        torch.set_num_threads(2)
        calls.cross(x, 142, layers)


CIRCULANTS = [  # nodes, radix, place, direction, copies, step, whether rows have another order
    (16, 4, 4, 1, (1, 1), 1, False),
    (16, 2, 8, -1, (2, 4), 2, False),
    (16, 2, 1, 1, (1, 3), 1, True),
    (10, 3, 3, -1, (3, 3), 3, True),
    (7, 1, 7, 1, (1, 5), 1, False),
    (1500, 6, 250, 1, (1, 1), 1, False),
]


def circulant(nodes, radix, place, direction, copies, step, shuffled):
    """The rows of a circulant layer, and its dense matrix."""
    dense = np.zeros((copies[0] * nodes, copies[1] * nodes), np.uint64)
    for row, k, copy in product(range(len(dense)), range(radix), range(copies[1])):
        if copy % step == row // nodes % step:
            dense[row, copy * nodes + (row % nodes + direction * k * place) % nodes] = 1
    order = np.random.default_rng(3).integers(len(dense), size=len(dense)) if shuffled else np.arange(len(dense))
    rows = {"nodes": nodes, "radix": radix, "place": place, "direction": direction, "joined": copies[1] // step}
    rows |= {"sources": len(dense), "targets": dense.shape[1], "step": step}
    return {**rows, **({"order": order} if shuffled else {})}, dense[order]


def in_memory(mask):
    """The rows of a layer in memory, and its dense matrix."""
    dense = mask.astype(np.uint64)
    indptr = np.concatenate([[0], dense.sum(1).cumsum()]).astype(np.uint64)
    rows = {"sources": len(dense), "targets": dense.shape[1]}
    return {**rows, "indptr": indptr, "indices": dense.nonzero()[1].astype(np.uint64)}, dense


def edge_calls(calls):
    random = np.random.default_rng(4)
    for mask in MASKS.values():
        rows, dense = in_memory(mask)
        calls.add_of_rows("tk_fill", rows, np.zeros(0, np.uint64), result=0)
        calls.add_of_rows("tk_survey", rows, *(np.zeros(n, np.int64) for n in dense.shape), result=0)
        product_calls(calls, rows, dense, random)
        canonical_calls(calls, rows, dense)
    for case in CIRCULANTS:
        rows, dense = circulant(*case)
        indices = dense.nonzero()[1].astype(np.uint64)
        calls.add_of_rows("tk_fill", rows, np.zeros_like(indices), written={0: indices})
        degrees = [dense.sum(axis).astype(np.int64) for axis in (1, 0)]
        room = [np.zeros_like(one) for one in degrees]
        calls.add_of_rows("tk_survey", rows, *room, written=dict(enumerate(degrees)))
        product_calls(calls, rows, dense, random)


def product_calls(calls, rows, dense, random):
    """Sums over neighbours, and comparisons of nodes by the classes of their neighbours."""
    for reverse, matrix in enumerate((dense.T, dense)):  # (far, near)
        near = matrix.shape[1]
        for width in (1, 3, 4):
            x = random.integers(2**64, size=(near, width), dtype=np.uint64)
            y = np.stack([(matrix * one).sum(1, dtype=np.uint64) for one in x.T], 1)
            calls.add_of_rows("tk_multiply", rows, reverse, width, x, np.zeros_like(y), written={3: y})
        labels = random.integers(3, size=near)
        counts = np.stack([matrix[:, labels == label].sum(1) for label in range(3)], 1).astype(np.uint64)
        _, first, which = np.unique(counts, axis=0, return_index=True, return_inverse=True)
        alike = first[which.reshape(-1)]
        order = np.argsort(alike if reverse else labels, kind="stable")
        found = entries(matrix, labels, alike, order, reverse)
        wanted = [np.array([one[i] for one in found], np.int64) for i in (0, 1)]
        wanted.append(np.array([counts[one] for one in found], np.uint64))
        room, written = [np.zeros_like(one) for one in wanted], dict(enumerate(wanted, 6))
        about = (reverse, labels, 3, order, alike)
        calls.add_of_rows("tk_classes", rows, *about, len(found), *room, result=len(found), written=written)
        calls.add_of_rows("tk_classes", rows, *about, 0, 0, 0, 0, result=0)
        if found:  # no room for the last
            room, head = [one[:-1] for one in room], (*about, len(found) - 1)
            calls.add_of_rows("tk_classes", rows, *head, *room, result=-1)
        for wrong in apart(counts):
            about = (reverse, labels, 3, np.argsort(wrong, kind="stable") if reverse else order, wrong)
            calls.add_of_rows("tk_classes", rows, *about, 0, 0, 0, 0, result=-1)


def apart(counts):
    """Say of two nodes that they are alike, of which one has more edges than the other, or other ones."""
    more = (counts[:, None] >= counts[None]).all(-1)
    differ = (counts[:, None] != counts[None]).any(-1)
    for pairs in (more & ~more.T, more.T & ~more, differ & ~more & ~more.T):
        for first, second in np.argwhere(np.triu(pairs))[:2]:
            alike = np.arange(len(counts))
            alike[second] = first
            yield alike


def entries(matrix, labels, alike, order, reverse):
    """The pairs of a far node that is like itself and a near class, in the order in which the library finds them."""
    if reverse:
        pairs = [(far, labels[near]) for far in order if alike[far] == far for near in matrix[far].nonzero()[0]]
    else:
        pairs = [(far, labels[near]) for near in order for far in matrix[:, near].nonzero()[0] if alike[far] == far]
    return list(dict.fromkeys((int(far), int(label)) for far, label in pairs))


def canonical_calls(calls, rows, dense):
    """Checks of a layer and of the same with faults, and counts of its targets."""
    sources, targets = dense.shape
    indptr, indices = rows["indptr"], rows["indices"]
    edges = indices.size
    calls.add("tk_canonical", indptr, indices, sources, targets, edges, result=1)
    room, wanted = np.zeros(targets, np.int64), dense.sum(0).astype(np.int64)
    calls.add("tk_count", indices, edges, targets, room, result=1, written={3: wanted})
    for place, number in ((0, 1), (1, 2**63 + 9), (1, edges + 1), (-1, edges + 1), (-1, 2**64 - 1)):
        wrong = indptr.copy()
        wrong[place] = number
        calls.add("tk_canonical", wrong, indices, sources, targets, edges, result=0)
    for number in (targets, 2**32, 2**63 + 5)[: 3 * bool(edges)]:
        wrong = indices.copy()
        wrong[-1] = number
        calls.add("tk_canonical", indptr, wrong, sources, targets, edges, result=0)
        calls.add("tk_count", wrong, edges, targets, room, result=0, written={3: room})


def other_calls(calls):
    calls.add("tk_abi", result=ABI)
    calls.add("tk_isa", b"baseline\0", result=1)
    for name, result in ((b"baseline\0", 1), (b"avx512\0", 0), (b"sse9\0", 0)):
        calls.add("tk_limit", name, result=result)
    calls.add("tk_lanes", 0, result=calls.size // 4)
    calls.add("tk_lanes", 1, result=calls.size // 8)
    calls.add("tk_tile", result=24 * calls.size // 16)


@pytest.mark.parametrize(
    ("size", "isa"),
    [(16, ""), pytest.param(32, "-mavx2 -mfma", marks=LONG), pytest.param(64, "-mavx2 -mfma", marks=LONG)],
)
def test_recorded_calls_replay_under_sanitizers(calls, size, isa):
    calls.size = size
    program = calls.folder / "replay"
    sources = [NATIVE / name for name in ("step.cpp", "library.cpp", "graphs.cpp", "replay.cpp")]
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-DTK_BYTES={size}"]
    command = [COMPILER, *FLAGS.split(), *isa.split(), *sanitizers, *map(str, sources), "-o", str(program), "-lm"]
    with subprocess.Popen(command) as compiling:  # meanwhile
        for make in (other_calls, training_calls, inference_calls, edge_calls):
            make(calls)
    assert compiling.returncode == 0
    assert set(calls.names) == set(FUNCTIONS)
    files = [str(calls.folder / f"call-{number}") for number in range(len(calls.names))]
    done = subprocess.run([str(program), *files], capture_output=True, text=True)
    assert done.stdout == "all equal\n", done.stderr
    assert not done.returncode
