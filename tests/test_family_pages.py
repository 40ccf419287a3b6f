"""The pages of docs/families are what the code makes now, and their examples make the networks they name."""

import importlib
import re
import shlex
from doctest import DocTestParser
from pathlib import Path

import pytest
from topokit_cli.main import topokit as command

import topokit as tk
from topokit.families import FAMILIES
from topokit.spec import options_of

DOCS = Path(__file__).parents[1] / "docs"
PARTS = {
    "Args": "Args:\n    size: how many.",
    "Raises": "Raises:\n    InvalidSpecError: a size below 1.",
    "Proof": "Proof: It is\nso.",
    "Cost of a layer": "Cost of a layer: O(1).",
    "Source": "Source: A book.",
}


def module(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        return importlib.import_module(name)


MAKE, PAGE = module("make_families"), module("family_page")


@pytest.fixture(scope="module")
def files():
    return MAKE.made()


def block(name, language):
    (text,) = re.findall(rf"```{language}\n(.*?)```", (DOCS / "families" / f"{name}.md").read_text(), flags=re.DOTALL)
    return text


def test_every_page_is_what_the_code_makes_now(files):
    assert MAKE.stale(files) == [], "run: python docs/make_families.py"


def test_every_family_has_a_page_and_a_picture_on_the_index(files):
    assert {"README.md"} | {f"{name}.md" for name in FAMILIES} | {f"images/{name}.svg" for name in FAMILIES} == set(
        files
    )
    for name in FAMILIES:
        assert f"]({name}.md)" in files["README.md"]
        assert f'src="images/{name}.svg"' in files["README.md"]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_command_line_and_the_python_form_make_the_network_of_the_page(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for line in block(name, "sh").splitlines():
        program, *words = shlex.split(line)
        assert program == "topokit"
        command.main([*words, "-o", "last.safetensors"], standalone_mode=False)
        net = tk.load("last.safetensors")
        Path("last.safetensors").rename(f"{tk.from_recipe(net.recipe).slug}.safetensors")
    names = {}
    for part in DocTestParser().get_examples(block(name, "pycon")):
        exec(part.source, names)
    *_, made = (value for value in names.values() if isinstance(value, FAMILIES[name]))
    assert tk.fingerprint(made) == tk.fingerprint(net)
    assert f"`{tk.fingerprint(net)}`" in (DOCS / "families" / f"{name}.md").read_text()


@pytest.mark.parametrize("name", FAMILIES)
def test_the_docstring_explains_every_field(name):
    explained = [field for field, _ in PAGE.items(PAGE.sections(FAMILIES[name].__doc__)["Args"])]
    assert explained == list(options_of(FAMILIES[name]))


@pytest.mark.parametrize("lost", PARTS)
def test_a_docstring_without_a_section_is_refused_by_name(lost):
    text = "A family.\n\nIts\ndefinition.\n\n" + "\n\n".join(PARTS.values()) + "\n\n>>> 1\n1"
    assert PAGE.sections(text)[""] == "A family.\n\nIts\ndefinition."
    assert PAGE.sections(text)["Proof"] == "It is\nso."
    with pytest.raises(ValueError, match=f"no section '{lost}:'"):
        PAGE.sections(text.replace(PARTS[lost], ""))


def test_a_family_without_an_example_is_refused(monkeypatch):
    text = "A butterfly.\n\n" + "\n\n".join(PARTS.values())
    for example in ("", "\n\n>>> Butterfly(nodes=2).layer_edges\n(4,)"):
        monkeypatch.setattr(FAMILIES["butterfly"], "__doc__", text + example)
        with pytest.raises(ValueError, match=r"^Butterfly: its docstring .* example .*>>> net = Butterfly\(\.\.\.\)$"):
            MAKE.made()


def test_all_missing_sections_are_named_at_once(monkeypatch):
    monkeypatch.setattr(FAMILIES["butterfly"], "__doc__", f"A butterfly.\n\n{PARTS['Proof']}")
    with pytest.raises(ValueError, match=r"^Butterfly: .* 'Args:', 'Raises:', 'Cost of a layer:', 'Source:': begin"):
        MAKE.made()


def test_options_as_the_command_line_takes_them():
    def last(net):
        return PAGE.commands(net)[-1].removeprefix("topokit build --family ")

    radix = tk.RadixNet(radices=[(2, 3), (6,)], direction=-1)
    assert last(radix) == "radix-net --radices 2,3 --radices 6 --direction -1"
    assert last(tk.RadixNet(radices=(2, 2), kron=(1, 2, 1))) == "radix-net --radices 2,2 --kron 1,2,1"
    same, other = (tk.Bernoulli(widths=(3, 4, 5), density=density, seed=7) for density in (0.5, (0.5, 1)))
    assert last(same) == "bernoulli --widths 3,4,5 --density 1/2 --topology-seed 7"
    assert last(other) == "bernoulli --widths 3,4,5 --density 1/2,1 --topology-seed 7"


def test_prose_is_shown_letter_by_letter():
    assert PAGE.prose("a*b_i <c>|d` and `e*f`") == r"a\*b\_i \<c>\|d` and `e\*f`"
    assert PAGE.prose("a*b and `a*b`") == r"a\*b and `a*b`"


def test_what_is_out_of_date_is_named_and_put_right(monkeypatch, tmp_path, capsys):
    wanted = {"a.md": "a", "images/b.svg": "b"}
    monkeypatch.setattr(MAKE, "FOLDER", tmp_path)
    monkeypatch.setattr(MAKE, "made", lambda: wanted)
    (tmp_path / "a.md").write_text("old")
    (tmp_path / "gone.md").write_text("c")
    assert MAKE.stale(wanted) == ["a.md", "gone.md", "images/b.svg"]
    for flags, code, words in ((["--check"], 1, ["out of date"] * 3), ([], 0, ["written", "removed", "written"])):
        monkeypatch.setattr("sys.argv", ["make_families.py", *flags])
        with pytest.raises(SystemExit) as exit_:
            MAKE.main()
        assert exit_.value.code == code
        assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == words
    assert MAKE.stale(wanted) == []


def test_pictures_of_one_release_are_compared_but_not_their_packed_bits():
    one = 'Matplotlib v3.11.2, <path d="1"/><image href="data:image/png;base64,AAAA"/>'
    assert MAKE.is_same(one, one.replace("AAAA", "BBBB"))
    assert MAKE.is_same(one, one.replace("3.11.2", "3.12.0").replace("1", "2"))
    assert not MAKE.is_same(one, one.replace('"1"', '"2"'))
    assert not MAKE.is_same("a page", "another page")


@pytest.mark.parametrize(
    ("one", "other"),
    [("x 0.1", "x 0.09999"), ("58 a", "57.999999 a"), ("2.85e-63", "2.849e-63"), ("1.234 2.345", "1.233 2.346")],
)
def test_numbers_may_differ_in_their_last_digit(one, other):
    assert MAKE.is_same(one, other)
    assert MAKE.is_same(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *[("8888", "8889"), ("0.25", "0.26"), ("2.85e-63", "2.85e-62"), ("57.99998", "58"), ("1.234", "-1.234")],
        *[("0.2500 a", "0.2500 b"), ("0.25", "0.25 0.25"), ("1 2", "12")],
    ],
)
def test_numbers_that_differ_by_more_are_not_the_same(one, other):
    assert not MAKE.is_same(one, other)
    assert not MAKE.is_same(other, one)
