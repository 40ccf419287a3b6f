"""Layered as a value: iteration, indexing, equality, hash, arrays for users."""

from dataclasses import dataclass, replace
from inspect import signature
from typing import ClassVar

import numpy as np
import pytest

import topokit as tk
from topokit.errors import InvalidSpecError, TooLargeError
from topokit.layered import Layered
from topokit.reprs import SCREEN
from topokit.spec import Spec, option, options_of

NET = tk.RadixNet(radices=[(2, 3), (3, 2)], kron=(1, 2, 1, 3, 2))


def test_iteration_gives_layers_that_stay_valid():
    net = tk.RadixNet(radices=[(2, 2, 2)])  # whose layers are of one size, so that a stream has one buffer for all
    for layer, expected in zip(list(net), net.build().layers, strict=True):
        assert np.array_equal(layer.to_dense(), expected.to_dense())
        assert layer.matrix.nvals == 16


def test_indexing_counts_from_the_end_too_and_takes_slices():
    layers = list(NET)
    expected = [layer.to_dense() for layer in NET.build().stream()]
    for i in (*range(4), *range(-4, 0)):
        assert np.array_equal(layers[i].to_dense(), expected[i])
        assert np.array_equal(NET[i].to_dense(), expected[i])
    assert [layer.shape for layer in NET[1:3]] == [NET.widths[1:3], NET.widths[2:4]]
    assert NET[::-1][0].shape == NET.widths[-2:]
    assert NET[4:] == ()
    for i in (4, -5):
        with pytest.raises(IndexError):
            NET[i]
    with pytest.raises(TypeError):
        NET["fc1"]


def test_equal_layers_are_made_once(monkeypatch):
    cycle = tk.LPS(p=5, q=13, layers=4)
    assert len(set(map(id, cycle.layers))) == len({cycle.same_layer(i) for i in range(4)}) < 4

    def refused(size, what):
        raise TooLargeError(f"{what} needs {size} bytes")

    monkeypatch.setattr("topokit.layered.require_memory", refused)
    with pytest.raises(TooLargeError, match=str(8 * 1920 * (65536 * 33 + 1))):
        _ = tk.GraphChallenge(neurons=65536, layers=1920).layers


def test_arrays_for_users_are_int64():
    layer = NET[0]
    for array in (layer.sources, layer.targets, layer.in_degrees, layer.out_degrees, NET.edge_index(0)):
        assert array.dtype == np.int64
    assert (layer.sources * 10 + layer.targets).dtype == np.int64
    assert np.array_equal(NET.edge_index(-1), np.argwhere(NET[-1].to_dense()).T)
    assert NET.edge_index(0).shape == (2, NET.layer_edges[0])
    with pytest.raises(ValueError, match="read-only"):
        layer.targets[0] = 1


def test_specs_of_equal_recipes_are_equal_without_their_edges(monkeypatch):
    one, two, other = (
        tk.GraphChallenge(neurons=65536, layers=1920),
        tk.GraphChallenge(neurons=65536, layers=1920),
        tk.GraphChallenge(neurons=65536, layers=1919),
    )
    assert one.edges > 4e9
    for way in ("arrays", "stream", "layer"):
        monkeypatch.setattr(tk.GraphChallenge, way, lambda *_, **__: pytest.fail("a layer was made"))
    assert one == two
    assert hash(one) == hash(two)
    assert one != other
    assert tk.reverse(one) == tk.reverse(two)


def test_widths_edges_and_the_reading_of_convolutions_count_and_nothing_else():
    dense = [np.eye(3), np.ones((3, 2))]
    net = tk.from_dense(dense)
    assert net == tk.from_dense(dense, notes=["odd"], names=["a", "b"], recipe={"family": "other", "options": {}})
    assert net != tk.from_dense(dense, by_channel=True)
    assert net != tk.from_dense([np.eye(3)[::-1], np.ones((3, 2))])  # as many edges in each layer
    assert net != tk.from_dense([np.eye(3), np.ones((3, 3))])
    assert net != "a text"
    assert net != None  # noqa: E711 (== must answer)
    assert len({net, tk.from_dense(dense), tk.from_dense(dense, names=["a", "b"])}) == 1
    half = [tk.FixedFanIn(widths=(40, 40), seed=0, **options) for options in ({"fan_in": 20}, {"density": ".5"})]
    assert half[0] == half[1]
    assert half[0].recipe != half[1].recipe


def test_masks_have_given_known_or_numbered_names():
    named = tk.from_dense([np.eye(2)], names=["fc1.weight"])
    assert list(named.masks()) == ["fc1.weight"]
    assert list(named.masks(["other"])) == ["other"]
    assert list(NET.masks()) == ["layer.0", "layer.1", "layer.2", "layer.3"]
    assert tk.from_masks(NET.masks()) == NET


