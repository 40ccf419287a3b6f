"""The report as a whole: what it holds, that it says nothing else twice, and that it is the same every time."""

import csv
import re
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest

from topokit.errors import MissingDependencyError, NotFoundError, OutputExistsError, TopokitError
from topokit_train.studies.charts import CHARTS
from topokit_train.studies.claims import CLAIMS
from topokit_train.studies.contents import contents
from topokit_train.studies.report import PACKAGES, write_report
from topokit_train.studies.tables import read_tables
from topokit_train.studies.words import TEXTS


class Page(HTMLParser):
    """The elements of a page: their ids and attributes, and its text."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def having(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_figure_is_there_three_times(report):
    page, text = Page(report / "report.html"), (report / "report.md").read_text()
    assert [one["id"] for one in page.having("section") if one["id"].startswith("figure-")] == [
        f"figure-{name}" for name in CHARTS
    ]
    linked = re.findall(r"\]\((figures/[^)]+\.svg)\)", text)
    drawn = {str(path.relative_to(report)) for path in (report / "figures").iterdir()}
    assert len(linked) == len(set(linked)) == len(drawn) == len(page.having("figure"))
    assert set(linked) == drawn
    assert {re.sub(r"figures/(.*)-\d+\.svg", r"\1", name) for name in drawn} == set(CHARTS)
    for name in drawn:
        assert ElementTree.parse(report / name).getroot().tag.endswith("svg")


def test_the_page_asks_no_other_host_for_anything(report):
    page, text = Page(report / "report.html"), (report / "report.html").read_text()
    assert not page.having("script") + page.having("iframe") + page.having("object") + page.having("img")
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "data", "poster", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:")), attributes
    assert not re.findall(r"@import|url\((?!#)|src:", text)


def test_ids_in_the_page_lead_somewhere(report):
    page, text = Page(report / "report.html"), (report / "report.html").read_text()
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    used = [a["href"] for _, a in page.elements if "href" in a] + [a["xlink:href"] for a in page.having("use")]
    used += [f"#{name}" for name in re.findall(r"url\(#([^)]+)\)", text)]
    assert {name.removeprefix("#") for name in used if name.startswith("#")} <= set(ids)
    assert all(name.isascii() for name in ids)


def test_both_files_say_the_same_of_every_claim(report):
    page, text = Page(report / "report.html").text, (report / "report.md").read_text()
    table = rows(report / "numbers" / "claims.csv")
    assert {row["claim"] for row in table} == set(CLAIMS)
    assert {row["verdict"] for row in table} >= {"holds", "fails", "undecided"}
    for name in CLAIMS:
        sentence = TEXTS["claims"][name]["sentence"]
        assert sentence in page
        assert f"### {sentence}" in text
    for verdict in ("holds", "fails", "undecided"):
        count = sum(row["verdict"] == verdict for row in table)
        assert text.count(f"**{verdict}**") == count
        assert (report / "report.html").read_text().count(f'class="verdict {verdict}"') == count


def test_the_summary_gives_the_least_and_the_greatest_effect(report):
    lines = (report / "report.md").read_text().partition("## In short")[2].partition("## Methods")[0].splitlines()
    table = rows(report / "numbers" / "claims.csv")
    for name in CLAIMS:
        (line,) = (line for line in lines if line.startswith(f"| {TEXTS['claims'][name]['sentence']} |"))
        effects = sorted(100 * float(row["effect"]) for row in table if row["claim"] == name and row["effect"])
        shown = [
            float(number.replace("−", "-")) for number in re.findall(r"([−+]?[\d.]+)(?: ± [\d.]+)? (?:pp|%)", line)
        ]
        assert shown[:1] + shown[-1:] == pytest.approx(effects[:1] + effects[-1:], abs=0.5)


def test_means_are_those_of_the_runs(report, whole):
    runs = [row for row in rows(whole / "runs.csv") if row["state"] == "finished"]
    runs = [row | {"model": row["network"] or row["model"]} for row in runs]  # a larger one counts as what it enlarges
    page = Page(report / "report.html").text
    for row in rows(report / "numbers" / "means.csv"):
        place = "times" if row["experiment"] == "same-edges" else "density"
        keys = ("experiment", "model", "dataset", "recipe", "epochs", "arm")
        values = [
            float(run["test_accuracy"])
            for run in runs
            if all(run[key] == row[key] for key in keys) and float(run[place] or 1) == float(row["density_or_times"])
        ]
        assert len(values) == int(row["seeds"])
        assert float(row["mean"]) == pytest.approx(np.mean(values))
        assert float(row["standard_deviation"]) == pytest.approx(np.std(values, ddof=1), abs=1e-9)
        assert f"{100 * np.mean(values):.2f} ± {100 * float(row['half_width']):.2f} %" in page


def test_the_points_of_a_figure_are_the_means(report):
    keys = ("model", "dataset", "recipe", "epochs", "arm")
    means = {
        (*(row[key] for key in keys), float(row["density_or_times"])): row
        for row in rows(report / "numbers" / "means.csv")
        if row["experiment"] == "same-size"
    }
    points = [row for row in rows(report / "numbers" / "figure-same-size.csv") if row["from_the_paper"] == "False"]
    assert len(points) == len(means)
    for point in points:
        case = re.fullmatch(
            r"(.*) on (.*), (.*) recipe, (\d+) epochs", point["panel"].lower().replace("cifar-", "cifar")
        )
        row = means[*case.groups(), point["series"], float(point["x"])]
        assert (row["mean"], row["half_width"], row["seeds"]) == (point["y"], point["half_width"], point["runs"])


def test_sparser_is_to_the_right_and_better_is_above(report):
    labels = [*ElementTree.parse(report / "figures" / "retrained-1.svg").iter("{http://www.w3.org/2000/svg}text")]
    x = {label.text: float(label.get("x")) for label in labels if "text-anchor: middle" in label.get("style")}
    y = {label.text: float(label.get("y")) for label in labels if "text-anchor: end" in label.get("style")}
    step = x["50"] - x["0"]  # a halving of what is left
    assert step > 0
    assert x["95"] - x["90"] == pytest.approx(step, abs=0.01)
    assert x["99"] - x["95"] == pytest.approx(step * np.log2(5), abs=0.01)
    step = y["90"] - y["95"]  # a halving of the error; an SVG counts downwards
    assert step > 0
    assert y["80"] - y["90"] == pytest.approx(step, abs=0.01)
    assert y["50"] - y["90"] == pytest.approx(step * np.log2(5), abs=0.01)


def test_the_papers_points_are_in_its_figures(report):
    table = rows(report / "numbers" / "figure-retrained.csv")
    points = {
        (row["panel"].split(",")[0], row["series"], float(row["x"])): float(row["y"])
        for row in table
        if row["from_the_paper"] == "True"
    }
    assert points["LeNet-5 on MNIST", "one-time", 0.01] == 0.1135
    assert points["LeNet-300-100 on MNIST", "iterative", 0.05] == 0.9634
    assert len(points) == 24


def test_points_of_prunings(study, tmp_path):
    study.add(0.8, 0, (), [(0.5, 0.97, 0.91), (0.9, 0.95, 0.7)], experiment="iterative")
    study.add(0.96, 0, (), [(0.5, 0.97, 0.92)], experiment="iterative")  # ends at 0.5, which counts there
    study.add(0.6, 0, (), [(0.5, 0.98, 0.9)], experiment="one-time")
    study.add(0.6, 0, experiment="retrained", arm="iterative", density=0.5, dead_classes="")
    tables = read_tables(study.write(tmp_path))
    points = {name: CHARTS[name](tables)[0].lines[-1].points for name in ("iterative", "one-time")}
    assert dict(points["iterative"][["x", "y"]].to_numpy()) == {0.5: 0.96, 0.1: 0.8}
    assert dict(points["one-time"][["x", "y"]].to_numpy()) == {1: 0.98, 0.5: 0.9}  # accuracies before and after
    assert contents(tables)["numbers"]["means"].runs_with_dead_classes.isna().all()  # unknown, which is not none


def test_nothing_is_drawn_or_claimed_without_runs(study, tmp_path):
    out = write_report(study.write(tmp_path / "tables"), tmp_path / "out").parent
    page = Page(out / "report.html")
    assert not page.having("figure")
    assert not list((out / "figures").iterdir())
    assert "No run has finished: there is nothing to report yet." in page.text
    assert page.text.count("Not drawn:") == len(CHARTS)
    assert page.text.count("No verdict on") == len(CLAIMS)
    assert "The experiment same-size was not run for LeNet-300-100 on MNIST (paper recipe), " in page.text


def test_one_seed_has_no_interval_and_this_is_said(study, tmp_path):
    study.arms("same-size", {("radix", 0.1): [0.97], ("random", 0.1): [0.96], ("dense", 1): [0.98]})
    study.arms("retrained", {("iterative", 0.05): [0.97]})
    out = write_report(study.write(tmp_path / "tables"), tmp_path / "out").parent
    text = Page(out / "report.html").text
    assert "RadiX-Net at density 0.1: 97.00 % (1 seed, no interval)" in text
    assert "4 means are of one seed only: they have no interval, and no test was made of them." in text
    assert [row["half_width"] for row in rows(out / "numbers" / "means.csv")] == [""] * 4
    assert "undecided" in text


def test_what_is_missing_is_said(study, tmp_path):
    study.arms("same-size", {("random", 0.1): [0.9, 0.9], ("dense", 1): [0.98, 0.98]})
    for state, error in (("failed", "<b>no memory</b> | none"), ("waiting", ""), ("running", "")):
        study.add("", 1, experiment="same-size", label="the label", state=state, error=error)
    out = write_report(study.write(tmp_path / "tables"), tmp_path / "out").parent
    raw, text = (out / "report.html").read_text(), Page(out / "report.html").text
    assert "the label: 1 run failed: <b>no memory</b> | none." in text
    assert "<b>no memory" not in raw
    assert "the label: 1 run not yet run." in text
    assert "the label: 1 run under way." in text
    assert "4 finished, 1 failed, 1 running, 1 waiting" in text
    assert "same size: the paper's density 0.01, density 0.05, density 0.5 was not run." in text
    assert "same size: no RadiX-Net at density 0.1." in text


@pytest.mark.parametrize("experiment", ["same-size", "retrained"])
def test_an_arm_that_is_not_known_is_drawn_too(study, tmp_path, experiment):
    study.arms(experiment, {("butterfly", 0.1): [0.9, 0.91], ("dense", 1): [0.98, 0.98]}, recipe="own", model="mlp")
    out = write_report(study.write(tmp_path / "tables"), tmp_path / "out").parent
    assert "butterfly" in (out / "figures" / f"{experiment}-1.svg").read_text()


def test_a_report_is_not_replaced_without_being_asked(study, tmp_path):
    study.arms("same-edges", {("radix", 2): [0.97, 0.98]})
    out = write_report(study.write(tmp_path / "tables"), tmp_path / "out").parent
    assert (out / "figures" / "same-edges-1.svg").exists()
    (out / "figures" / "mine.svg").write_text("mine")
    study.runs.clear()
    study.arms("same-size", {("radix", 0.1): [0.97, 0.98]})
    tables = study.write(tmp_path / "tables")
    with pytest.raises(OutputExistsError, match="already holds a report: give force"):
        write_report(tables, out)
    write_report(tables, out, force=True)
    assert {path.name for path in (out / "figures").iterdir()} == {"mine.svg", "same-size-1.svg"}


def test_nothing_is_written_when_tables_are_refused(tmp_path):
    with pytest.raises(NotFoundError, match="is missing"):
        write_report(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("package", PACKAGES)
def test_a_missing_package_is_named_before_anything_is_written(whole, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"a report needs {package}.*: pip install 'topokit\[study\]'"):
        write_report(whole, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_named(study, tmp_path):
    with pytest.raises(TopokitError, match=r"cannot write .*no-parent/out: there is no folder"):
        write_report(study.write(tmp_path / "tables"), tmp_path / "no-parent" / "out")


@pytest.mark.parametrize("accuracy", [0.0, 0.1, 0.9731, 1.0])
def test_runs_that_are_all_alike_can_be_drawn(study, tmp_path, accuracy):
    for experiment, x in (("same-size", 0.1), ("same-edges", 2), ("retrained", 0.05)):
        arms = {(arm, x): [accuracy] * 2 for arm in ("radix", "random", "iterative")}
        study.arms(experiment, arms | {("dense", 1): [accuracy] * 2}, model="lenet-5", dataset="digits")
    curve, saved = [(accuracy, 0, ""), (accuracy, 0.5, 0.1)], [(0.5, accuracy, accuracy)]
    for seed in range(2):
        study.add(accuracy, seed, curve[:1], experiment="retrained", arm="iterative", density=0.5, model="lenet-5")
        for experiment in ("iterative", "one-time"):
            study.add(accuracy, seed, curve, saved, experiment=experiment, command="prune")
    out = write_report(study.write(tmp_path / "tables"), tmp_path / "out").parent
    assert {path.name.rpartition("-")[0] for path in (out / "figures").iterdir()} == set(CHARTS)


def test_a_run_of_two_entries_counts_once(study, tmp_path):
    study.arms("same-size", {("radix", 0.1): [0.97, 0.98], ("random", 0.1): [0.97, 0.98]})
    study.runs += [row | {"label": "another entry"} for row in study.runs]
    out = write_report(study.write(tmp_path / "tables"), tmp_path / "out").parent
    assert [row["seeds"] for row in rows(out / "numbers" / "means.csv")] == ["2", "2"]
    assert "2 finished" not in Page(out / "report.html").text
    assert "4 finished" in Page(out / "report.html").text
