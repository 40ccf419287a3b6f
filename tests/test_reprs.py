"""Every public result's repr is at most one screen, however large the network."""

import numpy as np
import pytest

import topokit as tk
from topokit.extraction import Rule, select
from topokit.extraction.weights import Part, Weights
from topokit.formats import TensorFile
from topokit.measures import MEASURES
from topokit.reprs import SCREEN, described

DEEP = tk.concatenate(*[tk.RadixNet(radices=[(2, 3), (3, 2)])] * 20).build()
WIDE = tk.Bernoulli(widths=(2000, 300, 3), density=".01", seed=0).build()


def fits(result):
    shown = repr(result)
    assert shown.startswith(type(result).__name__ + "(")
    assert len(shown) <= SCREEN, type(result)
    assert "\n" not in shown


@pytest.mark.parametrize("net", [pytest.param(DEEP, id="deep"), pytest.param(WIDE, id="wide")])
@pytest.mark.parametrize("name", MEASURES)
def test_measures(name, net):
    try:
        found = MEASURES[name].compute(net)
    except tk.TopokitError:
        pytest.skip("not of this network")
    for result in found if isinstance(found, list | tuple) else [found]:
        if hasattr(result, "__dataclass_fields__"):
            fits(result)


def test_checks_profiles_and_comparisons():
    report = tk.verify(DEEP)
    for result in (report, *report.results, tk.profile(DEEP, {"degrees", "density"})):
        fits(result)
    fits(tk.compare(DEEP, twins=2, seconds=0))


def test_candidates_extractions_and_files(tmp_path):
    fits(tk.fit((12,) * 9, ".5", limit=1)[0])
    parts = {f"fc{i}.weight": Part(shape=(30, 30), weight=lambda: np.eye(30)) for i in range(40)}
    weights = Weights(parts=parts, default=tuple(parts))
    for result in (weights, parts["fc0.weight"], select(weights, Rule())):
        fits(result)
    DEEP.save(tmp_path / "net")
    fits(TensorFile(tmp_path / "net"))


def test_results_of_training():
    from topokit_train.results import Result

    numbers = dict.fromkeys(Result.__dataclass_fields__, 0)
    fits(Result(**numbers | {"dead_classes": list(range(1000)), "dead_units": {f"fc{i}": i for i in range(1000)}}))


def test_what_is_too_long_as_a_whole_is_cut():
    shown = described("Name", {f"key{i}": "a text" for i in range(1000)})
    assert len(shown) == SCREEN
    assert shown.endswith("...)")