def test_save_is_the_function_as_a_method(tmp_path):
    assert NET.save(tmp_path / "net.npz") == tk.fingerprint(NET)
    assert tk.load(tmp_path / "net.npz") == NET
    with pytest.raises(tk.TopokitError):
        NET.save(tmp_path / "net.npz")
    NET.save(tmp_path / "net", to="safetensors", force=True)
    assert tk.load(tmp_path / "net").recipe == NET.recipe


def test_a_notebook_shows_the_first_layers():
    shown = tk.GraphChallenge(neurons=1024, layers=120)._repr_html_()
    assert shown.count("<tr>") == 11
    assert "and 110 more layers" in shown
    assert "<td>32,768</td>" in shown


ATTRIBUTES = sorted(name for name in dir(Layered) if not name.startswith("_") and name != "widths")


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_field_that_hides_an_attribute_is_refused(name):
    with pytest.raises(TypeError, match=f'option\\(..., alias="{name}"\\)'):
        type("Hiding", (Spec,), {"__annotations__": {name: "int"}, name: option("It hides.", kind="int")})


def test_options_keep_their_names_where_the_fields_have_others():
    net = tk.Bernoulli(widths=(20, 10), density=0.25, seed=1)
    assert list(net.recipe["options"]) == ["widths", "density", "allocation", "seed"] == list(options_of(net))
    assert list(signature(tk.Bernoulli).parameters) == list(options_of(net))
    assert signature(tk.LPS).parameters["layers"].default == 1
    assert "density=(Fraction(1, 4),)" in repr(net)
    assert replace(net, seed=2) == tk.Bernoulli(widths=(20, 10), density=0.25, seed=2)
    assert net.density == net.edges / 200
    assert net.sparsity == 1 - net.edges / 200
    assert tk.LPS(p=5, q=13, layers=2).layers[1].edges == tk.LPS(p=5, q=13).edges
    with pytest.raises(InvalidSpecError, match="bernoulli needs density"):
        tk.Bernoulli(widths=(20, 10), seed=1)
    with pytest.raises(InvalidSpecError, match="bernoulli has no option sed: did you mean seed"):
        tk.Bernoulli(widths=(20, 10), density=0.25, seed=1, sed=1)
    with pytest.raises(InvalidSpecError, match="no option _density"):
        tk.Bernoulli(widths=(20, 10), density=0.25, _density=0.5, seed=1)


def test_a_family_of_0_1_0_written_as_a_plain_dataclass_works():
    @dataclass(frozen=True, kw_only=True)
    class Chain(Spec):
        kind: ClassVar[str] = "family"
        name: ClassVar[str] = "chain"
        nodes: int = option("Nodes.", kind="int", default=3)

        widths = property(lambda self: (self.nodes, self.nodes))
        layer_edges = property(lambda self: (self.nodes,))
        slug = "chain"

        def arrays(self, _, buffers):
            indptr, indices = buffers.take(self.nodes, self.nodes)
            indptr[:], indices[:] = range(self.nodes + 1), range(self.nodes)
            return indptr, indices

    assert Chain() == Chain(nodes=3) == tk.from_dense(np.eye(3))
    assert hash(Chain()) == hash(tk.from_dense(np.eye(3)))
    assert repr(Chain()) == "Chain(nodes=3)"


def test_one_matrix_is_one_layer_and_rows_are_sources():
    matrix = np.array([[0, 1, 1], [0, 0, -2]])
    for net in (*map(tk.from_dense, (matrix, [matrix], matrix[None])), tk.Topology.from_dense([matrix])):
        assert net.widths == (2, 3)
        assert net.edge_index(0).tolist() == [[0, 0, 1], [1, 2, 2]]
    scipy = tk.from_dense(matrix)[0].to_scipy()
    for given in (scipy, scipy.tocoo(), [scipy.tocsc()]):
        assert tk.from_scipy(given) == tk.from_dense(matrix)


def test_one_number_or_many_a_repr_is_one_screen():
    wide = tk.Bernoulli(widths=(20_000, 5_000), density=".001", seed=0)
    deep = tk.concatenate(*[NET, tk.reverse(NET)] * 200)
    permuted = tk.permute(wide, permutations=[list(range(20_000)), None])
    for net in (wide, deep, permuted, deep.build(), tk.kron(deep, (1,) * 1601), wide[0]):
        assert len(repr(net)) <= SCREEN
        assert "\n" not in repr(net)
    assert repr(tk.permute(NET, seed=1)) == f"Permute(of={NET!r}, seed=1, permutations=None, keep_ends=False)"
    assert eval(repr(NET), vars(tk) | {"RadixNet": tk.RadixNet}) == NET
