"""`topokit fit`: what it prints, and that each line it gives builds what it said."""

import re
import shlex
from functools import reduce
from pathlib import Path

import numpy as np
import pytest

import topokit as tk
from topokit.measures.effective import effective

LENET = ("--widths", "784,300,100", "--density", "0.05")
KEYS = {
    *("options", "density", "layer_densities", "outside", "cropped", "cropped_layers", "counted", "min_paths"),
    *("max_paths", "disconnected_pairs", "dead_units", "output_in_degrees", "strange", "reasons", "build"),
}


def test_the_json_object(topokit):
    run = topokit("fit", *LENET, "--limit", 2, "--json")
    assert (run.code, run.err) == (0, "")
    assert (run.json["widths"], run.json["density"]) == ([784, 300, 100], 0.05)
    best, other = run.json["candidates"]
    assert set(best) == set(other) == KEYS
    assert best["options"] == {"radices": [[15, 20]], "kron": [3, 1, 1], "crop": [784, 300, 100]}
    assert (best["min_paths"], best["max_paths"], best["disconnected_pairs"], best["dead_units"]) == ("1", "1", 0, 0)
    assert (best["cropped"], best["cropped_layers"], best["output_in_degrees"]) == (True, [0, 2], {"20": 100})
    assert (best["strange"], best["reasons"], best["outside"], best["counted"]) == (False, [], False, True)


def test_a_target_is_the_same(topokit):
    wanted = topokit("fit", "--widths", "20,30,10", "--density", "0.05", "--limit", 3)
    assert wanted.code == 0
    for target in (("20-30-10 at 95 %",), ("20-30-10", "at", "95", "%")):
        assert topokit("fit", *target, "--limit", 3).out == wanted.out


@pytest.mark.parametrize(
    "wanted",
    [
        *(LENET, ("--widths", "8,80,80,8", "--density", "1/4"), ("--widths", "101,101,97", "--density", ".1")),
        *(("--widths", "20,30,10", "--density", ".1"), ("--widths", "9,9", "--density", ".3")),
    ],
)
def test_every_line_builds_what_it_says(topokit, wanted):
    candidates = topokit("fit", *wanted, "--json").json["candidates"]
    lines = topokit("fit", *wanted).out.split("\n\n")[1].splitlines()
    assert len(lines) == len(candidates) >= 3
    for number, (line, candidate) in enumerate(zip(lines, candidates, strict=True), start=1):
        assert line == f"{candidate['build']}  # {number}"
        name, *build = shlex.split(line, comments=True)
        assert name == "topokit"
        made = topokit(*build, "-o", "net.safetensors", "--force", "--json").json
        assert made["density"] == candidate["density"]
        assert made["widths"] == [int(width) for width in wanted[1].split(",")]
        checks = topokit("verify", "net.safetensors", "--json").json["checks"]
        found = {check["check"]: check for check in checks}
        assert (found["connectivity"]["verdict"] == "holds") == (candidate["disconnected_pairs"] == 0)
        counts = found["path-symmetry"]["values"]
        paths = (counts["min"], counts["max"]) if "min" in counts else (counts["paths"],) * 2
        assert paths == (candidate["min_paths"], candidate["max_paths"])


def test_the_table(topokit):
    table, _ = topokit("fit", *LENET, "--limit", 5).out.split("\n\n")
    header, *rows = table.splitlines()
    names = "radices density off layer densities cropped paths pairs lost dead units in-degree remarks"
    assert " ".join(header.split()) == names
    rows = [row.split() for row in rows]
    assert rows[0] == ["1", "15,20", "0.05189", "+3.8%", "0.05..0.0667", "ends", "1", "0", "0", "20"]
    assert [row[5] for row in rows] == ["ends"] * 4 + ["inside"]
    assert topokit("fit", "--widths", "8,80,80,8", "--density", "1/4").out.splitlines()[1].split()[5] == "no"


def test_what_does_not_fit_is_flagged(topokit):
    run = topokit("fit", "--widths", "784,300,100", "--density", ".01", "--limit", 4)
    assert run.code == 0
    assert "nothing is within the tolerance; the nearest density is 0.01157, 0.03659 without strange" in run.err
    rows = run.out.splitlines()[1:5]
    assert all("outside the tolerance" in row for row in rows)
    assert ["STRANGE: no path from input" in row for row in rows] == [False, False, True, True]
    assert "?" in topokit("fit", "--widths", "4294967294,2147483647,5", "--density", ".001", "--limit", 2).out


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("99 % --tolerance .3", "only strange models are within the tolerance; the nearest density is 0.03659 without"),
        ("95 % --tolerance 0", "only strange models are within the tolerance; the nearest density is 0.04998 without"),
        ("99 % --tolerance .01", "nothing is within the tolerance; the nearest density is 0.01157, 0.03659 without"),
        ("95 %", ""),
    ],
)
def test_the_note_is_the_same_for_every_limit(topokit, wanted, said):
    notes = {topokit("fit", "784-300-100", "at", *wanted.split(), "--limit", limit).err for limit in (1, 10)}
    assert notes == {f"note: {said} strange models\n" if said else ""}


def test_a_density_that_is_just_below_is_not_said_to_be_the_wanted_one(topokit):
    rows = topokit("fit", "784-300-100 at 95 %", "--tolerance", 0, "--limit", 3).out.splitlines()[1:4]
    assert [row.split()[2:4] for row in rows] == [["0.04998", "-0.03%"], ["0.04996", "-0.1%"], ["0.05", "+0.0%"]]


def test_the_page_of_strange_models_says_what_its_networks_are(topokit):
    page = (Path(__file__).parents[2] / "docs" / "strange-models.md").read_text()
    rows = re.findall(r"\| [AB], (\w+) \| `(.*?)` \| (\S+) \| (\S+).*? \| (\d+) \| (.*?) \|", page)
    assert len(rows) == 6
    for kind, options, density, lost, dead, in_degree in rows:
        topokit("build", *shlex.split(options), "-o", "net.safetensors", "--force")
        layers = [layer.to_dense().astype(int) for layer in tk.load("net.safetensors").stream()]
        edges, cells = sum(layer.sum() for layer in layers), sum(layer.size for layer in layers)
        assert f"{edges / cells:.4g}".removeprefix("0") == density
        paths = reduce(np.dot, layers)
        assert f"{(paths == 0).sum():,}" == lost
        incoming = layers[-1].sum(axis=0)
        assert " or ".join(map(str, np.unique(incoming))) == in_degree
        assert sum(nodes.size for nodes in effective(tk.load("net.safetensors")).dead) == int(dead)
        assert (kind == "strange") == bool((paths == 0).any() or incoming.min() <= 2)
