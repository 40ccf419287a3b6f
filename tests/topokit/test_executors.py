"""Executors of all three kinds do the same work; what does not answer is an error."""

import os
import socket

import pytest

from topokit.errors import InvalidSpecError, UnreachableError
from topokit.executors import opened


def test_one_worker_is_this_process():
    with opened() as executor:
        assert executor is None


def test_workers_are_other_processes():
    with opened(2) as executor:
        assert os.getpid() not in {executor.submit(os.getpid).result() for _ in range(4)}


def test_a_cluster_is_an_executor(cluster):
    with opened(scheduler=cluster.scheduler_address) as executor:
        assert list(executor.map(abs, [-1, 2, -3])) == [1, 2, 3]


def test_a_scheduler_that_does_not_answer_is_an_error(monkeypatch):
    monkeypatch.setattr("topokit.executors.PATIENCE", 1)
    with socket.socket() as listener:  # takes the connection, and then says nothing
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(UnreachableError, match=f"no Dask scheduler answers at {address}"), opened(1, address):
            pass


@pytest.mark.parametrize("address", ["nonsense", "http://127.0.0.1:1", ""])
def test_an_address_that_is_none_is_an_error(address):
    with pytest.raises(UnreachableError), opened(scheduler=address):
        pass


@pytest.mark.parametrize(("workers", "scheduler"), [(0, None), (-1, None), (2, "tcp://127.0.0.1:1")])
def test_numbers_that_do_not_fit_together_are_refused(workers, scheduler):
    with pytest.raises(InvalidSpecError), opened(workers, scheduler):
        pass
