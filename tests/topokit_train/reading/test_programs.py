""".pt2 files: nothing is unpickled, no operator does more than compute, and what cannot be read is named."""

import json
import logging
import warnings
import zipfile
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

import topokit_train  # noqa: E402 (skipped without torch)
from topokit.errors import FileFormatError, InvalidGraphError, InvalidSpecError  # noqa: E402
from topokit_train import read_weights  # noqa: E402


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A saved program, as {member: bytes}."""
    path = tmp_path_factory.mktemp("program") / "model.pt2"
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(model.eval(), (torch.zeros(1, 1, 4, 4),)), path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def changed(program, ending, change):
    name = next(name for name in program if name.endswith(ending))
    content = json.loads(program[name])
    change(content)
    return {**program, name: json.dumps(content)}


def test_a_program_is_read(program, tmp_path):
    found = topokit_train.extract(written(tmp_path / "model.pt2", program))
    assert (found.topology.widths, found.topology.names) == ((1, 2, 3), ("0.weight", "3.weight"))


def test_an_entry_that_needs_a_pickle_is_refused(program, tmp_path):
    def pickled(content):
        content["config"]["0.weight"]["use_pickle"] = True

    path = written(tmp_path / "model.pt2", changed(program, "model_weights_config.json", pickled))
    with pytest.raises(FileFormatError, match=r"0.weight is an object that only a pickle could read"):
        read_weights(path)


@pytest.mark.parametrize("target", ["torch.ops.aten.from_file.default", "torch.ops.aten.save.default", "os.system"])
def test_an_operator_that_could_do_more_is_not_run(program, tmp_path, target):
    canary = tmp_path / "canary"

    def constant(content):
        argument = {"name": "filename", "arg": {"as_string": str(canary)}, "kind": 1}
        shared = {"name": "shared", "arg": {"as_bool": True}, "kind": 1}
        size = {"name": "size", "arg": {"as_int": 4}, "kind": 1}
        node = {"target": target, "inputs": [argument, shared, size], "outputs": [{"as_tensor": {"name": "made"}}]}
        content["graph_module"]["graph"]["nodes"].insert(0, {**node, "metadata": {}, "name": "made"})

    with pytest.raises(FileFormatError, match=r"the node made"):
        read_weights(written(tmp_path / "model.pt2", changed(program, "models/model.json", constant)))
    assert not canary.exists()


def test_a_dynamic_shape_is_named(program, tmp_path):
    def dynamic(content):
        content["graph_module"]["graph"]["tensor_values"]["conv2d"]["sizes"][0] = {"as_expr": {"expr_str": "s0"}}

    with pytest.raises(FileFormatError, match=r"conv2d has a dynamic shape: export the program with fixed shapes"):
        read_weights(written(tmp_path / "model.pt2", changed(program, "models/model.json", dynamic)))


class Branch(torch.nn.Module):
    def forward(self, x):
        return torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,))


def test_a_wrong_example_input_is_one_error_and_no_log_of_torch():
    logged, logger = [], logging.getLogger("torch._subclasses.fake_tensor")
    handler = logging.Handler()
    handler.emit = logged.append
    logger.addHandler(handler)
    try:
        with pytest.raises(InvalidSpecError, match=r"torch.export cannot read Linear with this example input"):
            topokit_train.extract(torch.nn.Linear(4, 4), torch.zeros(1, 5))
        assert (logged, logger.disabled) == ([], False)
    finally:
        logger.removeHandler(handler)


def test_what_a_module_does_that_is_not_read_is_named():
    with pytest.raises(InvalidGraphError, match=r"the node \w+ is .*cond.*control flow"):
        topokit_train.extract(Branch(), torch.ones(1, 4))
    with pytest.raises(InvalidSpecError, match=r"torch.export cannot read Linear with this example input"):
        topokit_train.extract(torch.nn.Linear(3, 2), (torch.ones(1, 3), 1))
    with pytest.raises(InvalidSpecError, match="a module needs example_input"):
        topokit_train.extract(torch.nn.Linear(3, 2))
    with pytest.raises(InvalidSpecError, match="the graph has no layer"):
        topokit_train.extract(torch.nn.ReLU(), torch.ones(1, 3))
    with pytest.raises(InvalidSpecError, match="must be a torch module, a file or a dictionary of arrays, not int"):
        topokit_train.extract(3)


class Mapped(torch.nn.Module):
    """A layer of the inputs where a mask, which torch.vmap makes, is 1."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, x):
        mask = torch.vmap(lambda one: torch.diff(one, dim=-1) > 0)(torch.arange(4).expand(1, -1))
        return self.layer(torch.where(mask, x, 0.0))


def test_functions_of_vmap_are_read():
    assert topokit_train.extract(Mapped(), torch.ones(1, 3)).topology.widths == (3, 2)


class Product(torch.nn.Module):
    """A product that topokit does not follow, and a layer behind it if it has a width."""

    def __init__(self, width=0):
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(4, 4))
        self.layer = torch.nn.Linear(4, width) if width else torch.nn.Identity()

    def forward(self, x):
        return self.layer(torch.einsum("bi,ij->bj", x, self.w))


