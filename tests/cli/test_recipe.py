"""`topokit train --recipe`, and what a run says of dead units and effective sparsity."""

import json

import pytest

SHORT = ("train", "--epochs", 2, "--batch-size", 500)
PAPER = {"optimizer": "sgd", "lr": 0.2, "schedule": "steps", "relu_logits": True, "shuffle": False, "pixels": "unit"}


def settings(tmp_path, run="run"):
    return json.loads((tmp_path / run / "config.json").read_text())


def test_a_recipe_is_recorded_setting_by_setting(topokit, tmp_path):
    trained = topokit(*SHORT, "--recipe", "paper", "--run", "run", "--json").json
    assert settings(tmp_path).items() >= PAPER.items()
    again = topokit("train", "--run", "run", "--resume", "--json").json
    assert again == trained
    refused = topokit("train", "--run", "run", "--resume", "--no-relu-logits")
    assert refused.code == 2
    assert "--relu-logits is False, but the run in run was started with True" in refused.err


def test_what_is_given_beats_the_recipe(topokit, tmp_path):
    given = ("--no-relu-logits", "--shuffle", "--lr", ".1", "--l2", "0", "--init", "he", "--pixels", "standardised")
    assert topokit(*SHORT, "--recipe", "paper", *given, "--run", "run").code == 0
    wanted = {"relu_logits": False, "shuffle": True, "lr": 0.1, "l2": 0, "init": "he", "pixels": "standardised"}
    assert settings(tmp_path).items() >= {**PAPER, **wanted}.items()


def test_dead_units_and_effective_sparsity_are_told(topokit):
    told = topokit(*SHORT, "--run", "run").out
    result = json.loads(topokit("train", "--run", "run", "--resume", "--json").out)
    units, sparsity = result["dead_units"], result["effective_sparsity"]
    assert f"fc1 {units['fc1']}, fc2 {units['fc2']}" in told
    assert f"{sparsity['before']:.2%} before training, {sparsity['after']:.2%} after" in told
    assert sparsity["before"] == pytest.approx(1 - 27_520 / 266_200)


def test_of_several_seeds_the_range_is_told(topokit):
    runs = ("--seeds", "0-2", "--run", "runs")
    told = topokit(*SHORT, *runs).out
    results = topokit("train", *runs, "--resume", "--json").json["runs"]
    units = [result["dead_units"]["fc1"] for result in results]
    assert min(units) < max(units)
    assert f"fc1 {min(units)} to {max(units)}, fc2 " in told
