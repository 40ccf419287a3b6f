"""Draw docs/images/architecture.svg, the packages and their imports: `python docs/make_architecture.py`."""

from __future__ import annotations

import ast
from itertools import groupby
from pathlib import Path

import matplotlib.pyplot as plt
import networkx as nx

from topokit.drawing._style import INK, PALE, house_style

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "topokit": ROOT / "topokit",
    "topokit_train": ROOT / "topokit_train",
    "topokit_cli": ROOT / "cli/topokit_cli",
}
SIZE = (11, 10)  # inches


def part(module: str) -> str | None:
    """Return the part of the project that a module belongs to: a folder, or the rest of a package; None if outside."""
    package, *names = module.split(".")
    if package not in PACKAGES:
        return None
    if package == "topokit_cli":
        return "cli"
    folder = names[0] if names else ""
    return f"{package}/{folder}" if (PACKAGES[package] / folder).is_dir() and folder else f"{package} (modules)"


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports when it runs; imports for type checkers alone do not count."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


def graph() -> nx.DiGraph[str]:
    """Return the folders and their imports, without an import that follows from others."""
    drawn: nx.DiGraph[str] = nx.DiGraph()
    for package, folder in PACKAGES.items():
        for path in folder.rglob("*.py"):
            here = part(".".join([package, *path.relative_to(folder).with_suffix("").parts]))
            there = {part(module) for module in imported(path)} - {None, here}
            drawn.add_edges_from((here, other) for other in there)
    drawn.remove_nodes_from([name for name in drawn if "(modules)" in name])
    return nx.transitive_reduction(drawn)


def main() -> None:
    """Draw each part below all parts that import it."""
    drawn = graph()
    levels = {name: level for level, names in enumerate(nx.topological_generations(drawn)) for name in names}
    places = {}
    for (level, package), names in groupby(
        sorted(drawn, key=lambda name: (levels[name], name)), key=lambda name: (levels[name], name.split("/")[0])
    ):
        row = list(names)
        left, width = {"topokit_train": (0, 0.5), "topokit": (0.5, 0.5)}.get(package, (0, 1))
        places |= {name: (left + width * (k + 0.5) / len(row), -level) for k, name in enumerate(row)}
    with house_style():
        figure, axes = plt.subplots(figsize=SIZE)
        nx.draw_networkx_edges(drawn, places, ax=axes, edge_color=PALE, node_size=900, arrowsize=8)
        for name, (x, y) in places.items():
            box = {"boxstyle": "round", "facecolor": "white", "edgecolor": INK}
            axes.text(x, y, name, ha="center", va="center", bbox=box)
        axes.set_axis_off()
        figure.tight_layout()
        figure.savefig(ROOT / "docs/images/architecture.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
