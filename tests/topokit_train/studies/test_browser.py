"""The report in a browser without a network: every figure has a size, and nothing is asked of anybody."""

import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")
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


@pytest.fixture(scope="module")
def page(report, tmp_path_factory):
    """A report's page, alone, whose title will say what the browser made of it."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text((report / "report.html").read_text().replace("</body>", PROBE))
    return path


def opened(page, tmp_path, width):
    """(what the probe found, the addresses that the page asked for: the browser's own are told by their initiator)."""
    log = tmp_path / "net.json"
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking", "--disable-component-update"),
        *(f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}", "--virtual-time-budget=2000"),
        *(f"--window-size={width},900", "--dump-dom", page.as_uri()),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(re.search(r"<title>(.*?)</title>", run.stdout, re.DOTALL)[1].replace("&amp;", "&"))
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    asked = {told["url"] for told in events if told.get("initiator", "not an origin") != "not an origin"}
    return found, {address for address in asked if not address.startswith(("file:", "data:"))}


@pytest.mark.parametrize("width", [1280, 500])
def test_every_figure_is_drawn_and_no_request_goes_out(page, tmp_path, width):
    found, asked = opened(page, tmp_path, width)
    assert len(found["sizes"]) == page.read_text().count("<figure>") > 30
    assert all(200 < across <= width and up > 150 for across, up in found["sizes"])
    assert (found["fetched"], asked) == ([], set())
    assert found["width"] <= found["window"], "the page is wider than the window"
    assert found["spills"] == []


def test_a_request_would_be_seen(page, tmp_path):
    address = "http://host.invalid/picture.png"
    spoilt = tmp_path / "spoilt.html"
    spoilt.write_text(page.read_text().replace("<main>", f'<main><img src="{address}">'))
    found, asked = opened(spoilt, tmp_path, 1280)
    assert (found["fetched"], asked) == ([address], {address})
