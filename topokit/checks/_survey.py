"""Surveys: the facts about each layer alone, found once and kept for all checks.

A spec regenerates a layer on every access. Most checks need no more of most layers than their degrees: so these are
kept, and a layer is materialised only when its edges are read. Since each layer can be made and surveyed alone, other
processes and machines can do it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit._native import LayerRows, survey
from topokit.csr import Buffers, Storage
from topokit.errors import TopokitError
from topokit.layered import Layer, Layered, Promises, Recipe
from topokit.recipes import from_recipe
from topokit.reprs import counted
from topokit.spec import Spec, from_numbers_alone

EDGES_AT_A_TIME = 2**26
"""About how many edges a worker surveys before it reports: so many that asking costs nothing beside it."""

Watch = Callable[[int], None]

Facts = dict[str, Any]
"""What is known of a layer without its edges: "fault", None if it is in canonical form; "out" and "in", its degrees."""


class SurveyedLayer(Layer):
    """A layer of a spec that is materialised when its edges are read, and adds what it learns to its facts."""

    __slots__ = ("_buffers", "_facts", "_i", "_made", "_net")

    def __init__(self, net: Spec, i: int, facts: Facts, buffers: Buffers):
        self._net, self._i, self._facts, self._buffers = net, i, facts, buffers
        self._made: Storage | None = None
        self._incoming = None

    @property
    def _storage(self) -> Storage:  # type: ignore[override]  # what the parent is given is made here
        if self._made is None:
            self._made = self._net.storage(self._i, self._buffers)
        return self._made

    def release(self) -> None:
        """Give the memory back: nothing reads this layer any more."""
        if self._made is not None:
            self._buffers.reclaim(self._made)

    @property
    def shape(self) -> tuple[int, int]:
        return self._net.widths[self._i : self._i + 2]  # type: ignore[return-value]

    @property
    def edges(self) -> int:
        return int(self.out_degrees.sum())

    def native_rows(self) -> LayerRows | None:
        return self._net.native_rows(self._i) or super().native_rows()

    def _survey(self) -> None:
        """Find all facts at once, from each of its edges, if the library computes them without an array."""
        rows = None if self._facts else self._net.native_rows(self._i)
        found = survey(rows) if rows else None  # of a faulty layer, NumPy names the fault
        if found is not None:
            outgoing, incoming = map(_packed, found)
            self._facts |= {"fault": None, "out": outgoing, "in": incoming}

    @property
    def out_degrees(self) -> NDArray[np.int64]:
        self._survey()
        if "out" not in self._facts:
            self._facts["out"] = _packed(super().out_degrees)
        return np.broadcast_to(self._facts["out"].astype(np.int64), self.shape[:1])

    @property
    def in_degrees(self) -> NDArray[np.int64]:
        self._survey()
        if "in" not in self._facts:
            self._facts["in"] = _packed(super().in_degrees)
        return np.broadcast_to(self._facts["in"].astype(np.int64), self.shape[1:])

    def fault(self, name: str) -> str | None:
        self._survey()
        if "fault" not in self._facts:
            self._facts["fault"] = super().fault(name)
        fault: str | None = self._facts["fault"]
        return fault


class Surveyed(Layered):
    """The network of a spec, whose layers remember what was found out about them.

    Args:
        net: the spec.
        facts: those that workers found of each layer; the others are found when they are needed.
        watch: called with the number of layers that a stream has come past, after each.
    """

    def __init__(self, net: Spec, facts: Sequence[Facts] = (), watch: Watch | None = None):
        self.net = net
        self._facts = [*facts, *({} for _ in range(len(net) - len(facts)))]
        self._watch = watch or (lambda _: None)

    @property
    def widths(self) -> tuple[int, ...]:
        return self.net.widths

    @property
    def layer_edges(self) -> tuple[int, ...]:
        return self.net.layer_edges

    @property
    def recipe(self) -> Recipe | None:
        return self.net.recipe

    @property
    def promises(self) -> Promises:
        return self.net.promises

    def layer(self, i: int) -> Layer:
        return SurveyedLayer(self.net, i, self._facts[i], Buffers())

    def stream(self, *, reverse: bool = False) -> Iterator[Layer]:
        buffers = Buffers()
        order = range(len(self))
        for done, i in enumerate(reversed(order) if reverse else order, start=1):
            layer = SurveyedLayer(self.net, i, self._facts[i], buffers)
            yield layer
            layer.release()
            self._watch(done)


def surveyed(net: Layered, executor: Executor | None = None, watch: Watch | None = None) -> Layered:
    """Return a network that keeps its layers' facts; the network itself if its layers are in memory.

    Args:
        net: any network.
        executor: surveys the layers beforehand if their recipe alone regenerates them.
        watch: called with the number of layers done, by the executor's survey and by each stream.

    Warns:
        RuntimeWarning: workers were lost. What they had not done is done in this process.
    """
    if not isinstance(net, Spec):
        return net
    if executor is None or not from_numbers_alone(net):
        return Surveyed(net, watch=watch)
    return Surveyed(net, _survey_all(net, executor, watch), watch)


def _survey_all(net: Spec, executor: Executor, watch: Watch | None) -> list[Facts]:
    """Return the facts that workers found: those of the first layers if workers were lost, else of all."""
    size = max(1, EDGES_AT_A_TIME // max(1, *net.layer_edges))
    survey_part = partial(_survey_part, json.dumps(net.recipe), size)
    facts: list[Facts] = []
    try:
        for part in executor.map(survey_part, range(0, len(net), size)):
            facts += part
            if watch:
                watch(len(facts))
    except (TopokitError, MemoryError):
        raise
    except Exception as error:  # executors report lost workers in many ways; an error of the work is raised again later
        left = counted(len(net) - len(facts), "layer")
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        warnings.warn(f"workers were lost ({said}): {left} are looked at here", RuntimeWarning, stacklevel=2)
    return facts


def _survey_part(recipe: str, size: int, start: int) -> list[Facts]:
    """Return all facts of some layers; a worker calls it."""
    net = from_recipe(json.loads(recipe))
    buffers = Buffers()
    found: list[Facts] = []
    for i in range(start, min(start + size, len(net))):
        found.append({})
        layer = SurveyedLayer(net, i, found[-1], buffers)
        if layer.fault(f"layer {i}") is None:
            _ = layer.out_degrees, layer.in_degrees
        layer.release()
    return found


def _packed(degrees: NDArray[np.int64]) -> NDArray[np.integer[Any]]:
    """The same numbers in little room: one where all are equal."""
    if (degrees == degrees[0]).all():
        degrees = degrees[:1]
    return degrees.astype(np.min_scalar_type(degrees.max()))  # a copy: it must not hold the memory of the layer
