"""Tables of runs that never were: made up, so that what a report must say of them is known."""

import csv
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from topokit_train.studies.report import write_report
from topokit_train.sweeps.columns import BEFORE_TAGS, EPOCHS, PRUNINGS, RESULTS, SETTINGS, TOPOLOGY

TAGS = ("experiment", "arm", "density", "times", "network")
RUN_COLUMNS = (*BEFORE_TAGS, *TAGS, *SETTINGS, *TOPOLOGY, *RESULTS)
DEFAULTS = {
    "state": "finished",
    "command": "train",
    "model": "lenet-300-100",
    "dataset": "mnist",
    "recipe": "modern",
    "epochs": 10,
    "validation": 5000,
    "dead_classes": 0,
    "train_seconds": 12.5,
}
STUDY = {
    "study": "training-behavior",
    "budget": "smoke",
    "machine": {"processor": "a processor", "cores": 2, "memory": "24 GiB", "system": "Linux"},
    "versions": {"python": "3.11.9", "torch": "2.13.0"},
    "seconds": 5400,
    "started": "2026-01-02",
    "ended": "2026-01-03",
}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
PROBE = """<script>addEventListener("load", () => {
  const sizes = [...document.querySelectorAll("figure svg")].map(svg => svg.getBoundingClientRect());
  const spills = [...document.querySelectorAll("figure svg text")].filter(text => {
    const inner = text.getBoundingClientRect(), outer = text.closest("svg").getBoundingClientRect();
    return inner.left < outer.left - 1 || inner.right > outer.right + 1; });
  document.title = JSON.stringify({
    sizes: sizes.map(size => [size.width, size.height]), width: document.documentElement.scrollWidth,
    window: innerWidth, fetched: performance.getEntriesByType("resource").map(one => one.name),
    spills: spills.map(text => text.textContent), colour: getComputedStyle(document.body).color });
});</script></body>"""


class Study:
    """Rows of a study's tables, and the folder they are written to."""

    def __init__(self):
        self.runs, self.epochs, self.prunings = [], [], []

    def add(self, accuracy, seed=0, curve=(), saved=(), **values):
        """A run; curve is (test_accuracy, sparsity, threshold) of each epoch, saved (target, before, after)."""
        name = f"r{len(self.runs):05}"
        row = DEFAULTS | {"run": name, "label": values.get("experiment", ""), "seed": seed, "test_accuracy": accuracy}
        self.runs.append(row | values)
        for number, (of_epoch, sparsity, threshold) in enumerate(curve, 1):
            told = {"test_accuracy": of_epoch, "sparsity": sparsity, "threshold": threshold}
            self.epochs.append({"run": name, "epoch": number, **told})
        for target, before, after in saved:
            told = {"target": target, "sparsity": target, "accuracy_before": before, "test_accuracy": after}
            self.prunings.append({"run": name, **told})
        return name

    def arms(self, experiment, accuracies, **values):
        """A run of each seed of each arm: {(arm, place): accuracies}."""
        place = "times" if experiment == "same-edges" else "density"
        for (arm, x), of_seeds in accuracies.items():
            for seed, accuracy in enumerate(of_seeds):
                self.add(accuracy, seed, experiment=experiment, arm=arm, **{place: x}, **values)

    def write(self, folder):
        """Write the tables; columns and formats as the contract has them."""
        folder.mkdir(exist_ok=True)
        tables = (("runs", RUN_COLUMNS), ("epochs", EPOCHS), ("prunings", PRUNINGS))
        for name, columns in tables:
            with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns, restval="")
                writer.writeheader()
                writer.writerows(getattr(self, name))
        (folder / "study.json").write_text(json.dumps(STUDY))
        return folder


@pytest.fixture
def study():
    """A study without a run."""
    return Study()


LEVELS = {  # the accuracy of a dense network, and how much of the rest of 1 a halving of the density costs
    ("lenet-300-100", "mnist", "paper"): (0.971, 0.01),
    ("lenet-300-100", "mnist", "modern"): (0.984, 0.003),
    ("lenet-5", "mnist", "paper"): (0.991, 0.002),
    ("lenet-5", "mnist", "modern"): (0.993, 0.001),
    ("lenet-5", "cifar10", "paper"): (0.80, 0.02),
    ("lenet-5", "cifar10", "modern"): (0.82, 0.015),
}
SPARSITIES = (0.5, 0.75, 0.9, 0.95, 0.99)


