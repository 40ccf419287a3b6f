"""The layers of random modules, read from the module, from its .pt2 program and its ONNX file, against derivatives."""

import copy
import re
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from topokit.errors import InvalidSpecError  # noqa: E402 (skipped without torch)
from topokit.extraction import Rule, from_arrays, select  # noqa: E402
from topokit_train import read_weights  # noqa: E402
from topokit_train.weights import read_model  # noqa: E402

from .random_modules import (  # noqa: E402
    Attention,
    Beside,
    Decoder,
    Lstm,
    Shuffle,
    ToImage,
    edges_by_derivatives,
    random_module,
)

SEEDS = [*range(30), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(30, 300))]


def edges_read(found):
    """The edges of each layer, in the order of the layers, by the outputs of the layers before; as the oracle's."""
    tracing = found.connections.tracing
    numbers = {use.first: i for i, use in enumerate(tracing.uses)}
    read = {}
    for number, (use, nodes) in enumerate(zip(tracing.uses, found.connections.reads, strict=True)):
        layer, edges = found.edges[use.name], {}
        for source, target in zip(layer.sources.tolist(), layer.targets.tolist(), strict=True):
            for key in expanded(tracing, int(nodes[source]), numbers):
                edges.setdefault(key, set()).add(target)
        read[number] = edges
    return read


def expanded(tracing, node, numbers):
    (space,) = tracing.spaces_of(np.array([node]))
    if space.kind == "layer":
        return [(numbers[space.first], node - space.first)]
    if space.kind == "input":
        labels = tracing.labels.get(space.name, np.arange(space.size))
        return [("input", int(element)) for element in np.flatnonzero(labels == node - space.first)]
    assert space.kind != "mixed"
    return [key for part in space.of[node - space.first] for key in expanded(tracing, int(part), numbers)]


def by_node_of_the_input(edges, labels):
    """The oracle's edges, in which an element of the input has those of all elements of its node."""
    together = {}
    for (key, source), targets in edges.items():
        node = ("input", labels[source]) if key == "input" else (key, source)
        together.setdefault(node, set()).update(targets)
    spread = {}
    for (key, source), targets in together.items():
        elements = np.flatnonzero(labels == source).tolist() if key == "input" else [source]
        spread |= {(key, element): targets for element in elements}
    return spread


@pytest.mark.parametrize("seed", SEEDS)
def test_edges_are_those_by_derivatives(seed, tmp_path):
    module, example, axis = random_module(seed)
    expected = edges_by_derivatives(copy.deepcopy(module), example)
    found = select(read_model(module, example), Rule())
    labels = np.indices(example.shape)[axis].ravel()  # an element of the input is its feature or channel
    expected = {number: by_node_of_the_input(edges, labels) for number, edges in expected.items()}
    assert edges_read(found) == expected

    torch.export.save(torch.export.export(module, (example,)), tmp_path / "model.pt2")
    assert edges_read(select(read_weights(tmp_path / "model.pt2"), Rule())) == expected

    pytest.importorskip("onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (example,), tmp_path / "model.onnx", dynamo=False)
    assert in_torch_order(select(read_weights(tmp_path / "model.onnx"), Rule())) == expected


def in_torch_order(found):
    """The edges of an ONNX file, with the gates of its LSTM, in the order i, o, f, c, as torch's i, f, c, o."""
    gates = {
        number: found.parts[use.parameter].shape[1] // 4
        for number, use in enumerate(found.connections.tracing.uses)
        if "gates" in use.how
    }

    def moved(number, node):
        if number not in gates:
            return node
        gate, unit = divmod(node, gates[number])
        return (0, 3, 1, 2)[gate] * gates[number] + unit

    return {
        number: {
            (key, moved(key, node)): {moved(number, one) for one in targets} for (key, node), targets in edges.items()
        }
        for number, edges in edges_read(found).items()
    }


def same_edges(one, two):
    return (
        one.shape == two.shape and np.array_equal(one.indptr, two.indptr) and np.array_equal(one.indices, two.indices)
    )


def read_of_arrays(module, layers=()):
    """The parameter and edges of each layer that is read of a state dict; what is assumed is said."""
    found = select(from_arrays({name: one.numpy() for name, one in module.state_dict().items()}), Rule(), layers)
    beside = any(re.search("(in|[qkv])_proj_weight|weight_.h_l", name) for name in found.left)
    said = any(note.startswith("assumed") for note in found.notes)
    assert len(found.layers) < 2 or said == (not layers or beside)
    return of_parameters(module, found)


def of_parameters(module, found):
    parameters = {name: id(one) for name, one in module.named_parameters(remove_duplicate=False)}
    return [(parameters[one["parameter"]], found.edges[one["name"]]) for one in found.layers]


def are_right(layers, expected):
    """Whether layers are all those of the graph, in its order; repeated uses, which no array says, may be missing."""
    rest = iter(expected)
    in_order = all(any(one[0] == two[0] and same_edges(one[1], two[1]) for two in rest) for one in layers)
    return in_order and {one[0] for one in layers} == {one[0] for one in expected}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_state_dict_is_read_right_or_refused_with_a_choice(seed):
    module, example, _ = random_module(seed)
    expected = of_parameters(module, select(read_model(module, example), Rule()))
    kinds = {type(one) for one in module.modules()}
    try:
        read = read_of_arrays(module)
    except InvalidSpecError as error:
        message = str(error)
        assert "give the model itself, its ONNX file" in message
        choices = [read_of_arrays(module, line.split(",")) for line in re.findall(r"layers ([^; ]+)(?=;)", message)]
    else:
        message, choices = "", [read]
    if message and kinds & {Attention, Beside, Decoder, Lstm}:
        return  # no line of names says how these are connected, or that a weight is used twice
    if kinds & {Shuffle, ToImage}:
        return  # no array says that features are permuted, or become an image: it is said that this is assumed
    assert any(are_right(one, expected) for one in choices), message
