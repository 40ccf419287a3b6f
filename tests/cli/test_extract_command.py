"""`topokit extract` and `topokit mask --apply`: there and back on the command line."""

import copy

import numpy as np
import pytest

import topokit as tk

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402 (skipped without torch)
from torch import nn  # noqa: E402
from torch.nn.utils import prune  # noqa: E402

from topokit.errors import InvalidSpecError  # noqa: E402
from topokit_train import sparsify  # noqa: E402

ALL = ("--layers", "conv1,conv2,fc1,fc2")


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
    run = topokit("extract", "model.pt", *ALL)
    fingerprint = tk.fingerprint(tk.load(tmp_path / "model-topology.safetensors"))
    conv1, conv2, fc1, fc2 = (layer.weight_mask.bool() for layer in lenet.children())
    filters = [conv1.flatten(2).any(2), conv2.flatten(2).any(2), fc1.reshape(8, 6, 4).any(2), fc2]
    edges = sum(int(mask.sum()) for mask in filters)
    weights = sum(int(mask.sum()) * size for mask, size in zip(filters, (9, 9, 4), strict=False))
    assert run.out.splitlines() == [
        "file         model-topology.safetensors",
        "widths       1-4-6-8-3",
        f"edges        {edges}",
        f"density      {edges / (4 + 24 + 48 + 24):.6g}",
        f"fingerprint  {fingerprint}",
    ]
    assert [" ".join(line.split()) for line in run.err.splitlines()] == [
        "note: convolutions are read by channel: an edge is a filter of which at least one weight is kept",
        "note: reading by channel loses the pruning inside the filters or features of conv1.weight, conv2.weight, "
        f"fc1.weight: 111 weights are kept, but the edges have {weights}. To keep it, extract with --conv weight, or "
        "extract masks",
        "layer shape read kept of rule edges",
        f"conv1.weight 4 x 1 x 3 x 3 (out, in), by channel 9 36 mask {int(filters[0].sum())}",
        f"conv2.weight 6 x 4 x 3 x 3 (out, in), by channel 54 216 mask {int(filters[1].sum())}",
        "fc1.weight 8 x 24 (out, in), channels first, by channel (4 features of each) 48 192 mask "
        f"{int(filters[2].sum())}",
        f"fc2.weight 3 x 8 (out, in) 6 24 mask {int(filters[3].sum())}",
    ]


@pytest.mark.usefixtures("lenet")
def test_a_dry_run_writes_nothing(topokit, tmp_path):
    before = sorted(tmp_path.iterdir())
    run = topokit("extract", "model.pt", *ALL, "--dry-run")
    assert (run.code, run.out) == (0, "")
    assert "fc1.weight    8 x 24" in run.err
    assert topokit("extract", "model.pt", *ALL, "--dry-run", "--json").json["widths"] == [1, 4, 6, 8, 3]
    assert sorted(tmp_path.iterdir()) == before
    run = topokit("extract", "model.safetensors", "--dry-run")
    assert (run.code, len(run.err.splitlines())) == (2, 1)
    assert "choose --layers conv1,conv2,fc1,fc2; or --layers conv1,conv2,fc1@last,fc2; or" in run.err


MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
    def forward(self, x):
        x = self.one(x)
        return self.three(x + self.two(x))

def net():
    return Net(), torch.ones(1, 4)
