"""Tables of runs that never were: made up, so that what a report must say of them is known."""

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path

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


@pytest.fixture(scope="session")
def whole():
    """The folder of the committed tables, with everything that a report draws."""
    return Path(__file__).parents[3] / "docs" / "study" / "tables"


@pytest.fixture(scope="session")
def report(whole, tmp_path_factory):
    """The folder of the report of the committed tables, as the code writes it now; to be read only."""
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
