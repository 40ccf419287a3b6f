"""n:m sparsity: what is named is there, the smallest is named, and random layers have none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import topokit as tk
from topokit.measures.structure import structures


def named(net):
    return list(map(str, structures(net)))


def smallest(mask):
    """(n, m, side) of the smallest groups, by trying every m and looking at every node's groups one by one."""
    for side, rows in (("sources", mask.T.tolist()), ("targets", mask.tolist())):
        width = len(rows[0])
        for m in (m for m in range(2, 65) if width % m == 0 and width > m):
            found = {sum(row[low : low + m]) for row in rows for low in range(0, width, m)}
            if len(found) == 1 and found <= {*range(1, m)}:
                return found.pop(), m, side
    return None


@given(st.integers(1, 3), st.integers(2, 5), st.integers(2, 4), st.integers(1, 9), st.booleans(), st.integers(0, 2**32))
@settings(deadline=None, max_examples=200)
def test_the_smallest_groups_are_found(n, m, groups, others, turned, seed):
    random = np.random.default_rng(seed)
    rows = [
        np.concatenate([random.permutation([1] * min(n, m) + [0] * (m - min(n, m))) for _ in range(groups)])
        for _ in range(others)
    ]
    if random.random() < 0.5:  # a row that fits in its first group at most
        rows[-1][m:] = random.permutation(rows[-1][m:])
    mask = np.array(rows, bool) if turned else np.array(rows, bool).T
    if random.random() < 0.3:
        mask[tuple(random.integers(mask.shape))] ^= True
    (found,) = structures(tk.Topology.from_dense([mask]))
    expected = smallest(mask) if found.band is None else None
    assert (found.groups and (found.groups.n, found.groups.m, found.groups.along)) == expected


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 8), (3, 32), (24, 64)])
def test_an_n_of_m_network_says_so_after_it_was_saved(tmp_path, n, m):
    net = tk.NOfM(widths=(256, 128, 30), n=n, m=m, seed=1)
    tk.save(net, tmp_path / "net")
    fan_in = [256 * n // m, 128 * n // m]
    assert named(tk.load(tmp_path / "net")) == [f"{n}:{m} along the sources, fan-in {degree}" for degree in fan_in]
    assert named(tk.reverse(net))[1] == f"{n}:{m} along the targets, fan-out {fan_in[0]}"
    assert named(tk.permute(net, seed=0)) == [f"fan-in {degree}" for degree in fan_in]


def test_groups_of_more_than_64_are_not_looked_for():
    assert named(tk.NOfM(widths=(256, 100), n=24, m=128, seed=1)) == ["fan-in 48"]


def test_one_group_a_complete_layer_and_a_layer_without_edges_are_no_groups():
    random = np.random.default_rng(0)
    single = np.array([random.permutation([1] * 3 + [0] * 3) for _ in range(7)]).T
    assert named(tk.Topology.from_dense([single, np.ones((7, 4)), np.zeros((4, 6))])) == [
        "fan-in 3",
        "1 block of 7 x 4",
        "none",
    ]
