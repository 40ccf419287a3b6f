"""Checkpoint files: canonical contents, readable as a topology, and refused when damaged."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import topokit as tk
from topokit.errors import FileFormatError
from topokit_train.config import TrainConfig
from topokit_train.runs.checkpoints import Origin, load, restore, save
from topokit_train.runs.topologies import default_topology
from topokit_train.training import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")


def trainer(digits, topology, **settings):
    config = TrainConfig(epochs=4, batch_size=300, **settings)
    return Trainer(config, topology, digits, device=torch.device("cpu"), kernel=config.kernel)


def saved(path, made):
    origin = Origin(
        config=made.config, data="d", device="cpu", kernels=made.kernels, threads=1, torch=torch.__version__
    )
    save([path], made, origin)
    return load(path)


def test_strided_numbers_are_written_in_order(tmp_path, digits):
    """safetensors.numpy.save writes the memory of an array that is not contiguous, in another order."""
    made = trainer(digits, None)
    with torch.no_grad():
        for parameter in made.model.parameters():
            if parameter.ndim == 2:
                parameter.data = parameter.t().contiguous().t()
    expected = {name: parameter.detach().numpy().copy() for name, parameter in made.model.named_parameters()}
    saved(tmp_path / "c", made)
    found = load_file(tmp_path / "c")
    assert all(np.array_equal(found[name], array) for name, array in expected.items())


@pytest.fixture(params=[None, default_topology()], ids=["dense", "sparse"])
def topology(request):
    return request.param


@pytest.mark.parametrize(
    "settings", [{}, {"optimizer": "sgd", "schedule": "constant"}], ids=["adam-one-cycle", "sgd-constant"]
)
@pytest.mark.parametrize("epochs", [0, 2])
def test_a_restored_trainer_goes_on_bit_for_bit(tmp_path, digits, topology, settings, epochs):
    straight = trainer(digits, topology, **settings)
    for _ in range(epochs):
        straight.run_epoch()
    checkpoint = saved(tmp_path / "c", straight)
    again = trainer(digits, topology, **settings)
    again.run_epoch()  # whatever it did before must not matter
    restore([checkpoint], again)
    assert again.histories == straight.histories
    for _ in range(2):
        straight.run_epoch()
        again.run_epoch()
    for name, tensor in straight.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor)
    one, two = (saved(tmp_path / "c", made) for made in (straight, again))
    assert one.scheduler == two.scheduler
    assert one.tensors.keys() == two.tensors.keys()
    assert all(np.array_equal(one.tensors[name], two.tensors[name]) for name in one.tensors)


@pytest.mark.usefixtures("float64")
def test_every_kernel_saves_one_number_per_edge_in_canonical_order(tmp_path, digits):
    topology = default_topology()
    files = {}
    for kernel in ("csr", "masked"):
        made = trainer(digits, topology, kernel=kernel)
        made.run_epoch()
        saved(tmp_path / kernel, made)
        files[kernel] = load_file(tmp_path / kernel)
    names = [f"{layer}.{part}" for layer in ("fc1", "fc2") for part in ("values", "bias")] + ["fc3.weight", "fc3.bias"]
    kept = [f"optimizer.{name}.{part}" for name in names for part in ("exp_avg", "exp_avg_sq", "step")]
    parts = [f"layer.{i}.{part}" for i in (0, 1) for part in ("indptr", "indices")]
    assert set(files["csr"]) == {*names, *kept, *parts, "fc1.digest", "fc2.digest"}
    for prefix in ("", "optimizer."):
        suffix = ".exp_avg" if prefix else ""
        assert files["masked"][f"{prefix}fc1.values{suffix}"].shape == (23_520,)
        assert files["masked"][f"{prefix}fc2.values{suffix}"].shape == (3_000,)
    for name, array in files["csr"].items():
        np.testing.assert_allclose(files["masked"][name], array, rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.usefixtures("float64")
def test_a_checkpoint_goes_on_under_another_kernel(tmp_path, digits):
    topology = default_topology()
    masked, csr = (trainer(digits, topology, kernel=kernel) for kernel in ("masked", "csr"))
    masked.run_epoch()
    restore([saved(tmp_path / "c", masked)], csr)
    assert csr.run_epoch()[0].train_loss == pytest.approx(masked.run_epoch()[0].train_loss, rel=1e-6)
    for layer in ("fc1", "fc2"):
        one, two = (made.model.state_dict()[f"{layer}.values"] for made in (masked, csr))
        torch.testing.assert_close(one, two, rtol=0, atol=1e-9)


def test_the_topology_is_read_out_of_a_checkpoint(tmp_path, digits):
    topology = default_topology()
    checkpoint = saved(tmp_path / "c", trainer(digits, topology))
    net = tk.load(tmp_path / "c")
    assert tk.fingerprint(net) == tk.fingerprint(topology) == checkpoint.fingerprints[0]
    assert net.recipe == topology.recipe
    assert tk.verify(net).verdict.value == "holds"


def test_a_dense_checkpoint_holds_no_topology(tmp_path, digits):
    assert saved(tmp_path / "c", trainer(digits, None)).fingerprints == ()
    with pytest.raises(FileFormatError, match="holds neither a topology"):
        tk.load(tmp_path / "c")


def test_origin_and_metrics_are_kept(tmp_path, digits):
    made = trainer(digits, None, data_dir="somewhere")
    made.run_epoch()
    checkpoint = saved(tmp_path / "c", made)
    assert checkpoint.origin == Origin(
        config=made.config, data="d", device="cpu", kernels={}, threads=1, torch=torch.__version__
    )
    assert checkpoint.metrics == tuple(made.histories[0])


def test_damaged_checkpoints_are_refused(tmp_path, digits):
    path = tmp_path / "c"
    small = tk.RadixNet(radices=[(28, 28)])
    made = Trainer(TrainConfig(model="mlp"), small, digits, device=torch.device("cpu"), kernel="csr")
    whole = saved(path, made)
    good = path.read_bytes()
    random = np.random.default_rng(5)
    refused = 0
    for number in range(300):
        content = bytearray(good)
        if number < 40:
            del content[random.integers(len(content)) :]
        else:
            place = random.integers(3000 if number % 2 else len(content))  # the header is at the start
            content[place] ^= 1 << random.integers(8)
        path.write_bytes(content)
        try:
            found = load(path)
        except FileFormatError as error:
            refused += "\n" not in str(error)
        else:  # a change that says nothing, as in the header's white space
            assert dataclasses.replace(found, tensors={}) == dataclasses.replace(whole, tensors={})
            assert all(np.array_equal(found.tensors[name], whole.tensors[name]) for name in whole.tensors)
            refused += 1
    assert refused == 300


def test_other_files_are_no_checkpoints(tmp_path):
    tk.save(default_topology(), tmp_path / "net.safetensors")
    with pytest.raises(FileFormatError, match="is no checkpoint, or one of a later release"):
        load(tmp_path / "net.safetensors")
    save_file({"w": np.zeros(3)}, tmp_path / "weights.safetensors")
    with pytest.raises(FileFormatError, match="is no checkpoint"):
        load(tmp_path / "weights.safetensors")
    torch.save({"w": torch.zeros(3)}, tmp_path / "pickle.safetensors")
    with pytest.raises(FileFormatError, match="is damaged"):
        load(tmp_path / "pickle.safetensors")


def test_a_checkpoint_of_a_later_release_says_so(tmp_path, digits, monkeypatch):
    monkeypatch.setattr("topokit_train.runs.checkpoints.KIND", {"topokit.kind": "checkpoint", "topokit.schema": "2"})
    saved(tmp_path / "c", trainer(digits, None))
    monkeypatch.undo()
    with pytest.raises(FileFormatError, match="later release"):
        load(tmp_path / "c")
