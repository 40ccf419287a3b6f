"""DistributedDataParallel: two processes train the networks that one would."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from topokit_train.kernels import KERNELS

WORK = Path(__file__).with_name("_two_ranks.py")
LAYERS = ("SparseLinear", "SparseConv2d", "SparseAttention")
PAGE = [f"{layer}, {kernel}" for layer in LAYERS for kernel in ("masked", "csr")]
NETWORKS = [*(f"filters and layers, {kernel}" for kernel in sorted(KERNELS)), *PAGE, "encoder layer"]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each rank did: both processes do all work, as starting them takes longer."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, WORK]
    ranks = [
        subprocess.Popen([*command, str(rank), folder / "store", folder], stderr=subprocess.PIPE) for rank in range(2)
    ]
    try:
        for rank in ranks:
            _, errors = rank.communicate(timeout=500)  # a busy machine takes many times as long as an idle one
            assert rank.returncode == 0, errors.decode()
    finally:  # a rank whose partner failed waits for it
        for rank in ranks:
            rank.kill()
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("network", NETWORKS)
def test_two_ranks_train_the_network_that_one_would(network, ranks):
    for rank in ranks:
        assert network in rank["done"]
        assert network not in rank["failed"], rank["failed"][network]


def test_no_network_is_forgotten(ranks):
    assert [rank["done"] for rank in ranks] == [NETWORKS] * 2
