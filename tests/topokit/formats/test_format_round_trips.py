"""Every format keeps every network, and a network that is streamed gives the same bytes as one in memory."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit.families.radix_net import RadixNet
from topokit.formats import FORMATS, load, save
from topokit.topologies import Topology, fingerprint
from topokit.transforms import concatenate, crop, permute


def random_net(widths, density, seed):
    rng = np.random.default_rng(seed)
    return Topology.from_dense([rng.random(shape) < density for shape in pairwise(widths)])


NETS = {
    "radix": RadixNet(radices=[(2, 3), (3, 2)], kron=(1, 2, 1, 3, 2)),
    "backward": RadixNet(radices=[(4, 3), (6,)], direction=-1),
    "repeated": RadixNet(radices=[(2, 3), (2, 3)]),
    "square": RadixNet(radices=[(2, 2, 2)]),
    "one-layer": RadixNet(radices=[(5,)], kron=(2, 3)),
    "sparse": random_net((9, 30, 1, 12), 0.1, 1),
    "no-edges": random_net((3, 2, 4), 0, 2),
    "one-edge": random_net((1, 1), 1, 3),
    "twelve-layers": random_net((3, 4) * 6, 0.5, 4),
}
SUFFIXES = {"safetensors": ".safetensors", "npz": ".npz", "graphml": ".graphml"}


def content(path):
    """The bytes of a file, or of each file in a folder."""
    return path.read_bytes() if path.is_file() else {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_what_is_saved_is_loaded(net, name, tmp_path):
    path = tmp_path / f"net{SUFFIXES.get(name, '')}"
    saved = save(net, path, to=None if name in SUFFIXES else name)
    back = load(path)
    assert back.widths == net.widths
    assert all(np.array_equal(a.to_dense(), b.to_dense()) for a, b in zip(back.stream(), net.stream(), strict=True))
    assert saved == fingerprint(back) == fingerprint(net)


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_any_small_network_survives(name, data, tmp_path_factory):
    widths = data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=4))
    cells = [data.draw(st.lists(st.booleans(), min_size=a * b, max_size=a * b)) for a, b in pairwise(widths)]
    net = Topology.from_dense([np.reshape(c, shape) for c, shape in zip(cells, pairwise(widths), strict=True)])
    path = tmp_path_factory.mktemp("any") / "net"
    save(net, path, to=name)
    assert fingerprint(load(path)) == fingerprint(net)


@pytest.mark.parametrize("name", FORMATS)
def test_streamed_and_held_networks_give_the_same_bytes(name, tmp_path):
    net = NETS["radix"]
    save(net, tmp_path / "streamed", to=name)
    save(net.build(), tmp_path / "held", to=name)
    assert content(tmp_path / "streamed") == content(tmp_path / "held")


@pytest.mark.parametrize(("name", "layers"), [("safetensors", 64), ("npz", 64), ("matrix-market", 20), ("tsv", 20)])
def test_one_layer_at_a_time_is_in_memory(name, layers, tmp_path, memory_of):
    net = RadixNet(radices=[(16, 16)] * (layers // 2))
    assert memory_of(lambda: save(net, tmp_path / "net", to=name, force=True)) < net.edges * 8


def test_the_canonical_format_keeps_recipe_promises_and_fingerprint(tmp_path):
    net = NETS["radix"]
    save(net, tmp_path / "net")
    back = load(tmp_path / "net")
    assert back.recipe == net.recipe
    assert back.promises == net.promises
    assert back.recorded_fingerprint == fingerprint(net)
    save(back, tmp_path / "again")
    assert content(tmp_path / "again") == content(tmp_path / "net")


def test_how_convolutions_were_read_is_known_whatever_was_made_of_them(tmp_path):
    about = {"file": "model.pt", "sha256": "0" * 64, "conv": "channel"}
    net = Topology.from_dense([np.ones((2, 3))], recipe={"extraction": "weights", "options": about})
    widens = RadixNet(radices=[(3,)])
    for made in (net, crop(net, (2, 2)), permute(crop(concatenate(net, widens), (2, 2, 3)), seed=0)):
        save(made, tmp_path / "net", force=True)
        assert load(tmp_path / "net").by_channel
    for made in (widens, permute(widens, seed=0)):
        save(made, tmp_path / "net", force=True)
        assert not load(tmp_path / "net").by_channel


def test_what_a_file_is_does_not_follow_from_its_name(tmp_path):
    net = NETS["square"]
    for name in FORMATS:
        save(net, tmp_path / name, to=name)
        path = (tmp_path / name).rename(tmp_path / f"{name}.npz")
        assert fingerprint(load(path)) == fingerprint(net)


def test_the_suffix_says_what_is_written(tmp_path):
    starts = {".npz": b"PK", ".graphml": b"<?xml", "": b"{", ".safetensors": b"{"}
    for suffix, start in starts.items():
        save(NETS["square"], tmp_path / f"net{suffix}")
        begins = content(tmp_path / f"net{suffix}")
        assert begins.startswith(start, 8 if start == b"{" else 0), suffix
