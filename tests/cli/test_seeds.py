"""`topokit train --seeds`."""

import pytest

SHORT = ("train", "--epochs", 2, "--batch-size", 500)


def test_several_seeds_make_one_report(topokit):
    report = topokit(*SHORT, "--seeds", "0-1,5", "--run", "runs", "--json").json
    assert set(report) == {"runs", "mean", "ci95"}
    assert [(run["seed"], run["run"], run["stacked"]) for run in report["runs"]] == [
        (seed, f"runs/seed{seed}", 3) for seed in (0, 1, 5)
    ]
    assert report["mean"] == pytest.approx(sum(run["test_accuracy"] for run in report["runs"]) / 3)
    assert report["ci95"] > 0
    alone = topokit(*SHORT, "--seed", 5, "--json").json
    assert alone["test_accuracy"] == pytest.approx(report["runs"][2]["test_accuracy"], abs=0.01)


def test_a_table_for_people(topokit):
    shown = topokit(*SHORT, "--seeds", "0,1").out.splitlines()
    assert [line.split()[:2] for line in shown[:2]] == [["seed", "0"], ["seed", "1"]]
    assert "95 % of Student's t, 2 seeds" in shown[2]
    assert "2 at once, 2 epochs" in shown[-1]


def test_seeds_are_found_again_when_a_run_goes_on(topokit):
    first = topokit(*SHORT, "--seeds", "3-4", "--run", "runs", "--json").json
    again = topokit("train", "--run", "runs", "--resume", "--json").json
    assert [run["test_accuracy"] for run in again["runs"]] == [run["test_accuracy"] for run in first["runs"]]
    assert "give one run of it, such as runs/seed3" in topokit("evaluate", "runs").err


def test_seeds_without_a_folder_have_one_that_a_run_goes_on_in(topokit):
    folders = [[run["run"] for run in topokit(*SHORT, "--seeds", "0,1", "--json").json["runs"]] for _ in range(2)]
    place = "runs/lenet-300-100-digits-radix-net-seeds"
    assert folders == [[f"{place}{again}/seed{seed}" for seed in (0, 1)] for again in ("", "-2")]
    again = topokit("train", "--run", place, "--resume", "--seeds", "1,2", "--json").json
    assert [run["epochs"] for run in again["runs"]] == [2, 2]  # what is not said again is as it was, for new seeds too


def test_nothing_is_left_of_seeds_that_cannot_be_trained(topokit, tmp_path):
    assert topokit(*SHORT, "--seeds", "0,1", "--model", "mlp", "--topology", "dense").code == 2
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--run", "nowhere", "--resume"), "there is no run nowhere to continue: omit --resume to start one"),
        (("--run", "run", "--resume", "--seeds", "0-1"), "run is the run of one network: omit --seeds"),
        (("--run", "run", "--resume", "--force"), "give --resume, which continues a run, or --force"),
    ],
)
def test_what_cannot_go_on_is_refused(topokit, tmp_path, given, message):
    assert topokit(*SHORT, "--run", "run").code == 0
    before = sorted(tmp_path.rglob("*"))
    refused = topokit("train", *given)
    assert (refused.code, sorted(tmp_path.rglob("*"))) == (2, before)
    assert message in refused.err
