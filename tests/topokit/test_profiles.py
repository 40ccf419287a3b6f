"""Profiles: every measure is there or says why not, and is what JSON can hold."""

import json
import sys
from collections import Counter
from dataclasses import replace
from functools import reduce
from importlib import import_module
from math import inf
from pathlib import Path

import numpy as np
import pytest

import topokit as tk
from topokit.errors import TooLargeError
from topokit.measures import MEASURES
from topokit.profiles import profile

SCALARS = {label for name in MEASURES for label in MEASURES[name].scalars}
ON_REQUEST = {"paths", "sampled-paths"}
sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))
PAGE = import_module("make_measures")
RANDOM = tk.Bernoulli(widths=(20, 30, 25), density=".08", seed=3)


def test_random_networks_have_profiles_that_json_can_hold(random_nets):
    for seed, net in random_nets[::7]:
        found = profile(net, MEASURES, seconds=inf)
        assert {*found.measures} == {*MEASURES}, seed
        again = json.loads(json.dumps(found.measures, allow_nan=False))
        assert again["effective"] == found.measures["effective"], seed
        assert len(found.to_frame()) == len(net), seed
        assert {*found.scalars()} == SCALARS, seed


def test_the_values_of_a_small_network():
    """3-4-2: hidden unit 2 is not reached, hidden unit 3 reaches nothing, input 2 reaches output 0 only."""
    one = np.array([[1, 1, 0, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    two = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
    found = profile(tk.Topology.from_dense([one, two]), MEASURES)
    measures = found.measures
    assert measures["effective"] == {
        "edges": 7,
        "density": 7 / 20,
        "dead_units": [0, 2, 0],
        "no_input": [0, 1, 0],
        "no_output": [0, 1, 0],
        "layers": [5, 2],
    }
    assert measures["reach"] == {"disconnected_pairs": 1, "disconnected_pair": [2, 1]}
    ends = measures["paths"]
    assert (ends["min"], ends["max"], ends["min_pair"]) == ("0", "1", [2, 1])
    assert (one @ two)[tuple(ends["max_pair"])] == 1
    expected = {"min": "0", "max": "1", "mean": 5 / 6, "median": 1, "disconnected_share": 1 / 6}
    assert measures["path-statistics"] == {**expected, "variation": pytest.approx((1 / 5) ** 0.5)}
    assert measures["node-paths"]["total"] == "5"
    assert measures["node-paths"]["busiest"] == pytest.approx([2 / 5 * 3, 3 / 5 * 4, 3 / 5 * 2])
    assert measures["degrees"]["inputs"] == [3, 2, 1]
    ends = [3, 3, 3, 2, 2, 1], [3, 2, 1, 3, 2, 3]  # degrees of the source and the target of each edge
    assert measures["hubs"]["layers"][0]["out"] == pytest.approx(
        {"gini": 2 / 9, "top_1": 3 / 6, "top_10": 3 / 6, "max_over_mean": 3 / 2}
    )
    assert measures["hubs"]["mean_gini"] == pytest.approx({"out": (2 / 9 + 3 / 8) / 2, "in": (5 / 12 + 0) / 2})
    assert measures["assortativity"]["layers"] == pytest.approx([np.corrcoef(*ends)[0, 1], None])
    assert measures["assortativity"]["hidden"] == pytest.approx([np.corrcoef([3, 2, 0, 1], [1, 1, 2, 0])[0, 1]])
    assert measures["clustering"]["layers"] == [
        {"cycles": "1", "coefficient": 4 / 9},
        {"cycles": "0", "coefficient": 0},
    ]
    assert (measures["clustering"]["cycles"], measures["clustering"]["coefficient"]) == ("1", 4 / 11)
    assert {*measures["modularity"]} == {"value", "communities"}
    assert measures["degrees"]["layers"][0] == {"out": {1: 1, 2: 1, 3: 1}, "in": {0: 1, 1: 1, 2: 1, 3: 1}}
    assert measures["twins"] == {
        "edges": 10,
        "layers": [{"sources": 3, "targets": 3, "edges": 6}, {"sources": 3, "targets": 2, "edges": 4}],
    }
    assert measures["spectra"]["layers"][1]["singular_values"] == pytest.approx([3**0.5, 1])
    product = np.linalg.svd((one @ two).astype(float), compute_uv=False)
    assert measures["end-to-end"]["ratios"] == pytest.approx((product / product[0]).tolist())
    scalars = found.scalars()
    assert (scalars["dead units"], scalars["disconnected pairs"]) == (2, 1)
    assert scalars["busiest unit"] == pytest.approx(12 / 5)
    assert scalars["log2 of mean paths"] == pytest.approx(np.log2(5 / 6))


def test_numbers_that_pass_2_to_the_53_are_decimal_strings():
    deep = tk.Topology.from_dense([np.ones((2, 2))] * 60 + [np.array([[1, 0], [0, 0]])])
    found = profile(deep, ["path-statistics", "node-paths"]).measures
    assert found["path-statistics"]["max"] == str(2**59)
    assert (found["path-statistics"]["mean"], found["path-statistics"]["median"]) == (str(2**58), str(2**58))
    assert found["node-paths"]["total"] == str(2**60)
    counts = reduce(np.dot, [layer.to_dense().astype(int).astype(object) for layer in deep.stream()])
    assert found["node-paths"]["log2_mean"] == pytest.approx(np.log2(float(counts.sum() / 4)))


def test_a_network_without_paths_has_no_numbers_where_none_are_defined():
    found = profile(tk.Topology.from_dense([np.zeros((2, 3)), np.zeros((3, 2))]))
    scalars = found.scalars()
    undefined = {
        *("log2 of mean paths", "variation of paths", "mean sigma_2/sigma_1", "end-to-end sigma_2/sigma_1"),
        *("mean Gini of out-degrees", "mean Gini of in-degrees", "mean assortativity", "clustering", "modularity"),
    }
    assert {label for label, value in scalars.items() if value is None} == undefined
    assert (scalars["dead units"], scalars["busiest unit"]) == (7, 0)


def test_one_input_leaves_no_second_singular_value_and_one_layer_no_hidden_unit():
    scalars = profile(tk.Topology.from_dense([np.ones((1, 3))])).scalars()
    assert scalars["end-to-end sigma_2/sigma_1"] is None
    assert scalars["busiest unit"] is None
    assert scalars["mean sigma_2/sigma_1"] == 0


def test_what_takes_too_long_is_left_out_and_says_so():
    found = profile(tk.GraphChallenge(neurons=65536, layers=1920))
    assert {*found.measures} == {"density", "cost"}
    assert {*found.skipped} == {*MEASURES} - {"density", "cost"} - ON_REQUEST
    assert found.skipped["degrees"] == "may take 32 s"
    assert len(found.records()) == 1920


def test_what_takes_time_to_draw_is_drawn_once(monkeypatch):
    drawn = []
    draw = tk.Bernoulli.arrays
    monkeypatch.setattr(tk.Bernoulli, "arrays", lambda *args: drawn.append(args[1]) or draw(*args))
    profile(RANDOM)
    assert drawn == [0, 1]


def test_what_needs_too_much_memory_is_left_out(monkeypatch):
    def refuse(*_, **__):
        raise TooLargeError("no memory")

    monkeypatch.setattr("topokit.measures.reach.require_memory", refuse)
    found = profile(RANDOM.build())
    assert found.skipped == {"reach": "no memory"}
    assert "disconnected pairs" not in found.scalars()


def test_counting_paths_has_a_budget():
    net = tk.FixedFanIn(widths=(300, 300, 300), fan_in=40, seed=0)
    found = profile(net, ["path-statistics", "paths", "sampled-paths"], seconds=0.01)
    assert [*found.skipped] == ["path-statistics", "paths", "sampled-paths"]
    assert all("needs more than 2,000,000 steps" in why for why in found.skipped.values())


@pytest.mark.parametrize(("estimate", "skipped"), [(4.9, False), (5.1, True)])
def test_a_measure_that_takes_more_than_five_seconds_is_skipped(estimate, skipped, monkeypatch):
    reach = replace(MEASURES["reach"], cost=lambda _: estimate)
    monkeypatch.setattr("topokit.profiles.MEASURES", {**MEASURES, "reach": reach})
    assert ("reach" in profile(RANDOM).skipped) is skipped


def keys_of(value):
    if isinstance(value, dict):
        yield from (key for key in value if isinstance(key, str))
        for part in value.values():
            yield from keys_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from keys_of(part)


def test_the_docs_are_those_of_the_measures():
    """The table is the one that the modules' docstrings make, and names every key and every label."""
    text = PAGE.path.read_text("utf-8")
    assert PAGE.page(text) == text, "run docs/make_measures.py"
    for name, values in profile(RANDOM, MEASURES).measures.items():
        keys = {key for _, names, _ in PAGE.keys(name) for key in names}
        assert keys == {*keys_of(values)}, f"in Keys: of {name}, write a line such as `layers of gini: definition`"
    for label in SCALARS:
        assert f"`{label}`" in text


def test_no_two_measures_have_a_heading_or_label_in_common():
    headings = [heading for name in MEASURES for heading in MEASURES[name].columns]
    labels = [label for name in MEASURES for label in MEASURES[name].scalars]
    for names in ([*headings, "layer", "sources", "targets", "edges"], labels):
        assert [name for name, count in Counter(names).items() if count > 1] == []


def test_a_profile_is_a_table_of_its_layers():
    found = profile(RANDOM, ["degrees", "clustering", "reach"])
    frame = found.to_frame()
    assert frame["edges"].tolist() == [*RANDOM.layer_edges]
    assert frame.columns.tolist()[:4] == ["layer", "sources", "targets", "edges"]
    assert frame["clustering"].tolist() == [layer["coefficient"] for layer in found.measures["clustering"]["layers"]]
    assert f"disconnected pairs {found.scalars()['disconnected pairs']:,}" in found._repr_html_()
