"""Executors of all three kinds do the same work; what does not answer is an error."""

import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from topokit.errors import InvalidSpecError, UnreachableError
from topokit.executors import lost_worker, opened


def test_one_worker_is_this_process():
    with opened() as executor:
        assert executor is None


def test_workers_are_other_processes():
    with opened(2) as executor:
        assert os.getpid() not in {executor.submit(os.getpid).result() for _ in range(4)}


def test_a_worker_that_dies_takes_its_own_task_and_no_other():
    with opened(2) as executor:
        assert executor.submit(abs, -1).result() == 1
        long = executor.submit(time.sleep, 1)
        doomed = executor.submit(signal.raise_signal, signal.SIGKILL)
        assert lost_worker(doomed.exception())
        assert long.running()
        assert [one.result() for one in [executor.submit(abs, -k) for k in range(4)]] == [0, 1, 2, 3]
        assert long.result() is None
        wrong = executor.submit(int, "x").exception()
        assert isinstance(wrong, ValueError)
        assert not lost_worker(wrong)


def test_workers_end_at_once_where_the_block_is_left_by_an_exception():
    pids, futures = [], []

    def leave():
        with opened(2) as executor:
            pids.extend(executor.submit(os.getpid).result() for _ in range(4))
            futures.extend(executor.submit(time.sleep, 60) for _ in range(4))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert all(future.cancelled() or lost_worker(future.exception(0)) for future in futures)
    assert not any(map(psutil.pid_exists, pids))


PARENT = """
import os, time
from topokit.executors import opened
from topokit.formats import replacing

def write():
    with replacing("out", force=True) as temporary:
        temporary.write_text("half")
        time.sleep(600)

if __name__ == "__main__":
    with opened(2) as executor:
        print(executor.submit(os.getpid).result(), flush=True)
        executor.submit(write)
        executor.submit(write)
        time.sleep(600)
"""


def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    command = [sys.executable, script]
    parent = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    worker = psutil.Process(int(parent.stdout.readline()))
    while len(list(tmp_path.glob("*.part"))) < 2:
        time.sleep(0.01)
    worker.terminate()  # as every process of a job gets it: the first process decides
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert worker.wait(300) is None  # another's child has no exit code, and no exception says that it is gone
    end = time.monotonic() + 300
    while list(tmp_path.glob("*.part")):  # of the other worker
        assert time.monotonic() < end, "half a file stays"
        time.sleep(0.01)


LEAVES = """
import signal
from multiprocessing import Pipe
from types import SimpleNamespace
from topokit import executors

held, watched = Pipe()
held.close()
executors.Thread = lambda **_: SimpleNamespace(start=lambda: signal.raise_signal(signal.SIGTERM))
try:
    executors._begin(watched)
except BaseException as error:  # which the pool would print
    print(repr(error))
"""


def test_a_worker_that_is_ended_while_it_starts_prints_nothing():
    done = subprocess.run([sys.executable, "-c", LEAVES], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_a_cluster_is_an_executor(cluster):
    with opened(scheduler=cluster.scheduler_address) as executor:
        assert list(executor.map(abs, [-1, 2, -3])) == [1, 2, 3]


def test_a_scheduler_without_workers_is_told_of(recwarn):
    from distributed import LocalCluster

    with LocalCluster(n_workers=0, dashboard_address=":0") as alone, opened(scheduler=alone.scheduler_address) as pool:
        assert any("has no workers yet" in str(warning.message) for warning in recwarn)
        alone.scale(1)
        assert pool.submit(abs, -1).result() == 1


def test_a_scheduler_that_does_not_answer_is_an_error(monkeypatch):
    monkeypatch.setattr("topokit.executors.PATIENCE", 1)
    with socket.socket() as listener:  # takes the connection, and then says nothing
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        with (
            pytest.raises(UnreachableError, match=f"answers at {address}: silence for 1 seconds: start"),
            opened(1, address),
        ):
            pass


@pytest.mark.parametrize("address", ["nonsense", "http://127.0.0.1:1", ""])
def test_an_address_that_is_none_is_an_error(address):
    with pytest.raises(UnreachableError, match=f"no Dask scheduler answers at {address}: "), opened(scheduler=address):
        pass


@pytest.mark.parametrize(
    ("workers", "scheduler", "said"),
    [
        (0, None, "workers must be at least 1, not 0"),
        (-1, None, "workers must be at least 1, not -1"),
        (2, "tcp://127.0.0.1:1", "a number of workers or a scheduler, not both"),
    ],
)
def test_numbers_that_do_not_fit_together_are_refused(workers, scheduler, said):
    with pytest.raises(InvalidSpecError, match=said), opened(workers, scheduler):
        pass
