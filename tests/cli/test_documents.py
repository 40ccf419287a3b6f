"""The documents' blocks are run in their order, and print what the documents say they print."""

import doctest
import re
import shlex
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from topokit._native import native
from topokit_train.sweeps.grid import read_grid

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
# The beginning of a line, numbers in it, and how far they may be off; None for times. Another processor or number of
# threads adds in another order, after which accuracies, inactive units and pruned weights may be others. The limits are
# four standard deviations of what MKL_ENABLE_INSTRUCTIONS, ATEN_CPU_CAPABILITY and OMP_NUM_THREADS made of 12 seeds of
# these commands. Another release of scikit-network finds other communities in random twins.
MODULARITY = r"modularity .* (?:structure|chance)$"
VARIES = [
    (r"training ", r"[\d.]+(?= s)", None),
    (r"\S+ (?:holds|fails|undecided|not promised) ", r"(?<=exact )[\d.]+", None),
    (r"test accuracy |seed \d ", r"[\d.]+(?=%)", 5),
    (r".* ± [\d.]+%$", r"[\d.]+(?=% ±)", 5),
    (r".* ± [\d.]+%$", r"(?<=± )[\d.]+", 9),
    (r"test (?:mse|r2|mae) ", r"[\d.]+$", 0.3),
    (r"\d \d+ \d+ [\d.]+% ", r"[\d.]+", None),
    (r"topology-.*%$", r"[\d.]+(?=%(?: [\d.]+%)?$)", 8),
    (r"effective sparsity ", r"[\d.]+(?=%)", 0.5),
    (r"inactive units ", r"(?<=fc1 )\d+|\d+(?=, fc2)", 32),
    (r"inactive units ", r"(?<=fc2 )\d+|\d+$", 8),
    (MODULARITY, r"(?<=^modularity \d\.\d{4} )[\d.]+", 0.002),
    (MODULARITY, r"(?<=# )[\d.e -]+(?= [sc])", None),  # standard deviation, z and p follow from the communities, too
]


@pytest.fixture
def run(topokit, is_same, monkeypatch):
    """A function that runs a document, see `run_document`: in this process, as others would import torch again."""
    monkeypatch.setattr("topokit.executors.cores", lambda: 1)
    return partial(run_document, topokit=topokit, is_same=is_same)


@pytest.fixture
def run_native(run):
    """A function that runs a document which shows kernel native."""
    if native() is None:
        pytest.skip("without the native library, auto takes other kernels than the page shows")
    return run


def run_document(document, topokit, is_same):
    """Run every console, python and pycon block, and write every toml block into the file that its first line names.

    Returns how many blocks there are, and the names that the Python ones made.
    """
    blocks = re.findall(
        r"^```(console|python|pycon|toml)\n(.*?)^```", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE
    )
    names = {}
    for language, block in blocks:
        if language == "console":
            run_console(block, topokit, is_same)
        elif language == "toml":
            Path(block.splitlines()[0].removeprefix("# ")).write_text(block)
        elif language == "python":
            exec(block, names)
        else:
            names = run_session(block, names)
    return len(blocks), names


def run_console(block, topokit, is_same):
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
        found, wanted = ([" ".join(line.split()) for line in text.splitlines()] for text in (done.out, output))
        for ours, theirs in zip(found, wanted, strict=True):
            assert is_same(*comparable(ours, theirs)), f"{command} gives {ours!r}, not {theirs!r}"


def run_session(block, names):
    test = doctest.DocTestParser().get_doctest(block, names, "session", None, 0)
    said = []
    assert doctest.DocTestRunner().run(test, out=said.append, clear_globs=False).failed == 0, "".join(said)
    return test.globs


def comparable(found, wanted):
    """Two lines without the numbers in them that may vary, which are within their limits."""
    for line, number, most in VARIES:
        if re.match(line, wanted):
            if most is not None:
                ours, theirs = ([float(value) for value in re.findall(number, text)] for text in (found, wanted))
                assert ours == pytest.approx(theirs, abs=most), f"{found!r} is not near {wanted!r}"
            found, wanted = (re.sub(number, "#", text) for text in (found, wanted))
    return found, wanted


