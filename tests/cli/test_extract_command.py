"""`topokit extract` and `topokit mask --apply`: there and back on the command line."""

import shlex

import numpy as np
import pytest

import topokit as tk

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402 (skipped without torch)
from torch import nn  # noqa: E402
from torch.nn.utils import prune  # noqa: E402


@pytest.fixture
def lenet(tmp_path):
    """A pruned model with convolutions: its state dict in model.safetensors and model.pt."""
    torch.manual_seed(0)
    model = nn.Sequential()
    for name, layer in {
        "conv1": nn.Conv2d(1, 4, 3),
        "conv2": nn.Conv2d(4, 6, 3),
        "fc1": nn.Linear(24, 8),
        "fc2": nn.Linear(8, 3),
    }.items():
        model.add_module(name, layer)
        prune.l1_unstructured(layer, "weight", 0.75)
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, tmp_path / "model.safetensors"
    )
    torch.save(model.state_dict(), tmp_path / "model.pt")
    return model


def test_what_is_printed(topokit, lenet, tmp_path):
    run = topokit("extract", "model.pt")
    fingerprint = tk.fingerprint(tk.load(tmp_path / "model-topology.safetensors"))
    conv1, conv2, fc1, fc2 = (layer.weight_mask.bool() for layer in lenet.children())
    filters = [conv1.flatten(2).any(2), conv2.flatten(2).any(2), fc1.reshape(8, 6, 4).any(2), fc2]
    edges = sum(int(mask.sum()) for mask in filters)
    assert run.out.splitlines() == [
        "file         model-topology.safetensors",
        "widths       1-4-6-8-3",
        f"edges        {edges}",
        f"density      {edges / (4 + 24 + 48 + 24):.6g}",
        f"fingerprint  {fingerprint}",
        "",
        "layer         shape          kept   of  share  rule",
        "conv1.weight  4 x 1 x 3 x 3     9   36   0.25  mask",
        "conv2.weight  6 x 4 x 3 x 3    54  216   0.25  mask",
        "fc1.weight    8 x 24           48  192   0.25  mask",
        "fc2.weight    3 x 8             6   24   0.25  mask",
    ]
    assert (
        run.err == "note: convolutions are read by channel: an edge is a filter of which at least one weight is kept\n"
    )


@pytest.mark.usefixtures("lenet")
def test_json(topokit):
    run = topokit("extract", "model.safetensors", "--layers", "fc*", "--keep", ".1", "-o", "fc", "--json")
    assert run.json["widths"] == [24, 8, 3]
    assert run.json["layers"] == [
        {"name": "fc1.weight", "shape": [8, 24], "kept": 19, "total": 192, "rule": "keep"},
        {"name": "fc2.weight", "shape": [3, 8], "kept": 2, "total": 24, "rule": "keep"},
    ]
    assert run.json["edges"] == 21 == sum(run.json["layer_edges"])
    masks = topokit("extract", "model.safetensors", "--masks", "--json")
    assert masks.json["file"] == "model-masks.safetensors"
    assert [layer["kept"] for layer in masks.json["layers"]] == [9, 54, 48, 6]


@pytest.mark.usefixtures("lenet")
def test_verify_says_that_the_recipe_cannot_be_rebuilt(topokit):
    topokit("extract", "model.pt", "-o", "net")
    run = topokit("verify", "net", "--json")
    assert run.code == 0
    soundness = next(check for check in run.json["checks"] if check["check"] == "soundness")
    assert soundness["verdict"] == "holds"
    assert "its recipe cannot be rebuilt: it was extracted from 'model.pt' (SHA-256 " in soundness["reason"]
    assert "the recorded fingerprint is right" in soundness["reason"]


@pytest.mark.parametrize("form", [(), ("--masks",)])
def test_what_is_left_out_is_named(topokit, tmp_path, form):
    model = nn.Sequential(nn.Linear(4, 3), nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)), nn.Linear(3, 2))
    torch.save(model.state_dict(), tmp_path / "model.pt")
    run = topokit("extract", "model.pt", "--above", "0", *form)
    parts = "1.parametrizations.weight.original0 3 x 1, 1.parametrizations.weight.original1 3 x 3"
    assert run.err == f"note: not extracted: {parts}; to extract them, select all layers by name\n"


