"""Imports point one way only, heavy packages load late, and every module is registered."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = [  # each may import what stands after it
    *(
        "drawing",
        "fitting",
        "challenge",
        "placement",
        "descriptions",
        "formats",
        "extraction",
        "masking",
        "convolutions",
        "comparison",
        "profiles",
        "checks",
        "measures",
    ),
    *("recipes", "families"),
    *(
        "allocation",
        "transforms",
        "spec",
        "options",
        "topologies",
        "layered",
        "layer",
        "edges",
        "csr",
        "fields",
        "errors",
    ),
]
TRAINING_ROOMS = [  # of topokit_train: the same; rooms not named here stand on the ground and import none
    *("studies", "sweeps", "runs", "pruning", "results", "vitality", "training"),
    *(
        "described",
        "feeding",
        "optimisation",
        "config",
        "weights",
        "models",
        "conversion",
        "initialisation",
        "layers",
        "kernels",
    ),
]
BESIDE_ERRORS = {"_registry", "reprs", "_workers", "executors"}


def imports(path):
    """(module, line) of every import in a file, wherever it stands in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} is a relative import"
            yield node.module, node.lineno


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
def test_topokit_train_does_not_import_the_command_line(path):
    assert not [module for module, _ in imports(path) if module.split(".")[0] in ("topokit_cli", "click")]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "topokit_train").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_topokit_train_imports_only_to_the_right(path):
    here = room(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if here == "__init__":
        return
    for module, line in imports(path):
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


@pytest.mark.parametrize(
    ("package", "registry"),
    [
        ("topokit/families", "topokit.families:FAMILIES"),
        ("topokit/measures", "topokit.measures:MEASURES"),
        ("topokit/checks", "topokit.checks:CHECKS"),
        ("topokit/formats", "topokit.formats:FORMATS"),
        ("topokit_train/datasets", "topokit_train.datasets:DATASETS"),
        ("topokit_train/kernels", "topokit_train.kernels:KERNELS"),
        ("topokit_train/models", "topokit_train.models:MODELS"),
        ("topokit_train/studies/claims", "topokit_train.studies.claims:CLAIMS"),
        ("topokit_train/studies/charts", "topokit_train.studies.charts:CHARTS"),
        ("topokit_train/weights", "topokit_train.weights:READERS"),
    ],
)
def test_every_registered_name_imports_and_every_module_is_used(package, registry):
    module, name = registry.split(":")
    entries = getattr(__import__(module, fromlist=[name]), name)
    for key in entries:
        assert entries[key] is not None
    registered = {place.partition(":")[0] for place in entries.places.values()}
    files = {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__"}
    imported = {
        imported.rpartition(".")[2]
        for path in (ROOT / package).glob("*.py")
        for imported, _ in imports(path)
        if imported.startswith(package.replace("/", "."))
    }
    assert files <= {place.rpartition(".")[2] for place in registered} | imported