"""


def test_a_module_whose_layers_are_not_in_series(topokit, tmp_path):
    (tmp_path / "nets.py").write_text(MODEL)
    run = topokit("extract", "nets.py:net", "-o", "net", "--json")
    assert [chain["widths"] for chain in run.json["chains"]] == [[4, 4], [4, 4], [4, 2]]
    assert {"kind": "added", "name": "add", "from": ["one.weight", "two.weight"], "to": ["three.weight"]} in run.json[
        "joints"
    ]
    assert [net.names for net in tk.formats.load_all("net")] == [("one.weight",), ("two.weight",), ("three.weight",)]
    assert tk.formats.read_joints("net") == run.json["joints"]
    info = topokit("info", "net")
    assert [line for line in info.out.splitlines() if line.startswith("chain")] == [
        "chain 0: one.weight",
        "chain 1: two.weight",
        "chain 2: three.weight",
    ]
    assert info.out.splitlines()[-1] == "added add: one.weight, two.weight -> three.weight"
    assert len(topokit("info", "net", "--json").json["chains"]) == 3
    verified = topokit("verify", "net")
    assert (verified.code, verified.out.count("net, chain ")) == (0, 3)
    drawn = topokit("draw", "net", "-o", "net.svg")
    assert (drawn.code, "has 3 chains of layers" in drawn.err) == (0, True)
    masks = topokit("mask", "net", "-o", "masks", "--json")
    assert masks.json["masks"] == {"one.weight": [4, 4], "two.weight": [4, 4], "three.weight": [2, 4]}


def test_a_function_must_return_a_module_and_an_example(topokit, tmp_path):
    (tmp_path / "nets.py").write_text("def net():\n    return 1\n")
    run = topokit("extract", "nets.py:net")
    assert (run.code, run.out) == (2, "")
    assert "must return two things, a module and an example input" in run.err


def test_kernels_are_masked_as_they_are_stored(topokit, tmp_path):
    kernel = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 0, 1]])
    save_file({"Dense_0.kernel": kernel}, tmp_path / "flax.safetensors")
    save_file({"Dense_0.kernel": torch.ones(3, 3)}, tmp_path / "dense.safetensors")
    topokit("extract", "flax.safetensors", "-o", "net")
    assert topokit("mask", "net", "--apply", "dense.safetensors", "-o", "masked").code == 0
    assert torch.equal(load_file(tmp_path / "masked")["Dense_0.kernel"], kernel)


@pytest.mark.parametrize(
    ("name", "args"), [("fc.weight", ("--layout", "in-out")), ("Dense_0.kernel", ()), ("h.0.mlp.c_fc.weight", ())]
)
def test_masks_have_the_shapes_of_the_parameters(topokit, tmp_path, name, args):
    width = 5 if "c_fc" in name else 3  # by its shape GPT-2's c_fc is stored as (in, out)
    kernel = torch.zeros(3, width)
    kernel[0, 1] = kernel[2, 0] = kernel[2, 1] = 1  # inputs 0 and 2
    save_file({name: kernel}, tmp_path / "model.safetensors")
    save_file({name: torch.ones(3, width)}, tmp_path / "dense.safetensors")
    assert topokit("extract", "model.safetensors", *args, "--masks", "-o", "masks").code == 0
    assert topokit("extract", "model.safetensors", *args, "-o", "net").code == 0
    topokit("mask", "net", "--names", name, "-o", "named")
    topokit("mask", "masks", "-o", "again")
    topokit("extract", "masks", "-o", "from-masks")
    for file in ("masks", "named", "again"):
        assert np.array_equal(tk.load_masks(tmp_path / file)[name], kernel.numpy()), file
        assert topokit("mask", file, "--apply", "dense.safetensors", "-o", "masked", "--force").code == 0
        assert torch.equal(load_file(tmp_path / "masked")[name], kernel), file
    for file in ("net", "masks", "from-masks"):
        net = tk.load(tmp_path / file)
        assert np.array_equal(net.layer(0).to_dense(), kernel.numpy()), file
        assert np.array_equal(net.masks()[name], kernel.numpy()), file
    topokit("mask", "net", "--names", name.removesuffix(".weight"), "--apply", "dense.safetensors", "-o", "m")
    assert torch.equal(load_file(tmp_path / "m")[name], kernel)
    if name == "fc.weight":  # nn.Linear stores (out, in), and a square shape does not say which one the file has
        model = nn.ModuleDict({"fc": nn.Linear(3, 3)})
        for given in (tmp_path / "masks", tmp_path / "net", tk.load(tmp_path / "masks")):
            with pytest.raises(InvalidSpecError, match=r"reads it as \(in, out\), but its module"):
                sparsify(model, given, masked=True)
        sparse = sparsify(copy.deepcopy(model), tmp_path / "net", "fc", masked=True)
        assert torch.equal(sparse["fc"].weight_mask, kernel.T)
        sparse = sparsify(model, tk.load_masks(tmp_path / "masks"), masked=True)
        assert torch.equal(sparse["fc"].weight_mask, kernel)


@pytest.mark.parametrize(
    ("name", "shape", "layers"),
    [
        ("up.weight", (4, 3, 2, 2), "up@in-out@2"),  # (in, out / groups, rows, columns), as in ConvTranspose2d
        ("Conv_0.kernel", (2, 2, 3, 4), "Conv_0.kernel"),  # (rows, columns, in, out), as in Flax
    ],
)
def test_masks_of_kernels_return_to_where_they_were(topokit, tmp_path, name, shape, layers):
    kernel = (torch.arange(48).reshape(shape) % 5 == 0).float()
    save_file({name: kernel}, tmp_path / "model.safetensors")
    save_file({name: torch.ones(shape)}, tmp_path / "dense.safetensors")
    topokit("extract", "model.safetensors", "--layers", layers, "--masks", "-o", "masks")
    assert np.array_equal(tk.load_masks(tmp_path / "masks")[name], kernel != 0)
    net = tk.load(tmp_path / "masks")
    if name == "up.weight":  # group 1 is inputs 2 and 3, and outputs 3 to 5
        assert net.widths == (4, 6)
        assert net[0].to_dense()[3].tolist() == [False] * 3 + kernel[3].any((1, 2)).tolist()
    else:
        assert np.array_equal(net[0].to_dense(), kernel.any((0, 1)))
    assert topokit("mask", "masks", "--apply", "dense.safetensors", "-o", "masked").code == 0
    assert torch.equal(load_file(tmp_path / "masked")[name], kernel)


@pytest.mark.usefixtures("lenet")
def test_json(topokit):
    run = topokit("extract", "model.safetensors", "--layers", "fc*", "--keep", ".1", "-o", "fc", "--json")
    assert run.json["widths"] == [24, 8, 3]
    keys = ("name", "shape", "read", "order", "kept", "total", "rule", "edges")
    assert [[layer[key] for key in keys] for layer in run.json["layers"]] == [
        ["fc1.weight", [8, 24], "(out, in)", "their numbers", 19, 192, "keep", 19],
        ["fc2.weight", [3, 8], "(out, in)", "their numbers", 2, 24, "keep", 2],
    ]
    assert run.json["not_extracted"][0]["name"] == "conv1.weight"
    assert run.json["edges"] == 21 == sum(run.json["layer_edges"])
    masks = topokit("extract", "model.safetensors", "--masks", "--json")
    assert masks.json["file"] == "model-masks.safetensors"
    assert [layer["kept"] for layer in masks.json["layers"]] == [9, 54, 48, 6]


@pytest.mark.usefixtures("lenet")
def test_verify_says_that_the_recipe_cannot_be_rebuilt(topokit):
    topokit("extract", "model.pt", *ALL, "-o", "net")
    run = topokit("verify", "net", "--json")
    assert run.code == 0
    soundness = next(check for check in run.json["checks"] if check["check"] == "soundness")
    assert soundness["verdict"] == "holds"
    assert "its recipe cannot be rebuilt: it was extracted from 'model.pt' (SHA-256 " in soundness["reason"]
    assert "the recorded fingerprint is right" in soundness["reason"]


def test_what_is_left_out_is_named(topokit, tmp_path):
    torch.save({"fc.weight": torch.eye(3), "norm.weight": torch.ones(3, 3)}, tmp_path / "model.pt")
    for form in ((), ("--masks",)):
        run = topokit("extract", "model.pt", *form)
        assert (
            run.err.splitlines()[0]
            == "note: not extracted: norm.weight 3 x 3; to extract them, select all layers by name"
        )
        assert "not extracted: norm.weight 3 x 3: a normalisation has no edges" in run.err.splitlines()


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
    by_channel = topokit("extract", "masked", *ALL, "-o", "net", "--json").json
    names = ",".join(dense)
    topokit("mask", "net", "--names", names, "--apply", "dense", "-o", "wider")
    assert topokit("extract", "wider", *ALL, "-o", "net2", "--json").json["fingerprint"] == by_channel["fingerprint"]
    assert np.count_nonzero(load_file(tmp_path / "wider")["conv2.weight"]) > 54


def test_info_says_how_masks_of_convolutions_are_read(topokit, tmp_path):
    tk.save_masks({"conv.weight": np.ones((3, 2, 5, 5))}, tmp_path / "masks")
    run = topokit("info", "masks", "--json")
    assert run.json["widths"] == [2, 3]
    assert "note: convolutions are read by channel" in run.err


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
    topokit("extract", "model.pt", "--layers", "conv*", "--masks", "-o", "filter-masks")
    topokit("convert", "filter-masks", "converted-filters")
    run = topokit("mask", "converted-filters", "-o", "x")  # which do not say how large they are
    assert (run.code, run.out) == (2, "")
    assert "its edges are whole filters, and only a model says how large these are: give --model" in run.err
    topokit("extract", "model.pt", *ALL, "-o", "filters")
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
    ("args", "code", "said"),
    [
        (("extract", "model.pt", "--layers", "fc2,fc1"), 2, "fc1.weight 8 x 24"),
        (("extract", "model.pt", "--layers", "fc9"), 2, "no layer is named fc9"),
        (("extract", "model.pt", *ALL, "--above", "9"), 1, "none of the 36 weights of conv1.weight"),
        (("extract", "model.pt", "--above", "x"), 2, "must be numbers such as 0.1"),
        (("extract", "model.pt", "--keep", "0"), 2, "--keep must be more than 0"),
        (("extract", "model.pt", "--keep", "1"), 2, "less than 1"),
        (("extract", "model.pt", "--keep", "ten"), 2, "keep must be numbers"),
        (("extract", "model.pt", "--above", ".1", "--rule", "mask"), 2, "two rules"),
        (("extract", "missing.pt"), 2, "'missing.pt' does not exist"),
        (("extract", "nan"), 1, "NaN in 1 of"),
        (("extract", "shape"), 1, "shape 2 x 3, but its weights have 3 x 2"),
        (("extract", "half"), 1, "damaged"),
        (("extract", "payload"), 1, "Python objects"),
        (("extract", "model.pt", *ALL, "-o", "no/such/folder"), 2, "create it first"),
        (("extract", "model.pt", "--masks", "-o", "out.npz"), 2, "out.npz: a safetensors file does not end in .npz"),
        (
            ("mask", "radix-net radices=2", "--names", "fc1.weight_mask", "-o", "x"),
            2,
            "give its parameter's, fc1.weight",
        ),
        (("mask", "radix-net radices=2", "--names", "fc1", "-o", "x.pt"), 2, "end it in .safetensors"),
        (("mask", "model.pt", "--apply", "model.safetensors", "-o", "x"), 1, "which torch.save wrote, and no topology"),
        (("mask", "radix-net radices=2,2", "--apply", "model.safetensors", "-o", "x"), 2, "--model or --names"),
        (("mask", "model.safetensors crop=1,4,6,8,2", "--apply", "nan", "-o", "x"), 2, "which may be first or last"),
        (("mask", "model.safetensors", "--apply", "shape", "-o", "x"), 2, "no parameter named conv1.weight"),
        (("mask", "radix-net radices=2,2", "--names", "a,b", "--apply", "half", "-o", "x"), 1, "damaged"),
        (
            ("mask", "radix-net radices=2", "--names", "a.weight", "--apply", "nan", "-o", "x"),
            1,
            "NaN in 1 of",
        ),
        (
            (
                "mask",
                "radix-net radices=2,2",
                "--names",
                "fc1.weight,fc2.weight",
                "--apply",
                "model.safetensors",
                "-o",
                "x",
            ),
            2,
            "fc1.weight has the shape 8 x 24",
        ),
    ],
)
def test_what_is_refused_writes_nothing(topokit, lenet, tmp_path, args, code, said):
    save_file({"a.weight": torch.tensor([[1.0, float("nan")], [0.0, 1.0]])}, tmp_path / "nan")
    save_file({"a.weight": torch.ones(3, 2), "a.weight_mask": torch.ones(2, 3)}, tmp_path / "shape")
    (tmp_path / "half").write_bytes((tmp_path / "model.safetensors").read_bytes()[:-9])
    torch.save(lenet[0], tmp_path / "payload")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    run = topokit(*args)
    assert (run.code, run.out) == (code, "")
    assert said in run.err
    assert len(run.err.splitlines()) == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.usefixtures("lenet")
def test_nothing_is_overwritten_without_force(topokit, tmp_path):
    for args in (
        ("extract", "model.pt", *ALL, "-o", "model.safetensors"),
        ("extract", "model.pt", "--masks", "-o", "model.safetensors"),
    ):
        before = (tmp_path / args[-1]).read_bytes()
        run = topokit(*args)
        assert run.code == 1
        assert "--force" in run.err
        assert (tmp_path / args[-1]).read_bytes() == before
        assert topokit(*args, "--force").code == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ("info", "model.pt"),
            "is a file of weights, which torch.save wrote, and no topology: take",
        ),
        (("info", "old.pt"), "if it is of weights, take a topology out of it with `topokit extract`"),
        (("info", "weights.safetensors"), "is a file of weights and holds neither a topology"),
        (
            ("verify", "arrays.npz"),
            "if it is of weights, take a topology out of it with `topokit extract`",
        ),
        (
            ("mask", "radix-net radices=2,2", "--names", "a,b", "--apply", "model.pt", "-o", "x"),
            "is not a safetensors file",
        ),
        (
            ("mask", "model.pt", "--apply", "weights.safetensors", "-o", "x"),
            "which torch.save wrote, and no topology: take",
        ),
    ],
)
def test_a_good_file_of_another_kind_is_not_called_damaged(topokit, tmp_path, args, said):
    torch.save({"fc.weight": torch.ones(2, 2)}, tmp_path / "model.pt")
    torch.save({"fc.weight": torch.ones(2, 2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file({"fc.weight": torch.ones(2, 2)}, tmp_path / "weights.safetensors")
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    run = topokit(*args)
    assert (run.code, run.out) == (1, "")
    assert said in run.err
    assert "damaged" not in run.err


@pytest.mark.parametrize("conv", [nn.Conv1d, nn.Conv3d])
def test_masks_of_convolutions_of_one_and_three_dimensions(topokit, tmp_path, conv):
    model = nn.Sequential(conv(1, 4, 3), conv(4, 4, 3))
    for layer in model:
        prune.l1_unstructured(layer, "weight", 0.75)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    dense = {f"{i}.weight": layer.weight_orig.detach() for i, layer in enumerate(model)}
    save_file(dense, tmp_path / "dense")
    run = topokit("extract", "model.pt", "--masks", "-o", "masks")
    assert (run.code, run.err.count("(out, in)")) == (0, 2)
    masks = tk.load_masks(tmp_path / "masks")
    assert all(np.array_equal(masks[f"{i}.weight"], layer.weight_mask) for i, layer in enumerate(model))
    assert tk.load(tmp_path / "masks").widths == (1, 4, 4)
    assert topokit("mask", "masks", "--apply", "dense", "-o", "masked").code == 0
    assert all(
        torch.equal(load_file(tmp_path / "masked")[f"{i}.weight"], layer.weight) for i, layer in enumerate(model)
    )
    sparse = sparsify(nn.Sequential(conv(1, 4, 3), conv(4, 4, 3)), tmp_path / "masks", masked=True)
    assert torch.equal(sparse[1].weight_mask, model[1].weight_mask)
    with pytest.raises(tk.TopokitError, match=f"0.weight belongs to {conv.__name__}: a topology can fill nn.Linear"):
        sparsify(nn.Sequential(conv(1, 4, 3), conv(4, 4, 3)), tmp_path / "masks")
