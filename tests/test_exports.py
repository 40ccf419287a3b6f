"""The public names: the stubs, __all__, dir() and the modules agree, and importing a package stays cheap."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import topokit as tk
from topokit.errors import InvalidSpecError

ROOT = Path(__file__).parents[1]
PACKAGES = ("topokit", "topokit_train")


def stub_of(package):
    """(module, name) of each import in a package's stub; aliases must repeat the name, as typing wants it."""
    for node in ast.parse((ROOT / package / "__init__.pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 1
            for alias in node.names:
                assert alias.asname == alias.name
                yield f"{package}.{node.module}", alias.name


@pytest.mark.parametrize("package", PACKAGES)
def test_stub_all_dir_and_modules_agree(package):
    module = importlib.import_module(package)
    listed = list(stub_of(package))
    names = [name for _, name in listed]
    assert len(set(names)) == len(names)
    assert sorted(module.__all__) == sorted(dir(module)) == sorted(names)
    for place, name in listed:
        assert getattr(module, name) is getattr(importlib.import_module(place), name)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_has_the_name_of_a_public_object(package):
    names = importlib.import_module(package).__all__
    modules = {path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not modules & set(names)


@pytest.mark.parametrize("package", PACKAGES)
def test_other_names_are_no_attributes(package):
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        _ = importlib.import_module(package).nothing_of_this_name


def test_importing_a_package_imports_no_other_module():
    code = "import topokit, topokit_train, sys; print(*[n for n in sys.modules if n.startswith(('topokit', 'numpy'))])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert sorted(run.stdout.split()) == ["topokit", "topokit.errors", "topokit_train"]


def test_topology_takes_a_topology_or_a_file(tmp_path):
    net = tk.RadixNet(radices=[(2, 3)])
    net.save(tmp_path / "net.safetensors")
    assert tk.topology(net) is net
    assert tk.topology(tmp_path / "net.safetensors") == net == tk.topology(str(tmp_path / "net.safetensors"))
    with pytest.raises(InvalidSpecError, match="must be a topology, not int"):
        tk.topology(3)


def test_the_old_name_of_compare_warns_and_works(monkeypatch):
    monkeypatch.setattr("topokit.comparison.compare", lambda *given, **options: (given, options))
    with pytest.warns(DeprecationWarning, match="now called compare"):
        assert tk.against_twins("net", twins=2) == (("net",), {"twins": 2})
