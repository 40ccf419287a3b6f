"""An installation without extras: every command and every public name works, or names the extra to install."""

import json
import re
import subprocess
import sys

import pytest
from topokit_cli.main import COMMANDS

from topokit.errors import EXTRAS

ABSENT = {*EXTRAS, "mpl_toolkits", "dask"}

PROGRAM = f"""
import contextlib, io, json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
import topokit, topokit_train
from topokit_cli.main import main

def command(line):
    sys.argv = ["topokit", *line.split()]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as end:
            return [end.code, err.getvalue()]

def name(package, name):
    try:
        getattr(package, name)
    except topokit.TopokitError as error:
        return [isinstance(error, ImportError), str(error)]
    return [True, ""]

lines = json.load(sys.stdin)
commands = {{line: command(line) for line in lines}}
names = {{f"{{package.__name__}}.{{one}}": name(package, one) for package in (topokit, topokit_train)
         for one in dir(package)}}
print(json.dumps([commands, names]))
"""

NEEDS = {
    "build --radices 2,2 -o net.safetensors": "",
    "verify net.safetensors": "",
    "verify net.safetensors --scheduler tcp://localhost:1": "cluster",
    "info net.safetensors": "",
    "compare net.safetensors --twins 2": "",
    "fit 30-20-10 at 90 %": "",
    "draw net.safetensors -o net.png": "plot",
    "convert net.safetensors net.graphml": "",
    "mask net.safetensors --names fc1,fc2 -o masks.safetensors": "",
    "mask net.safetensors --model lenet-5 -o other.safetensors": "train",
    "extract masks.safetensors -o extracted.safetensors": "",
    "extract model.pt": "train",
    "extract model.onnx": "onnx",
    "train": "train",
    "prune": "train",
    "evaluate .": "train",
    "sweep grid.toml": "train",
    "sweep grid.toml --status": "train",
    "study training-behavior": "train",
    "study training-behavior --tables . --out report": "train",
    "challenge net.safetensors --images images.tsv --bias -.1": "",
    "challenge net.safetensors --images images.tsv --bias -.1 --engine fast": "train",
}
"""Command -> the extra that it needs."""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("t")
    for name, content in {
        "model.pt": b"PK\x03\x04rest",
        "model.onnx": b"\x08\x08rest",
        "images.tsv": b"1\t1\t1\n",
    }.items():
        (folder / name).write_bytes(content)
    (folder / "grid.toml").write_text('[[runs]]\nlabel = "a"\n')
    helps = [f"{name} --help" for name in COMMANDS]
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([*NEEDS, *helps]),
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    return json.loads(run.stdout)


def test_every_command_is_in_the_table():
    assert {line.split()[0] for line in NEEDS} == set(COMMANDS)


def test_a_command_works_or_names_the_extra(answers):
    for line, extra in NEEDS.items():
        code, err = answers[0][line]
        if extra:
            assert (code, len(err.splitlines())) == (1, 1), (line, err)
            assert re.search(rf" needs \w+: pip install 'topokit\[{extra}\]'$", err.strip()), (line, err)
        else:
            assert code == 0, (line, err)


def test_help_needs_no_extra(answers):
    assert {line: code for line, (code, _) in answers[0].items() if line.endswith("--help") and code} == {}


def test_a_public_name_is_there_or_names_the_extra(answers):
    assert all(fine for fine, _ in answers[1].values()), answers[1]
    missing = {name: said for name, (_, said) in answers[1].items() if said}
    assert {name.partition(".")[0] for name in missing} == {"topokit_train"}
    assert {"topokit_train.train", "topokit_train.sparsify", "topokit_train.SparseLinear"} <= {*missing}
    assert all(re.fullmatch(r"this needs \w+: pip install 'topokit\[train\]'", said) for said in missing.values())
