"""Messages speak the caller's language: names in Python and in grids, flags on the command line."""

import ast
import re
from pathlib import Path

import pytest
from topokit_cli.main import COMMANDS
from topokit_cli.main import topokit as group

from topokit.checks import CHECKS, METHODS
from topokit.drawing import STYLES
from topokit.errors import FileFormatError, InvalidSpecError
from topokit.families import FAMILIES, RANDOM_EQUIVALENTS
from topokit.fields import Bounds, checked, option
from topokit.formats import FORMATS
from topokit.measures import MEASURES
from topokit_train.config import TrainConfig
from topokit_train.kernels import KERNELS
from topokit_train.models import MODELS
from topokit_train.pruning.config import METHODS as WAYS
from topokit_train.pruning.config import SCOPES, PruneConfig
from topokit_train.studies import STUDIES

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for name in ("topokit", "topokit_train") for path in (ROOT / name).rglob("*.py"))
FLAG = re.compile(r"(?<![\w-])--[a-z{]")
OTHERS = {"nproc-per-node"}
"""Flags of other programs."""

TERMINAL = {"topokit_train/runs/train.py": "_resumed_with"}
"""Functions whose lines are only for a terminal: the command that continues a run."""


def texts(tree, terminal=None):
    """(text, line) of every string that is not a docstring, nor in a function for the terminal."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    elsewhere = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == terminal
        for part in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs | bare | elsewhere:
            yield node.value, node.lineno


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_text_of_the_packages_holds_a_flag(path):
    for text, line in texts(ast.parse(path.read_text()), TERMINAL.get(path.relative_to(ROOT).as_posix())):
        if not any(other in text for other in OTHERS):
            assert not FLAG.search(text), f"{path}:{line}: {text!r}"


@pytest.mark.parametrize(
    ("settings", "flags", "python", "command"),
    [
        ({"epochs": 0}, ["--epochs", "0"], "epochs must be at least 1", "--epochs must be at least 1"),
        ({"batch_size": 0}, ["--batch-size", "0"], "batch_size must be", "--batch-size must be"),
        ({"momentum": 0.9}, ["--momentum", ".9"], "momentum belongs to optimizer", "--momentum belongs to --optimizer"),
        ({"lr": -1}, ["--lr", "-1"], "lr must be a number above 0, not -1", "--lr must be a number above 0, not -1"),
    ],
)
def test_python_names_a_setting_and_the_command_line_its_flag(settings, flags, python, command, topokit):
    with pytest.raises(InvalidSpecError, match=f"^{python}"):
        TrainConfig(**settings)
    refused = topokit("train", *flags)
    assert (refused.code, refused.out, command in refused.err) == (2, "", True), refused.err
    assert "`" not in refused.err


def test_only_names_of_the_command_become_flags():
    error = InvalidSpecError("`out` of `keep_ends` and `a b`")
    assert error.with_flags({"keep_ends"}) == "out of --keep-ends and `a b`"
    assert str(error) == "out of keep_ends and `a b`"


def test_control_characters_of_names_in_a_file_are_escaped():
    error = FileFormatError("the node \x1b[31ma\n\x1eb\u2028é has `epochs`")
    assert str(error) == r"the node \x1b[31ma\n\x1eb\u2028é has epochs"
    assert error.with_flags({"epochs"}) == r"the node \x1b[31ma\n\x1eb\u2028é has --epochs"


@pytest.mark.parametrize(
    ("command", "name", "wanted"),
    [
        ("verify", "names", CHECKS),
        ("verify", "require", CHECKS),
        ("verify", "method", METHODS),
        ("draw", "style", STYLES),
        ("convert", "to", FORMATS),
        ("info", "names", MEASURES),
        ("compare", "kind", RANDOM_EQUIVALENTS),
        ("build", "family", FAMILIES),
        ("build", "random_equivalent", RANDOM_EQUIVALENTS),
        ("train", "kernel", ("auto", "tuned", *KERNELS)),
        ("prune", "method", WAYS),
        ("prune", "scope", SCOPES),
        ("study", "name", STUDIES),
    ],
)
def test_choices_of_the_command_line_are_those_of_the_registries(command, name, wanted):
    (param,) = [param for param in group.get_command(None, command).params if param.name == name]
    assert list(param.type.choices) == list(wanted)


@pytest.mark.parametrize("command", ["train", "prune"])
def test_the_help_of_the_model_names_all_of_them_and_how_to_give_another(command):
    (param,) = [param for param in group.get_command(None, command).params if param.name == "model"]
    assert param.default in MODELS
    assert all(name in param.help for name in (*MODELS, "FILE.py:FUNCTION"))


@pytest.mark.parametrize("config", [TrainConfig, PruneConfig])
def test_every_setting_is_an_option(config):
    command = group.get_command(None, "prune" if config is PruneConfig else "train")
    assert set(config.__dataclass_fields__) <= {param.name for param in command.params}


@pytest.mark.parametrize(("command", "lines"), [("train", 100), ("verify", 50)])
def test_help_is_short(topokit, command, lines, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    shown = topokit(command, "--help").out.splitlines()
    assert len(shown) <= lines
    assert max(map(len, shown)) <= 100


def test_train_has_few_options():
    options = [param for param in group.get_command(None, "train").params if not param.hidden]
    assert len(options) <= 38 + len(["--quiet", "--verbose"])  # which every command has


@pytest.mark.parametrize("name", COMMANDS)
def test_a_help_text_is_a_noun_phrase_with_its_default(name):
    for param in group.get_command(None, name).params:
        text = getattr(param, "help", None)
        if text:
            assert text[0].isupper() or text[0] in "\"'0123456789"
            assert "left out" not in text, text


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "words"),
    [
        (Bounds(0), (0, 9.5), (-0.1,), "from 0 on"),
        (Bounds(0, above=True), (0.1,), (0, -1), "above 0"),
        (Bounds(0, 1), (0, 1), (1.1, -0.1), "from 0 to 1"),
        (Bounds(0, 1, below=True), (0, 0.9), (1,), "from 0 to below 1"),
        (Bounds(0, 1, above=True), (0.1, 1), (0, 2), "above 0 and at most 1"),
    ],
)
def test_bounds_are_checked_and_said(bounds, inside, outside, words):
    metadata = option("X.", kind="number", bounds=bounds).metadata
    assert str(bounds) == words
    for value in inside:
        assert checked("x", value, metadata) == value
    for value in (*outside, float("nan"), float("inf"), True, None, "y", 10**400):
        with pytest.raises(InvalidSpecError, match=f"x must be a number {words}, not "):
            checked("x", value, metadata)
