"""Operators that write into their inputs: which they are, and where a graph reads what they wrote."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from topokit.errors import InvalidGraphError
from topokit.extraction.programs import Node, Ref, as_list

_SHARES = """
    dropout feature_dropout alpha_dropout feature_alpha_dropout type_as broadcast_tensors meshgrid cartesian_prod
    atleast_1d atleast_2d atleast_3d sum_to_size unsafe_split unsafe_split_with_sizes unsafe_chunk _unsafe_view
    conj_physical dequantize lift flatten_dense_tensors einsum
"""
"""Operators whose output can be their input, or a view of it, although their schema does not say so."""


def base_name(op: str) -> str:
    """Return an operator's name without its overload, and without the _ of one that works in place: relu_ is relu."""
    name = op.split(".")[1] if op.count(".") == 2 else op
    return name[:-1] if name.endswith("_") and not name.startswith("_") else name


def resolved(op: str) -> Any:
    """Return torch's operator of a name such as "aten.linear.default".

    Raises:
        InvalidGraphError: torch has no such operator.
    """
    space, name, overload = op.split(".") if op.count(".") == 2 else ("", op, "")
    try:
        return getattr(getattr(getattr(torch.ops, space), name), overload)
    except (AttributeError, RuntimeError):
        raise InvalidGraphError(f"this torch has no operator {op}: use the release that wrote the file") from None


def written(op: str) -> list[str]:
    """Return the names of the inputs that an operator writes into."""
    return [one.name for one in resolved(op)._schema.arguments if _is_written(one)]


def _is_written(argument: Any) -> bool:
    return bool(argument.alias_info and argument.alias_info.is_write)


def lost_write(nodes: Sequence[Node], outputs: Sequence[str]) -> tuple[Node, str] | None:
    """Return the first node that writes into memory which is read later by another name than its output, and that name.

    The interpreter gives what was written only to the output of the operator. That is wrong if the tensor is read
    afterwards by its earlier name, by a view of it, or as the tensor of which it is a view.

    Raises:
        InvalidGraphError: an operator has returned its input, but its schema does not say so, such as dropout in
            evaluation mode: `ExportedProgram.run_decompositions` loses a write into its output.
    """
    lost = _lost_writes(nodes, outputs)
    for i, name in _lost_writes(nodes, outputs, hidden=_SHARES.split()):
        if (i, name) not in lost:
            raise InvalidGraphError(
                f"the node {nodes[i].name} ({nodes[i].op}) writes into the memory of {name}, by way of an operator "
                "that returned its input: write into a clone in the model's forward, and export it again"
            )
    return next(((nodes[i], name) for i, name in lost), None)


def _lost_writes(nodes: Sequence[Node], outputs: Sequence[str], hidden: Sequence[str] = ()) -> list[tuple[int, str]]:
    """Return (number of the node, name that is read) of all such writes; see `lost_write`.

    Args:
        nodes: of the graph.
        outputs: names of its outputs.
        hidden: names of operators whose outputs count as their inputs, although their schemas do not say so.
    """
    last: dict[str, int] = {ref: i for i, node in enumerate(nodes) for ref in node.refs()}
    last |= dict.fromkeys(outputs, len(nodes))
    shared: dict[str, set[str]] = {}  # name -> the names of tensors in the same memory
    lost = []
    for i, node in enumerate(nodes):
        if not node.op.startswith("aten."):
            continue  # it is refused when the graph is read
        schema = resolved(node.op)._schema
        for one in schema.arguments:
            for ref in _refs(node.inputs.get(one.name)) if _is_written(one) else ():
                later = sorted(name for name in shared.get(ref, {ref}) if last.get(name, -1) > i)
                later = later or [str(ref)] * one.kwarg_only  # of `out` nothing is read, but its nodes would be
                lost += [(i, name) for name in later]
        name = base_name(node.op)
        hides = name in hidden and not (name == "einsum" and len(node.inputs["tensors"]) > 1)  # which is a product
        if hides or any(one.alias_info for one in schema.returns):
            names = [one.name for one in schema.arguments if hides or one.alias_info]
            together = set(node.outputs)
            for ref in (ref for name in names for ref in _refs(node.inputs.get(name))):
                together |= shared.get(ref, {ref})
            shared |= dict.fromkeys(together, together)
    return lost


def _refs(value: Any) -> Iterator[Ref]:
    return (one for one in as_list(value) if isinstance(one, Ref))


def require_no_lost_write(nodes: Sequence[Node], outputs: Sequence[str]) -> None:
    """Refuse a graph in which what an operator writes in place is read by another name.

    Raises:
        InvalidGraphError: names the node.
    """
    if lost := lost_write(nodes, outputs):
        node, name = lost
        raise InvalidGraphError(
            f"the node {node.name} ({node.op}) writes into the memory of {name}, which topokit cannot follow: export "
            "the model again, and save program.run_decompositions({}), a program that writes nothing in place"
        )
