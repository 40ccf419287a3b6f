"""The documents' blocks are run in their order, and print what the documents say they print."""

import doctest
import importlib
import re
import shlex
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
# accuracies, seconds and dead units depend on the machine
VARIES = r"\d+\.\d+%|\d+\.\d+ s|\d\.\d{3}|(?<=fc\d )\d+(?: to \d+)?"


def run(document, topokit):
    """Run every console, python and pycon block, and write every toml block into the file that its first line names.

    Returns how many blocks there are, and the names that the Python ones made.
    """
    blocks = re.findall(
        r"^```(console|python|pycon|toml)\n(.*?)^```", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE
    )
    names = {}
    for language, block in blocks:
        if language == "console":
            run_console(block, topokit)
        elif language == "toml":
            Path(block.splitlines()[0].removeprefix("# ")).write_text(block)
        elif language == "python":
            exec(block, names)
        else:
            names = run_session(block, names)
    return len(blocks), names


def run_console(block, topokit):
    """Commands after `$ ` and what they print; they exit with 0, unless `echo $?` follows and says otherwise."""
    parts = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    assert "".join(f"$ {command}\n{output}" for command, output in parts) == block
    for (command, output), (after, code) in zip(parts, [*parts[1:], ("", "")], strict=True):
        if command == "echo $?":
            continue
        program, *words = shlex.split(command)
        assert program == "topokit"
        done = topokit(*words)
        assert done.code == (int(code) if after == "echo $?" else 0), done.err
        assert comparable(done.out) == comparable(output), command


def run_session(block, names):
    test = doctest.DocTestParser().get_doctest(block, names, "session", None, 0)
    said = []
    assert doctest.DocTestRunner().run(test, out=said.append, clear_globs=False).failed == 0, "".join(said)
    return test.globs


def comparable(text):
    return re.sub(r" +", " ", re.sub(VARIES, "#", text)).strip()


def test_the_readme(topokit):
    blocks, names = run("README.md", topokit)
    assert blocks >= 7
    assert names["model"][0].values.numel() == names["masks"]["0.weight"].sum() == 23520


def test_the_tutorial_on_masks(topokit, monkeypatch):
    blocks, _ = run("docs/tutorial-mask.md", topokit)
    assert blocks >= 15
    monkeypatch.syspath_prepend(ROOT / "docs")
    is_same = importlib.import_module("make_families").is_same
    for kept, drawn in (("pruned-mask", "pruned"), ("pruned-degrees", "degrees")):
        assert is_same((ROOT / f"docs/images/{kept}.svg").read_text(), Path(f"{drawn}.svg").read_text())


def test_the_tutorial_on_pruned_models(topokit):
    blocks, names = run("docs/tutorial-prune.md", topokit)
    assert blocks >= 12
    assert Path("masked.safetensors").exists()
    assert names["retrained"].fc1.weight_mask.sum() == 1280


def test_the_page_on_models_of_ones_own(topokit):
    blocks, names = run("docs/own-model.md", topokit)
    assert blocks == 4
    assert int((names["state"]["layers.1.self_attn.in_proj_weight"] != 0).sum()) == 3 * 384


def test_the_page_on_descriptions(topokit):
    blocks, _ = run("docs/descriptions.md", topokit)
    assert blocks == 2
    refused = topokit("info", "radix-net radixes=10,10")
    assert refused.code == 2
    assert refused.err in (ROOT / "docs/descriptions.md").read_text()


def test_the_tutorial_on_sweeps(topokit):
    blocks, names = run("docs/sweeps.md", topokit)
    assert blocks >= 7
    assert len(names["rows"]) == 25
    assert len(names["radix"]) == 5
    assert [run.name for run in names["runs"]] == [row["run"] for row in names["rows"]]


def test_the_page_on_python(topokit):
    blocks, _ = run("docs/python.md", topokit)
    assert blocks >= 2


def headings(page):
    """The anchors of a page's headings, as GitHub makes them: equal ones are numbered."""
    titles = re.findall(r"^#+ (.*)", re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    seen = Counter()
    for title in titles:
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        yield f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor
        seen[anchor] += 1


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)|(?:src|href)=\"(?!https?:)([^\"]+)\"", path.read_text())
    for target, anchor, picture in links:
        leads_to = path.parent / (target or picture) if target or picture else path
        assert leads_to.exists(), target or picture
        assert not anchor or anchor in headings(leads_to.read_text()), f"{target}#{anchor}"


def test_anchors_are_those_of_github():
    page = "# Of a `trained` network!\n## Costs, etc.\n```sh\n# no heading\n```\n## Costs, etc.\n## snake_case-dash"
    assert [*headings(page)] == ["of-a-trained-network", "costs-etc", "costs-etc-1", "snake_case-dash"]
