"""Checks that remember and share what they found in the layers prove the same as checks that do not."""

import os
import signal
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

import topokit as tk
from topokit.checks import CHECKS, Verdict, _survey, run_checks
from topokit.checks._survey import Surveyed, surveyed
from topokit.errors import TooLargeError
from topokit.executors import opened
from topokit.spec import Spec
from topokit.transforms import crop, permute

NETS = {
    "symmetric": tk.RadixNet(radices=[(2, 3), (3, 2)], kron=(1, 2, 1, 3, 2)),
    "folds": tk.GraphChallenge(neurons=1024, layers=30),
    "irregular": tk.Bernoulli(widths=(9, 5, 7, 3), density=".4", seed=2),
    "empty": tk.Bernoulli(widths=(3, 3, 3), density=(0,), seed=2),
    "a transform": crop(tk.RadixNet(radices=[(10, 10)], kron=(8, 3, 1)), (784, 290, 100)),
}


@dataclass(frozen=True)
class Broken(Spec):
    """A family that breaks its word: layer 2 lists a target twice."""

    kind: ClassVar[str] = "family"
    name: ClassVar[str] = "broken"
    slug: ClassVar[str] = "broken"
    recipe: ClassVar[None] = None
    widths: ClassVar = (2,) * 5
    layer_edges: ClassVar = (4,) * 4

    def arrays(self, i, buffers):
        indptr, indices = buffers.take(2, 4)
        indptr[:] = 0, 2, 4
        indices[:] = (0, 1, 1, 1) if i == 2 else (0, 1, 0, 1)
        return indptr, indices


class Failing(Executor):
    """Does a few parts of the work and then loses its workers."""

    def __init__(self, parts, error):
        self.parts, self.error = parts, error

    def submit(self, work, /, *args):
        future = Future()
        if self.parts:
            future.set_result(work(*args))
            self.parts -= 1
        else:
            future.set_exception(self.error)
        return future


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(_survey, "EDGES_AT_A_TIME", 2**16)


def answers(report):
    return {result.check: result for result in report.results}


def alone(net):
    """Each check on a network that remembers nothing from one check to the next."""
    return {name: CHECKS[name](Unremembered(net)) for name in CHECKS}


class Unremembered(Surveyed):
    """A spec whose layers are made and measured anew each time."""

    def stream(self, *, reverse=False):
        yield from self.net.stream(reverse=reverse)


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_remembering_changes_no_answer(net):
    expected = alone(net)
    assert answers(run_checks(net)) == expected
    with opened(2) as executor:
        assert answers(run_checks(net, executor=executor)) == expected


def test_a_cluster_gives_the_same_answers(cluster):
    net = NETS["folds"]
    with opened(scheduler=cluster.scheduler_address) as executor:
        assert answers(run_checks(net, executor=executor)) == alone(net)


def test_a_layer_that_nobody_looks_into_is_not_made():
    net = NETS["folds"]
    with opened(2) as executor:
        known = surveyed(net, executor)
    for layer, plain in zip(known.stream(), net.stream(), strict=True):
        assert layer.edges == plain.edges
        assert layer.fault("it") is None
        np.testing.assert_array_equal(layer.out_degrees, plain.out_degrees)
        np.testing.assert_array_equal(layer.in_degrees, plain.in_degrees)
        assert layer._made is None
        np.testing.assert_array_equal(layer.indices, plain.indices)
        assert layer._made is not None


@pytest.mark.parametrize("reverse", [False, True])
def test_streamed_layers_share_one_memory(reverse):
    addresses = {
        layer.indices.__array_interface__["data"][0] for layer in surveyed(NETS["folds"]).stream(reverse=reverse)
    }
    assert len(addresses) == 1


@pytest.mark.parametrize("executor", [None, Failing(0, AssertionError("a network without a recipe was sent"))])
def test_what_breaks_the_form_is_found(executor):
    found = run_checks(Broken(), ["soundness"], executor=executor)["soundness"]
    assert found.verdict is Verdict.FAILS
    assert "layer 2: source 1 lists target 1 twice" in found.reason


def test_a_faulty_layer_is_reported_by_workers_too(monkeypatch):
    monkeypatch.setattr(_survey, "from_recipe", lambda _: Broken())
    faults = [facts["fault"] for facts in _survey._survey_part("{}", 9, 0)]
    assert faults[:2] == [None, None]
    assert faults[2].startswith("layer 2: source 1 lists target 1 twice")


def test_held_layers_are_read_where_they_are():
    net = tk.GraphChallenge(neurons=1024, layers=2).build()
    assert surveyed(net) is net


def test_workers_get_no_network_that_may_differ_from_its_recipe():
    held = permute(NETS["symmetric"].build(), seed=1)
    assert held.recipe is not None
    known = surveyed(held, Failing(0, AssertionError("was asked")))
    assert answers(run_checks(known)) == alone(held)


@pytest.mark.parametrize("done", [0, 1, 5])
def test_lost_workers_cost_nothing_but_time(done):
    net = NETS["folds"]
    executor = Failing(done, BrokenProcessPool("a worker was killed"))
    with pytest.warns(RuntimeWarning, match=rf"workers were lost \(BrokenProcessPool.*\): {30 - 2 * done} layers"):
        report = run_checks(net, executor=executor)
    assert answers(report) == alone(net)


def test_errors_of_the_work_itself_are_not_taken_for_lost_workers():
    with pytest.raises(TooLargeError, match="a layer"):
        run_checks(NETS["folds"], executor=Failing(0, TooLargeError("a layer needs more")))


def test_a_worker_killed_in_the_middle():
    net = tk.GraphChallenge(neurons=1024, layers=400)
    with opened(2) as executor:

        def kill(doing, _):
            if doing == "survey" and executor._processes:
                os.kill(next(iter(executor._processes)), signal.SIGKILL)

        with pytest.warns(RuntimeWarning, match="workers were lost"):
            report = run_checks(net, executor=executor, progress=kill)
    assert answers(report) == alone(net)


def test_a_killed_worker_of_a_cluster(cluster):
    net = tk.GraphChallenge(neurons=1024, layers=400)
    killed = []
    with opened(scheduler=cluster.scheduler_address) as executor:

        def kill(doing, _):
            if doing == "survey" and not killed:
                killed.append(next(iter(cluster.workers.values())).pid)
                os.kill(killed[0], signal.SIGKILL)

        report = run_checks(net, executor=executor, progress=kill)
    assert killed
    assert answers(report) == alone(net)


def test_progress_tells_of_every_check_and_layer():
    seen = []
    net = NETS["symmetric"]
    run_checks(net, ["connectivity", "regularity"], progress=lambda *what: seen.append(what))
    assert [done for doing, done in seen if doing == "regularity"] == [1, 2, 3, 4]
    assert {doing for doing, _ in seen} == {"connectivity", "regularity"}
