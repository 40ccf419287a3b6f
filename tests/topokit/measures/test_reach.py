"""Reachability, beyond what the random networks show."""

from functools import reduce
from itertools import pairwise
from unittest.mock import Mock

import numpy as np
import pytest

from topokit.measures.reach import reach
from topokit.topologies import Topology


@pytest.mark.parametrize(("widths", "density"), [((150, 90, 130), 0.03), ((200, 210, 64, 65), 0.02), ((70, 1, 70), 1)])
def test_more_than_64_inputs(widths, density):
    random = np.random.default_rng(7)
    layers = [random.random(shape) < density for shape in pairwise(widths)]
    missing = np.argwhere(reduce(np.dot, [layer.astype(int) for layer in layers]) == 0).tolist()
    found = reach(Topology.from_dense(layers))
    assert (found.disconnected_pairs, found.disconnected_pair) == (len(missing), tuple(missing[0]) if missing else None)


def test_classes_count_as_often_as_they_have_members():
    """Twins on both sides: 2 x 3 disconnected pairs from one class each."""
    blocks = np.kron(np.eye(2, dtype=int), np.ones((2, 3), int))
    blocks[:, 3:] = 1
    found = reach(Topology.from_dense([blocks]))
    assert found.disconnected_pairs == 6
    assert found.disconnected_pair == (2, 0)


def test_memory_is_asked_for_before_it_is_taken(monkeypatch):
    """64 inputs and nodes: 512 bytes for the inputs' bits, three times as much for crossing a layer."""
    asked = Mock()
    monkeypatch.setattr("topokit.measures.reach.require_memory", asked)
    reach(Topology.from_dense(np.random.default_rng(0).random((2, 64, 64)) < 0.5))
    assert [call.args[0] for call in asked.call_args_list] == [512, 1536, 1536]
