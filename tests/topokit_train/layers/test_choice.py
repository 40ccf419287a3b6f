"""Which kernel is taken, why, and what is remembered."""

import numpy as np
import pytest
import torch

import topokit as tk
from topokit._native import description, native
from topokit.errors import InvalidSpecError
from topokit_train.kernels import KERNELS
from topokit_train.layers import choice
from topokit_train.layers.choice import CACHE, Product, choose
from topokit_train.layers.linear import SparseLinear

CPU = torch.device("cpu")
LAYER = tk.RadixNet(radices=[(10, 10)], kron=(8, 3, 1)).layer(0)
OTHER = tk.RadixNet(radices=[(10, 10)], kron=(8, 4, 1)).layer(0)


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """The cache folder of the test."""
    monkeypatch.setattr(choice, "_cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def stopwatch(monkeypatch):
    """What is timed, and how long it takes: csr is fastest."""
    timed = []
    seconds = dict.fromkeys(KERNELS, 0.001) | {"csr": 5e-4}
    monkeypatch.setattr(choice, "measured", lambda *what: timed.append(what[-1]) or seconds[what[-1]])
    return timed


@pytest.fixture(autouse=True)
def _without_the_native_library(monkeypatch, request):
    """What is chosen must not depend on how the package was built."""
    if request.node.name.endswith("[native]"):
        if native() is None:
            pytest.skip(description())
        return
    monkeypatch.setattr("topokit_train.kernels.native.native", lambda: None)


def test_auto_ranks_all_kernels_that_can_multiply():
    found = choose(LAYER, CPU, torch.float32)
    costs = choice.estimated(LAYER, CPU, torch.float32)
    assert found.kernel == min(costs, key=costs.get)
    assert set(costs) >= {"masked", "csr", "band"}
    ranked = sorted(costs, key=costs.get)
    places = [found.reason.index(f"{name} ") for name in ranked]
    assert places == sorted(places)
    assert "masked 1.00" in found.reason


@pytest.mark.parametrize("name", KERNELS)
def test_ten_times_the_images_cost_nearly_ten_times_as_much_once_there_are_many(name):
    layer = tk.RadixNet(radices=[(16, 16)], kron=(16, 16, 16)).layer(0)
    one, few, many = (
        choice.estimated(layer, CPU, torch.float32, choice.Product(batch))[name] for batch in (1, 10_000, 100_000)
    )
    assert one < few / 50
    assert 8 < many / few <= 10


def test_the_fastest_is_taken_and_remembered(folder, stopwatch):
    found = choose(LAYER, CPU, torch.float32, "tuned")
    assert found.kernel == "csr"
    assert "csr 0.5 ms" in found.reason
    assert {"csr", "band"} <= set(stopwatch)
    assert len(set(stopwatch)) == len(stopwatch)
    before = list(stopwatch)
    assert choose(LAYER, CPU, torch.float32, "tuned") == found
    assert stopwatch == before
    choose(OTHER, CPU, torch.float32, "tuned")
    choose(LAYER, CPU, torch.float64, "tuned")
    assert len(stopwatch) > len(before) + 2
    assert choose(LAYER, CPU, torch.float32, "tuned") == found
    assert [path.name for path in folder.iterdir()] == [CACHE]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_a_layer_is_timed_where_gradients_are_off(off, monkeypatch):
    monkeypatch.setattr(choice, "SECONDS", 1e-6)
    with off():
        assert choose(LAYER, CPU, torch.float32, "tuned").kernel in KERNELS


@pytest.mark.usefixtures("folder")
def test_another_number_of_threads_is_another_case(stopwatch, monkeypatch):
    choose(LAYER, CPU, torch.float32, "tuned")
    before = len(stopwatch)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    choose(LAYER, CPU, torch.float32, "tuned")
    assert len(stopwatch) == 2 * before


@pytest.mark.usefixtures("folder")
def test_what_is_too_slow_by_far_is_not_timed(stopwatch, monkeypatch):
    monkeypatch.setattr(choice, "estimated", lambda *_: {"masked": 400.1, "csr": 400, "band": 100})
    assert choose(LAYER, CPU, torch.float32, "tuned").kernel == "csr"
    assert sorted(stopwatch) == ["band", "csr"]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"times": {}}'],
)
def test_a_damaged_file_is_measured_anew(folder, stopwatch, content):
    folder.mkdir()
    (folder / CACHE).write_text(content)
    assert choose(LAYER, CPU, torch.float32, "tuned").kernel == "csr"
    before = len(stopwatch)
    choose(LAYER, CPU, torch.float32, "tuned")
    assert len(stopwatch) == before > 0