def test_masks_there_and_back(topokit, lenet, tmp_path):
    topokit("extract", "model.safetensors", "--masks", "-o", "masks")
    dense = {f"{name}.weight": layer.weight_orig.detach() for name, layer in lenet.named_children()}
    save_file(dense, tmp_path / "dense")
    run = topokit("mask", "masks", "--apply", "dense", "-o", "masked")
    assert run.out.splitlines()[0] == "conv1.weight  4 x 1 x 3 x 3, 9 of 36 kept"
    masked = load_file(tmp_path / "masked")
    for name, layer in lenet.named_children():
        assert torch.equal(masked[f"{name}.weight"], layer.weight_orig * layer.weight_mask)

    again = topokit("extract", "masked", "--masks", "--json").json["layers"]
    assert [(layer["kept"], layer["rule"]) for layer in again] == [(n, "nonzero") for n in (9, 54, 48, 6)]
    by_channel = topokit("extract", "masked", "-o", "net", "--json").json
    names = ",".join(dense)
    topokit("mask", "net", "--names", names, "--apply", "dense", "-o", "wider")
    assert topokit("extract", "wider", "-o", "net2", "--json").json["fingerprint"] == by_channel["fingerprint"]
    assert np.count_nonzero(load_file(tmp_path / "wider")["conv2.weight"]) > 54


def test_the_parameters_of_a_topology_are_known_through_files(topokit, lenet, tmp_path):
    topokit("extract", "model.pt", "--layers", "fc1,fc2", "--masks", "-o", "masks")
    topokit("extract", "model.pt", "--layers", "fc1,fc2", "-o", "extracted")
    topokit("convert", "masks", "converted")
    for file in ("extracted", "converted"):
        run = topokit("mask", file, "-o", f"{file}-masks")
        assert run.code == 0, run.err
        assert (tmp_path / f"{file}-masks").read_bytes() == (tmp_path / "masks").read_bytes()
        assert topokit("mask", file, "--apply", "model.safetensors", "-o", f"{file}-model").code == 0
        assert torch.equal(load_file(tmp_path / f"{file}-model")["fc1.weight_mask"], lenet.fc1.weight_mask)
    topokit("extract", "model.pt", "-o", "filters")
    run = topokit("mask", "filters", "-o", "x")  # which do not say how large they are
    assert (run.code, run.out) == (2, "")
    assert "its edges are whole filters, and only a model says how large these are: give --model" in run.err
    topokit("extract", "model.pt", "--layers", "conv*", "--masks", "-o", "filter-masks")
    topokit("convert", "filter-masks", "converted-filters")
    again = topokit("mask", "converted-filters", "-o", "x")
    assert (again.code, again.err.partition(": ")[2]) == (2, run.err.partition(": ")[2])
    assert topokit("mask", "filters", "--apply", "model.safetensors", "-o", "x").code == 0
    for name, layer in lenet.named_children():
        assert torch.equal(load_file(tmp_path / "x")[f"{name}.weight_mask"], layer.weight_mask)


def test_what_is_left_of_a_model_that_is_pruned_already(topokit, lenet, tmp_path):
    topokit("build", "--family", "bernoulli", "--widths", "24,8,3", "--density", ".5", "--seed", 0, "-o", "net")
    run = topokit("mask", "net", "--names", "fc1,fc2", "--apply", "model.safetensors", "-o", "masked")
    masked = load_file(tmp_path / "masked")
    for line, layer in zip(run.out.splitlines(), (lenet.fc1, lenet.fc2), strict=True):
        name, _, rest = line.partition("  ")
        left = int(masked[f"{name}_mask"].sum())
        assert rest.endswith(f", {left} of {layer.weight.numel()} kept")
        assert left < layer.weight_mask.sum()
    assert line.startswith("fc2.weight  3 x 8,")
    again = topokit("extract", "masked", "--layers", "fc1,fc2", "--json").json
    assert [layer["kept"] for layer in again["layers"]] == [
        int(masked[f"{name}.weight_mask"].sum()) for name in ("fc1", "fc2")
    ]


