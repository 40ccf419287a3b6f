"""Lines of code in each package, without docstrings, comments and blank lines; and lines of the tests.

python benchmarks/size.py
"""

import ast
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("topokit", "topokit_train", "cli/topokit_cli")
NOT_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def lines_of_code(path: Path) -> int:
    """Return the number of lines that hold code other than docstrings."""
    with tokenize.open(path) as file:
        tokens = [token for token in tokenize.generate_tokens(file.readline) if token.type not in NOT_CODE]
    code = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            code -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(code)


def main() -> None:
    """Print a line for each package, their sum, and the tests."""
    sizes = {name: sum(map(lines_of_code, (ROOT / name).rglob("*.py"))) for name in PACKAGES}
    for name, size in sizes.items():
        print(f"{size:7,} {name}")
    print(f"{sum(sizes.values()):7,} lines of code")
    tests = sum(len(path.read_text().splitlines()) for path in (ROOT / "tests").rglob("*.py"))
    print(f"{tests:7,} lines of tests")


if __name__ == "__main__":
    main()
