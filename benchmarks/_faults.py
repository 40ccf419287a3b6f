"""Small faults for Python source: each one changes the text of one node of its syntax tree."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, chain

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}


@dataclass(frozen=True)
class Fault:
    """A replacement of bytes start to end of a source."""

    line: int
    start: int
    end: int
    old: str
    new: str

    def __str__(self) -> str:
        return " -> ".join(" ".join(text.split()) for text in (self.old, self.new))

    def put_into(self, source: str) -> str:
        """Return the source with the fault."""
        data = source.encode()
        return (data[: self.start] + self.new.encode() + data[self.end :]).decode()


def faults(source: str) -> list[Fault]:
    """Return the faults of a source that still compile, in the order of its syntax tree."""
    data = source.encode()
    starts = [0, *accumulate(len(line) for line in data.splitlines(keepends=True))]
    found = []
    for node, new in chain.from_iterable(map(changes, nodes(ast.parse(source)))):
        start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        fault = Fault(node.lineno, start, end, data[start:end].decode(), new)
        if compiles(fault.put_into(source)):
            found.append(fault)
    return found


def compiles(source: str) -> bool:
    """Return whether Python accepts the source."""
    try:
        compile(source, "fault", "exec")
    except SyntaxError:
        return False
    return True


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that a fault may change.

    Annotations are not run, a wrong type in isinstance is found by any test, and Python 3.11 gives wrong positions
    inside f-strings.
    """
    for name, value in ast.iter_fields(tree):
        children = value if isinstance(value, list) else [value]
        if name in {"annotation", "returns"}:
            continue
        if name == "args" and isinstance(tree, ast.Call) and ast.unparse(tree.func) == "isinstance":
            children = children[:1]
        for child in children:
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                yield child
                yield from nodes(child)


def changes(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:  # noqa: C901 (a flat table)
    """Yield a node and the text to put in its place, for each fault at this node."""
    match node:
        case ast.Compare(ops=ops):
            for i, op in enumerate(ops):
                for other in COMPARISONS[type(op)]:
                    yield node, text(node, ops=[*ops[:i], other(), *ops[i + 1 :]])
        case ast.BinOp(op=op) if type(op) in ARITHMETIC:
            yield node, text(node, op=ARITHMETIC[type(op)]())
        case ast.BoolOp(op=op):
            yield node, text(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield node, text(operand)
        case ast.Constant(value=bool() as value):
            yield node, str(not value)
        case ast.Constant(value=int() | float() as value):
            yield node, f"({value + 1!r})"
            yield node, f"({value - 1!r})"
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            if isinstance(test, ast.Name | ast.Attribute | ast.Call) and ast.unparse(test) != "TYPE_CHECKING":
                yield test, text(ast.UnaryOp(ast.Not(), test))
        case ast.Return(value=ast.AST() as value) if not isinstance(value, ast.Constant):
            yield node, "return None"
        case ast.AugAssign(op=op):
            yield node, "pass"
            if type(op) in ARITHMETIC:
                yield node, statement(node, op=ARITHMETIC[type(op)]())
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.Continue() | ast.Break() | ast.Delete():
            yield node, "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield node, "pass"


def statement(node: ast.AST, **changed: object) -> str:
    """Return the text of a node with some of its fields changed."""
    other = copy.copy(node)
    for name, value in changed.items():
        setattr(other, name, value)
    return ast.unparse(ast.fix_missing_locations(other))


def text(node: ast.AST, **changed: object) -> str:
    """Return the text of an expression with some of its fields changed, in parentheses so that it stays one operand."""
    return f"({statement(node, **changed)})"