def test_a_product_that_is_not_followed_is_named():
    with pytest.raises(
        InvalidSpecError, match=r"no operator that topokit follows .* \(w: aten.einsum.default \(einsum\)"
    ):
        topokit_train.extract(Product(), torch.ones(1, 4))
    note, _ = topokit_train.extract(Product(2), torch.ones(1, 4)).notes
    assert note == "not extracted: w 4 x 4; selected by name, they are read without the connections of the graph"


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ((4, 0, 3), r"the node linear_1 .* linear has the shape \(1, 0\)"),
        ((4, 4, 0), "1.weight is 0 x 4, a layer without"),
    ],
)
def test_a_layer_without_weights_is_named(widths, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.nn.Sequential(*(torch.nn.Linear(*ends) for ends in pairwise(widths)))
    with pytest.raises(InvalidGraphError, match=message):
        topokit_train.extract(model, torch.ones(1, 4))


class Choice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.d = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)

    def forward(self, x):
        return torch.where(x[:, :3] > 0, self.c(x), self.d(x)) @ torch.ones(3, 2)


def test_joints_have_names_of_their_own():
    joints = topokit_train.extract(Choice(), torch.ones(1, 4)).joints
    names = [one["name"] for one in joints if one["kind"] == "joined"]
    assert names == ["where, part 1", "where"]


def test_a_module_keeps_its_mode():
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout())
    module[0].eval()
    topokit_train.extract(module, torch.ones(1, 3))
    assert [one.training for one in module.modules()] == [True, False, True]


def test_a_pruned_module_has_its_masks():
    from torch.nn.utils import prune

    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    for layer in (module[0], module[2]):
        prune.l1_unstructured(layer, "weight", 0.5)
        layer.weight_orig.data.ravel()[layer.weight_mask.ravel().argmax()] = 0  # a weight that is kept, and 0
    found = topokit_train.extract(module, torch.ones(1, 3)).topology
    assert found.layer_edges == tuple(int(layer.weight_mask.sum()) for layer in (module[0], module[2]))
    assert found.names == ("0.weight", "2.weight")


def used_twice():
    shared = torch.nn.Linear(4, 4)
    return torch.nn.Sequential(shared, torch.nn.ReLU(), shared, torch.nn.ReLU(), torch.nn.Linear(4, 3))


def tied():
    model = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(3)))
    model[1].weight = model[0].weight
    return model


@pytest.mark.parametrize("form", ["module", "pt2"])
@pytest.mark.parametrize("make", [used_twice, tied])
def test_a_parameter_with_several_names_has_the_first(make, form, tmp_path):
    model, x = make().eval(), torch.ones(1, 4)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data *= torch.rand(parameter.shape) < 0.5
            parameter.data[0, 0] = 1  # an edge
    path = tmp_path / "model.pt2"
    if form == "pt2":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.save(torch.export.export(model, (x,)), path)
    found = topokit_train.extract(path) if form == "pt2" else topokit_train.extract(model, x)
    weights = {name: weight for name, weight in model.named_parameters() if weight.ndim > 1}
    first, last = weights
    assert [one["name"] for one in found.layers] == [first, f"{first}#2", last]
    assert not found.left
    for name, mask in found.masks.items():
        assert (torch.from_numpy(mask) == (weights.pop(name) != 0)).all()
    if make is used_twice:  # of tied weights, sparsify masks none
        topokit_train.sparsify(make(), found.masks, masked=True)


@pytest.mark.parametrize("kind", ["module", "onnx"])
def test_padding_is_no_node_whatever_its_value(kind, tmp_path):
    class Padded(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(8, 3)
            self.fc.weight.data[:, [1, 2, 3, 4, 5, 6]] = 0  # all but those of the padding
            self.fc.weight.data[0, 3] = 1  # of node 2

        def forward(self, x):
            return self.fc(torch.nn.functional.pad(x, (1, 1), value=1.0))

    model, x = Padded().eval(), torch.zeros(1, 6)
    if kind == "onnx":
        pytest.importorskip("onnx")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(model, (x,), tmp_path / "x.onnx", dynamo=False)
        model, x = tmp_path / "x.onnx", None
    (layer,) = topokit_train.extract(model, x).topology
    assert (layer.shape, layer.sources.tolist(), layer.targets.tolist()) == ((6, 3), [2], [0])


@pytest.mark.parametrize("given", [{"layout": "in-out"}, {"layers": "0@2"}, {"layers": ["0", "0"]}])
def test_a_graph_says_how_its_weights_are_stored(given):
    model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    with pytest.raises(
        InvalidSpecError, match="the model itself says how its weights are stored and used: omit layout"
    ):
        topokit_train.extract(model, torch.zeros(1, 4), **given)


def test_layers_that_are_named_keep_their_places_in_the_graph():
    class Residual(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 2)

        def forward(self, x):
            y = self.a(x).relu()
            return self.c(y + self.b(y).relu())

    for layers, chains in ((["b", "a"], [("a.weight", "b.weight")]), (["b", "c"], [("b.weight",), ("c.weight",)])):
        found = topokit_train.extract(Residual().eval(), torch.zeros(1, 4), layers=layers)
        assert [chain.names for chain in found.chains] == chains
