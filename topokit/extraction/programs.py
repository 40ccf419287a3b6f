"""Graphs of operators as the readers of modules, programs and ONNX files give them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.convolutions import Shape
from topokit.extraction.tracing import Constant, Ids, Tracing, nodes_of

Array = NDArray[Any]


class Ref(str):
    """The name of a tensor, among the inputs of a node."""

    __slots__ = ()


@dataclass(frozen=True)
class Node:
    """A node of a graph: one use of an operator.

    Args:
        name: of the node.
        op: name of the operator.
        inputs: the operator's name of an input -> a tensor (a `Ref`), a list with tensors, or another value.
        outputs: names of the tensors that it computes.
    """

    name: str
    op: str
    inputs: Mapping[str, Any]
    outputs: tuple[str, ...]

    def refs(self) -> Iterator[Ref]:
        """Yield the tensors among the inputs."""
        for value in self.inputs.values():
            yield from (one for one in as_list(value) if isinstance(one, Ref))


_VALUES: ContextVar[dict[Any, tuple[Array, float]] | None] = ContextVar("values", default=None)
"""Results of functions in an evaluation, and how often they will still be read."""


def run_once(function: Callable[..., Array], readers: float = math.inf) -> Callable[..., Array]:
    """Return a function of constants that an evaluation runs once, also if several operators read its result.

    An evaluation is a call of such a function that is not inside another one. It drops a result after `readers` calls,
    and all results at its end.
    """

    def run(*arrays: Array) -> Array:
        values = _VALUES.get()
        if values is None:
            token = _VALUES.set({})
            try:
                return function(*arrays)
            finally:
                _VALUES.reset(token)
        key = (run, *map(id, arrays))
        result, left = values.pop(key) if key in values else (function(*arrays), readers)
        if left > 1:
            values[key] = result, left - 1
        return result

    return run


class Program(ABC):
    """A graph of operators.

    Attributes:
        nodes: in the order of the data.
        inputs: name -> shape.
        outputs: names.
        constants: name -> parameter or other constant.
        operators: name of an operator -> what it does with nodes; it returns its outputs.
    """

    nodes: Sequence[Node]
    inputs: Mapping[str, Shape]
    outputs: Sequence[str]
    constants: dict[str, Constant]
    operators: Mapping[str, Callable[[Call], Sequence[Any]]]

    @cached_property
    def parameters(self) -> set[str]:
        """The names of the constants."""
        return {one.parameter for one in self.constants.values()}

    @cached_property
    def readers(self) -> Counter[str]:
        """How many inputs of nodes each tensor is."""
        return Counter(ref for node in self.nodes for ref in node.refs())

    @abstractmethod
    def run(self, node: Node, arrays: Mapping[str, Array], *, of_nodes: bool = False) -> list[Array]:
        """Run an operator on arrays, given by the names of its inputs.

        Args:
            node: the operator.
            arrays: name of an input -> its elements.
            of_nodes: whether the elements are numbers of nodes, with 0 for no node: padding is then 0, not its value.
        """

    @abstractmethod
    def moves(self, node: Node) -> bool:
        """Return whether an operator only moves the elements of constants."""

    @abstractmethod
    def keeps(self, node: Node, ref: str) -> bool:
        """Return whether each element of the output is computed from the element of the input `ref` at its place."""

    @abstractmethod
    def shapes(self, call: Call) -> list[Shape]:
        """Return the shapes of the outputs of a node."""


class Call:
    """A node with the values of its inputs: arrays of nodes, constants, or numbers."""

    def __init__(self, node: Node, values: dict[str, Any], tracing: Tracing, program: Program):
        self.node, self.values, self.tracing, self.program = node, values, tracing, program

    def __getitem__(self, key: str) -> Any:
        return self.values.get(key)

    def tensors(self) -> Iterator[tuple[str, Any]]:
        """Yield the name and value of each input that is a tensor."""
        for key, value in self.node.inputs.items():
            several = isinstance(value, list | tuple)
            for ref, one in zip(value, self.values[key], strict=True) if several else [(value, self.values[key])]:
                if isinstance(ref, Ref):
                    yield ref, one

    @cached_property
    def features(self) -> list[Ids]:
        """The inputs that depend on those of the program."""
        return [value for _, value in self.tensors() if isinstance(value, np.ndarray)]

    @cached_property
    def shapes(self) -> list[Shape]:
        """The shapes of the outputs."""
        return self.program.shapes(self)

    def number(self, key: str) -> Any:
        """Return the value of a constant input as plain numbers."""
        value = self.values.get(key)
        return value.read().tolist() if isinstance(value, Constant) else value

    def explain(self) -> None:
        """Record why constants that this node reads beside features are not extracted, if no layer has them."""
        for value in (one for _, one in self.tensors() if isinstance(one, Constant) and self.features):
            for parameter in value.parameters or filter(None, [value.parameter]):  # an index is computed from none
                reason = f"{self.node.op} ({self.node.name}) reads {value.origin}, but not as the weight of a layer"
                self.tracing.reasons.setdefault(parameter, reason)

    def mixed(self) -> list[Ids]:
        """Return new nodes, each of which depends on all nodes of the inputs: no node of these passes."""
        of = np.concatenate([nodes_of(ids) for ids in self.features])[None]
        outputs = zip(self.node.outputs, self.shapes, strict=False)
        return [self.tracing.fresh(name, "mixed", shape, of) for name, shape in outputs]


def as_list(value: Any) -> list[Any]:
    """Return the parts of a list or tuple, or a single value as a list."""
    return list(value) if isinstance(value, list | tuple) else [value]