@pytest.mark.parametrize(
    ("line", "number", "near", "wrong"),
    [
        ("test accuracy 93.24% ± 1.44% (95 % of Student's t, 3 seeds)", "93.24", "92.24", "87.24"),
        ("seed 0 93.89% seeds/seed0", "93.89", "94.44", "83.89"),
        ("effective sparsity 89.66% before training, 89.66% after", "89.66% after", "89.96% after", "98.66% after"),
        ("inactive units fc1 4 to 6, fc2 4 to 5", "5", "8", "50"),
        ("training 0.8 s, 40 epochs, kernel native, cpu", "0.8", "1.9", "0.8 s, 5"),
        ("topology-0.9.safetensors 90.00% 26,620 312 88.33% 88.06%", "88.33", "90.33", "78.33"),
        ("topology-0.9.safetensors 90.00% 26,620 312 88.33% 88.06%", "88.06", "90.06", "98.06"),
        ("topology-0.9.safetensors 90.00% 26,620 312 88.33% 88.06%", "312", "312", "313"),
        ("radix recipe=paper 5 0 0 0 55.56% ± 8.38%", "55.56", "57.56", "65.56"),
        ("radix recipe=paper 5 0 0 0 55.56% ± 8.38%", "8.38", "4.38", "18.38"),
        (
            "modularity 0.2537 0.2534 0.001009 0.2935 1 1 chance",
            "0.2534 0.001009",
            "0.2535 0.001005",
            "0.2564 0.001009",
        ),
        ("modularity 0.2537 0.2534 0.001009 0.2935 1 1 chance", "1 chance", "0.9 chance", "1 structure"),
        ("soundness holds yes exact 0.001 every layer is in canonical form", "0.001", "3.120", "0.001 0.002"),
        ("float32 103.6 KiB of weights, 1.012 MiB dense", "1.012", "1.013", "1.014"),
    ],
)
def test_numbers_that_vary_have_limits(line, number, near, wrong, is_same):
    assert is_same(*comparable(line.replace(number, near), line))
    with pytest.raises(AssertionError):
        assert is_same(*comparable(line.replace(number, wrong), line))


def test_the_readme(run_native):
    blocks, names = run_native("README.md")
    assert blocks >= 7
    assert names["model"][0].values.numel() == names["masks"]["0.weight"].sum() == 23520


def test_the_tutorial_on_masks(run, is_same):
    blocks, _ = run("docs/tutorial-mask.md")
    assert blocks >= 15
    for kept, drawn in (("pruned-mask", "pruned"), ("pruned-degrees", "degrees")):
        assert is_same((ROOT / f"docs/images/{kept}.svg").read_text(), Path(f"{drawn}.svg").read_text())


def test_the_tutorial_on_pruned_models(run):
    blocks, names = run("docs/tutorial-prune.md")
    assert blocks >= 12
    assert Path("masked.safetensors").exists()
    assert names["retrained"].fc1.weight_mask.sum() == 1280


def test_the_page_on_models_of_ones_own(run_native):
    blocks, names = run_native("docs/own-model.md")
    assert blocks == 5
    assert int((names["state"]["layers.1.self_attn.in_proj_weight"] != 0).sum()) == 3 * 384


@pytest.mark.parametrize("page", ["own-data", "own-method"])
def test_a_page_that_trains(run_native, page):
    assert run_native(f"docs/{page}.md")[0] >= 4


def test_the_page_on_python(run):
    assert run("docs/python.md")[0] >= 2


def test_the_page_on_descriptions(run, topokit):
    blocks, _ = run("docs/descriptions.md")
    assert blocks == 2
    refused = topokit("info", "radix-net radixes=10,10")
    assert refused.code == 2
    assert refused.err in (ROOT / "docs/descriptions.md").read_text()


def test_the_tutorial_on_sweeps(run):
    blocks, names = run("docs/sweeps.md")
    assert blocks >= 7
    assert len(names["rows"]) == 25
    assert len(names["radix"]) == 5
    assert [run.name for run in read_grid("grid.toml")] == [row["run"] for row in names["rows"]]


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