@pytest.mark.usefixtures("stopwatch")
def test_a_folder_that_cannot_be_written_to_stops_nothing(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(choice, "_cache_folder", lambda: tmp_path / "file" / "cache")
    assert choose(LAYER, CPU, torch.float32, "tuned").kernel == "csr"


@pytest.mark.parametrize("name", ["masked", "csr", "band"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_step_is_timed(monkeypatch, name, dtype):
    monkeypatch.setattr(choice, "SECONDS", 1e-6)
    assert 0 < choice.measured(choice.PRODUCT, LAYER, CPU, dtype, name) < 60


def test_a_layer_says_why_it_has_its_kernel():
    assert SparseLinear(LAYER, kernel="csr").choice == choice.Choice("csr", "asked for")
    assert "over the dense product's" in SparseLinear(LAYER).choice.reason


@pytest.mark.parametrize(
    ("shape", "density", "device", "dtype", "taken"),
    [
        ((784, 300), 0.1, "cpu", torch.float32, "csr"),
        ((300, 100), 0.1, "cpu", torch.float64, "csr"),
        ((300, 100), 0.5, "cpu", torch.float32, "masked"),
        ((784, 300), 1.0, "cpu", torch.float32, "band"),  # one block, and no mask
        ((32, 32), 0.05, "cpu", torch.float32, "masked"),
        ((784, 300), 0.1, "cpu", torch.bfloat16, "csr"),
        ((784, 300), 0.1, "mps", torch.float32, "masked"),
        ((784, 300), 0.1, "cuda", torch.float32, "masked"),
        ((3000, 1000), 0.001, "cuda", torch.float32, "csr"),
    ],
)
def test_auto_takes_csr_where_it_should_be_faster(shape, density, device, dtype, taken):
    mask = np.random.default_rng(0).random(shape) < density
    assert choose(tk.Topology.from_dense([mask]).layer(0), torch.device(device), dtype).kernel == taken


BLOCKS = tk.Block(widths=(960, 960), block=32, density=".3", seed=0)
BIG = tk.RadixNet(radices=[(10, 10)], kron=(8, 3, 1))


@pytest.mark.parametrize(
    ("net", "device", "dtype", "taken"),
    [
        (tk.RadixNet(radices=[(10, 10)], kron=(32, 32, 1)), "cpu", torch.float32, "band"),
        (tk.RadixNet(radices=[(8, 32)], kron=(16, 16, 1)), "cpu", torch.float64, "band"),
        (tk.RadixNet(radices=[(8, 32)], kron=(16, 16, 1)), "cpu", torch.bfloat16, "csr"),
        (BIG, "cpu", torch.float32, "band"),
        (tk.crop(BIG, (784, 300, 100)), "cpu", torch.float32, "csr"),
        (BIG, "cuda", torch.float32, "masked"),
        (BIG, "mps", torch.float32, "masked"),
        (tk.RadixNet(radices=[(32, 32)], kron=(3, 3, 1)), "cuda", torch.float32, "band"),
        (tk.RadixNet(radices=[(8, 512)]), "cpu", torch.float32, "csr"),
        (tk.RadixNet(radices=[(4, 8)]), "cpu", torch.float32, "masked"),
        (tk.Block(widths=(1024, 1024), block=32, density=".3", seed=0), "cpu", torch.float32, "block"),
        (tk.Block(widths=(512, 512), block=4, density=".3", seed=0), "cpu", torch.float32, "csr"),
        (tk.crop(BLOCKS, (950, 940)), "cpu", torch.float64, "block"),
        (tk.crop(BLOCKS, (950, 940)), "cpu", torch.bfloat16, "csr"),
        (tk.kron(tk.Bernoulli(widths=(32, 16), density=".2", seed=0), (48, 48)), "cpu", torch.float32, "block"),
        (tk.Block(widths=(512, 512), block=32, density=".3", seed=0), "cuda", torch.float32, "masked"),
    ],
)
def test_auto_takes_the_kernel_of_the_structure_where_it_pays(net, device, dtype, taken):
    assert choose(tk.permute(net, seed=1).layer(0), torch.device(device), dtype).kernel == taken


def test_larger_batches_pay_for_laying_out_a_band():
    layer = tk.crop(BIG, (784, 300, 100)).layer(0)
    taken = [choose(layer, CPU, torch.float32, work=Product(batch)).kernel for batch in (100, 512)]
    assert taken == ["csr", "band"]
    assert SparseLinear(layer, batch=512).kernel == "band"


@pytest.mark.parametrize(
    ("device", "dtype", "name", "message"),
    [
        ("cpu", torch.float16, "csr", "csr does not .* it takes float32, float64, bfloat16 on cpu, cuda"),
        ("mps", torch.float32, "csr", "csr does not run on mps with float32"),
        ("cpu", torch.int64, "auto", "masked does not run on cpu with int64"),
        ("cpu", torch.float32, "crs", "no kernel named 'crs': did you mean csr"),
        ("cpu", torch.float32, "tunned", "no kernel named 'tunned'"),
    ],
)
def test_a_kernel_is_refused_with_what_it_supports(device, dtype, name, message):
    with pytest.raises(InvalidSpecError, match=message):
        choose(LAYER, torch.device(device), dtype, name)


def test_a_named_kernel_is_taken_because_it_was_asked_for():
    for name in KERNELS:
        assert choose(LAYER, CPU, torch.float32, name) == choice.Choice(name, "asked for")
        assert KERNELS[name].name == name
