"""Imports point one way only, heavy packages load late, and every module is registered."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ROOMS, TRAINING_ROOMS = (  # of the two packages: each may import what stands after it; others of topokit_train none
    re.findall(r"\w+", line)
    for line in re.findall(r"^`(\w+ -> .*)`", (DOCS / "architecture.md").read_text(), flags=re.MULTILINE)
)
BESIDE_ERRORS = {"_native", "_registry", "_signals", "reprs", "executors"}


def imports(path):
    """(module, line) of every import in a file, wherever it stands in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} is a relative import"
            yield node.module, node.lineno


def imports_that_run(path):
    """The same without imports that only a type checker carries out."""
    typed = [
        range(node.lineno, node.end_lineno + 1)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    return [(module, line) for module, line in imports(path) if not any(line in lines for lines in typed)]


def room(module):
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else ""
    return "errors" if name in BESIDE_ERRORS else name


@pytest.mark.parametrize("path", sorted((ROOT / "topokit").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_topokit_imports_only_to_the_right(path):
    here = room(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if here in ("__init__", ""):
        return
    for module, line in imports(path):
        top = module.split(".")[0]
        assert top not in ("torch", "click", "topokit_train", "topokit_cli", "tqdm"), f"{path}:{line} imports {module}"
        if top == "topokit" and module != "topokit":
            assert ROOMS.index(room(module)) >= ROOMS.index(here), f"{path}:{line} imports {module}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "topokit_train").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_topokit_train_imports_only_to_the_right(path):
    assert not [module for module, _ in imports(path) if module.split(".")[0] in ("topokit_cli", "click")]
    here = room(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if here == "__init__":
        return
    for module, line in imports_that_run(path):
        if module.startswith("topokit_train.") and (there := room(module)) != here and there in TRAINING_ROOMS:
            assert here in TRAINING_ROOMS, f"{path}:{line}: {here} stands on the ground and imports {module}"
            assert TRAINING_ROOMS.index(there) > TRAINING_ROOMS.index(here), f"{path}:{line} imports {module}"


def loaded_after(code):
    probe = f"{code}\nimport sys; print(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(run.stdout.splitlines()[-1].split())


def test_importing_topokit_loads_nothing_heavy():
    heavy = {"torch", "matplotlib", "networkx", "graphblas", "pandas"}
    assert not loaded_after("import topokit; topokit.RadixNet(radices=[(2, 2)]).build()") & heavy
    assert "torch" not in loaded_after("import topokit_train")


def test_help_loads_neither_torch_nor_graphblas():
    code = (
        "import sys; sys.argv[1:] = ['--help']\nfrom topokit_cli.main import main\ntry: main()\nexcept SystemExit: pass"
    )
    assert not loaded_after(code) & {"torch", "matplotlib", "networkx", "graphblas", "numpy", "scipy"}


REGISTRIES = {
    name: path
    for package in ("topokit", "topokit_train")
    for path in sorted((ROOT / package).rglob("*.py"))
    for name in re.findall(r"^(\w+) = Registry\(", path.read_text(), flags=re.MULTILINE)
}
"""Every registry, and the file that it is in."""
FOLDERS = [name for name, path in REGISTRIES.items() if path.name == "__init__.py" and name != "STUDIES"]
"""Registries with a folder of their own; that of STUDIES holds much else."""


def registry(name):
    module = ".".join(REGISTRIES[name].relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    return getattr(import_module(module), name)


def test_the_registries_are_found():
    assert {"FAMILIES", "ALLOCATIONS", "KERNELS", "STUDIES"} < set(REGISTRIES)


@pytest.mark.parametrize("name", REGISTRIES)
def test_every_registered_name_imports(name):
    entries = registry(name)
    assert entries
    for key in entries:
        assert entries[key] is not None


@pytest.mark.parametrize("name", FOLDERS)
def test_every_module_of_a_registry_is_used(name):
    folder = REGISTRIES[name].parent
    package = ".".join(folder.relative_to(ROOT).parts)
    registered = {place.partition(":")[0].rpartition(".")[2] for place in registry(name).places.values()}
    imported = {
        imported.rpartition(".")[2]
        for path in (ROOT / package.partition(".")[0]).rglob("*.py")
        for imported, _ in imports(path)
        if imported.startswith(f"{package}.")
    }
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} <= registered | imported


@pytest.mark.parametrize("name", [*REGISTRIES, "COMMANDS"])
def test_the_docs_table_names_every_registry(name):
    assert f"`{name}`" in (DOCS / "extending.md").read_text()