def whole_study(seeds=5):
    """Tables with everything in them that a report draws, drawn at random around plausible values."""
    made, rng = Study(), np.random.default_rng(7)

    def near(accuracy, spread=0.001):
        return float(np.clip(accuracy + rng.normal(0, spread), 0.1, 0.999).round(4))

    for (model, dataset, recipe), (level, cost) in LEVELS.items():
        about = {"model": model, "dataset": dataset, "recipe": recipe, "epochs": 25 if recipe == "paper" else 10}
        for seed in range(seeds if model == "lenet-300-100" else 3):
            of_seed = [level + rng.normal(0, 0.0006)]
            _same(made, about, seed, near, of_seed[0], cost)
            _pruned(made, about, seed, near, of_seed[0], cost, rng)
    made.add("", 0, experiment="same-edges", arm="radix", times=100, state="failed", error="not enough memory")
    return made


def _same(made, about, seed, near, level, cost):
    def at(density):
        return level - cost * np.log2(1 / density) ** 1.4

    for experiment, place in (("same-size", "density"), ("same-edges", "times")):
        made.add(near(level), seed, experiment=experiment, arm="dense", **{place: 1}, **about)
        for x in (0.5, 0.1, 0.05, 0.01) if place == "density" else (2, 10, 100):
            loss = at(x) if place == "density" else level - 0.4 * cost * np.log2(x)
            for arm in ("radix" if x != 0.01 else "radix-split", "random", "regular"):
                worse = 0.02 * (arm == "random") * (x == 0.01)
                made.add(near(loss - worse), seed, experiment=experiment, arm=arm, **{place: x}, **about)


def _pruned(made, about, seed, near, level, cost, rng):
    count = about["epochs"]
    share = [min(max((e / count - 0.2) / 0.6, 0), 1) for e in range(1, count + 1)]
    sparsity = [0.99 * (1 - (1 - p) ** 3) for p in share]
    over_time = [
        (near(level - 0.3 * np.exp(-e) - cost * 3 * s**8), round(s, 5), round(0.02 + 0.1 * s**4, 5) if s else "")
        for e, s in enumerate(sparsity)
    ]
    saved = [(s, near(level), near(level - cost * 4 * s**8)) for s in SPARSITIES]
    made.add(saved[-1][2], seed, over_time, saved, experiment="iterative", command="prune", method="gradual", **about)
    saved = [(s, level, near(max(level - 5 * cost * s**3 - 0.8 * s**20, 0.11))) for s in (0.25, *SPARSITIES)]
    made.add(saved[-1][2], seed, (), saved, experiment="one-time", command="prune", method="one-time", **about)
    made.add(near(level), seed, experiment="retrained", arm="dense", density=1, **about)
    for arm, loses in (("one-time", 0.4), ("iterative", 0.2)):
        for s in SPARSITIES:
            dies = about["recipe"] == "paper" and about["model"] == "lenet-5" and rng.random() < loses + 0.4 * s**8
            k = int(rng.integers(1, 5)) if dies else 0
            end = near((level - cost * np.log2(1 / (1 - s))) * (1 - k / 10))
            rise = [(near(end * (1 - 0.5 * np.exp(-e / 2)), 0.004), "", "") for e in range(count - 1)]
            told = {"arm": arm, "density": round(1 - s, 4), "dead_classes": k, **about}
            made.add(end, seed, [*rise, (end, "", "")], experiment="retrained", **told)


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The folder of tables with everything that a report draws."""
    return whole_study().write(tmp_path_factory.mktemp("whole") / "tables")


@pytest.fixture(scope="session")
def report(whole, tmp_path_factory):
    """The folder of a report of everything; to be read only."""
    return write_report(whole, tmp_path_factory.mktemp("report") / "out").parent


@pytest.fixture
def browse(tmp_path):
    """A function that opens a page in a browser without a network, as wide as it is told.

    It gives what the browser made of it (sizes of the figures, texts that leave them, ...), and the addresses that the
    page asked for: the browser's own are told by their initiator.
    """
    if CHROMIUM is None:
        pytest.skip("no Chromium on the path")

    def opened(page, width):
        log, probed = tmp_path / "net.json", tmp_path / "probed.html"
        probed.write_text(page.read_text().replace("</body>", PROBE))
        command = [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking", "--disable-component-update"),
            *(f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}", "--virtual-time-budget=2000"),
            *(f"--window-size={width},900", "--dump-dom", probed.as_uri()),
        ]
        run = subprocess.run(command, capture_output=True, text=True, timeout=400, check=True)
        found = json.loads(re.search(r"<title>(.*?)</title>", run.stdout, re.DOTALL)[1].replace("&amp;", "&"))
        events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
        asked = {told["url"] for told in events if told.get("initiator", "not an origin") != "not an origin"}
        return found, {address for address in asked if not address.startswith(("file:", "data:"))}

    return opened
