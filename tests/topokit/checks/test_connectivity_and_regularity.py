"""Connectivity and regularity: verdicts, values and witnesses."""

import numpy as np
import pytest

from topokit.checks import Verdict
from topokit.checks.connectivity import connectivity
from topokit.checks.regularity import regularity
from topokit.families.radix_net import RadixNet
from topokit.layered import Promises
from topokit.topologies import Topology

# 3-4-2: hidden unit 2 is not reached, hidden unit 3 reaches nothing; input 2 reaches output 0 only
BROKEN = [
    np.array([[1, 1, 0, 1], [1, 1, 0, 0], [1, 0, 0, 0]]),
    np.array([[1, 0], [0, 1], [1, 1], [0, 0]]),
]


@pytest.mark.parametrize(
    ("layers", "reason", "witness", "pairs", "dead", "first"),
    [
        (BROKEN, "no path from input 2 to output 1; 2 dead units", (2, 1), 1, [0, 2, 0], [[1, 2], [1, 3]]),
        ([np.eye(3)], "no path from input 0 to output 1, one of 6 such pairs", (0, 1), 6, [0, 0], []),
        (
            [np.array([[1, 0]]), np.array([[1], [1]])],
            "every input reaches every output; 1 dead unit",
            None,
            *(0, [0, 1, 0], [[1, 1]]),
        ),
        (
            [np.zeros((20, 3))],
            "no path from input 0 to output 0, one of 60 such pairs; 23 dead units",
            *((0, 0), 60, [20, 3], [[0, node] for node in range(10)]),
        ),
    ],
)
def test_pairs_without_a_path_and_dead_units_are_counted_and_named(layers, reason, witness, pairs, dead, first):
    found = connectivity(Topology.from_dense(layers))
    assert (found.verdict, found.reason) == (Verdict.FAILS if witness else Verdict.HOLDS, reason)
    assert found.witness == (witness and {"input": witness[0], "output": witness[1]})
    assert found.values == {"disconnected_pairs": pairs, "dead_units": dead, "first_dead_units": first}


def test_a_radix_net_is_regular_as_promised():
    net = RadixNet(radices=[(3, 4), (6,)], kron=(2, 1, 3, 1))
    found = regularity(net)
    assert found.verdict is Verdict.HOLDS
    assert found.values["degrees"] == [list(pair) for pair in net.promises.degrees]


def test_an_irregular_node_is_named():
    matrix = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]])
    full = np.ones((3, 3), int)

    def check(second, promised):
        return regularity(Topology.from_dense([full, second], promises=Promises(degrees=((3, 3), promised))))

    assert check(matrix, (2, 2)).verdict is Verdict.HOLDS
    moved = matrix.copy()
    moved[1] = [1, 0, 1]
    found = check(moved, (2, 2))
    assert found.verdict is Verdict.FAILS
    assert found.witness == {"layer": 1, "side": "in", "node": 0, "degree": 3, "expected": 2}
    assert found.reason == "target 0 of layer 1 has in-degree 3 instead of 2"
    assert check(moved, (2, None)).verdict is Verdict.HOLDS
    found = check(moved.T, (2, None))
    assert found.witness == {"layer": 1, "side": "out", "node": 0, "degree": 3, "expected": 2}
    assert check(moved.T, (None, 2)).verdict is Verdict.HOLDS


def test_regularity_without_a_promise_is_not_promised_and_says_what_is_there():
    found = regularity(Topology.from_dense([np.eye(3), np.ones((3, 2))]))
    assert (found.verdict, found.reason) == (Verdict.NOT_PROMISED, "every layer is regular")
    found = regularity(Topology.from_dense(BROKEN))
    assert found.reason == "2 of 2 layers have degrees that vary"
    assert found.values["degrees"] == [[None, None], [None, 2]]