def test_mask_with_a_model(topokit, tmp_path):
    shapes = {"fc1.weight": (300, 784), "fc2.weight": (100, 300), "fc3.weight": (10, 100)}
    save_file({name: torch.ones(shape) for name, shape in shapes.items()}, tmp_path / "dense")
    topokit("build", "--radices", "10,10", "--kron", "8,3,1", "--crop", "784,300,100", "-o", "net")
    run = topokit("mask", "net", "--model", "lenet-300-100", "--apply", "dense", "-o", "masked", "--json")
    assert run.json == {"file": "masked", "masks": {"fc1.weight": [300, 784], "fc2.weight": [100, 300]}}
    found = topokit("extract", "masked", "--layers", "fc1,fc2", "-o", "back", "--json").json
    assert found["fingerprint"] == topokit("info", "net", "--json").json["fingerprint"]


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("extract model.pt --conv weight", 2, "--conv channel"),
        ("extract model.pt --layers fc2,fc1", 2, "fc1.weight 8 x 24"),
        ("extract model.pt --above 9", 1, "none of the 36 weights of conv1.weight"),
        ("extract model.pt --above x", 2, "not a valid float"),
        ("extract model.pt --keep 0", 2, "--keep must be more than 0"),
        ("extract nan", 1, "NaN in 1 of"),
        ("extract shape", 1, "shape 2 x 3, but its weights have 3 x 2"),
        ("extract half", 1, "damaged"),
        ("extract payload", 1, "Python objects"),
        ("extract model.pt -o no/such/folder", 2, "create it first"),
        ("extract model.pt --masks -o out.npz", 2, "out.npz: a safetensors file does not end in .npz"),
        ("mask 'radix-net radices=2' --names fc1.weight_mask -o x", 2, "give its parameter's, fc1.weight"),
        ("mask model.pt --apply model.safetensors -o x", 1, "not a safetensors file"),
        ("mask 'model.safetensors crop=1,4,6,8,2' --apply nan -o x", 2, "--model or --names"),
        ("mask model.safetensors --apply shape -o x", 2, "no parameter named conv1.weight"),
        ("mask 'radix-net radices=2,2' --names a,b --apply half -o x", 1, "damaged"),
        ("mask 'radix-net radices=2' --names a.weight --apply nan -o x", 1, "NaN in 1 of"),
        (
            "mask 'radix-net radices=2,2' --names fc1.weight,fc2.weight --apply model.safetensors -o x",
            2,
            "fc1.weight has the shape 8 x 24",
        ),
    ],
)
def test_what_is_refused_writes_nothing(topokit, lenet, tmp_path, line, code, said):
    save_file({"a.weight": torch.tensor([[1.0, float("nan")], [0.0, 1.0]])}, tmp_path / "nan")
    save_file({"a.weight": torch.ones(3, 2), "a.weight_mask": torch.ones(2, 3)}, tmp_path / "shape")
    (tmp_path / "half").write_bytes((tmp_path / "model.safetensors").read_bytes()[:-9])
    torch.save(lenet[0], tmp_path / "payload")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    run = topokit(*shlex.split(line))
    assert (run.code, run.out, len(run.err.splitlines())) == (code, "", 1)
    assert said in run.err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("info model.pt", "is a file of weights, which torch.save wrote, and no topology: take"),
        ("info old.pt", "if it is of weights, take a topology out of it with `topokit extract`"),
        ("info weights.safetensors", "is a file of weights and holds neither a topology"),
        ("verify arrays.npz", "arrays.npz holds no sparse matrix"),
        ("mask 'radix-net radices=2,2' --names a,b --apply model.pt -o x", "is not a safetensors file"),
    ],
)
def test_a_good_file_of_another_kind_is_not_called_damaged(topokit, tmp_path, line, said):
    torch.save({"fc.weight": torch.ones(2, 2)}, tmp_path / "model.pt")
    torch.save({"fc.weight": torch.ones(2, 2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file({"fc.weight": torch.ones(2, 2)}, tmp_path / "weights.safetensors")
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    run = topokit(*shlex.split(line))
    assert (run.code, run.out) == (1, "")
    assert said in run.err
    assert "damaged" not in run.err
