"""Surveys: what can be said of each layer alone, found once and remembered for all checks.

A spec makes a layer anew whenever it is asked for. Most checks need no more of most layers than their
degrees: so these are kept, and a layer is made only for who looks at its edges. Since each layer can be made
and surveyed alone, other processes and machines can do it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.csr import Buffers, Storage
from topokit.errors import TopokitError
from topokit.layered import Layer, Layered, Promises, Recipe
from topokit.recipes import from_recipe
from topokit.reprs import counted
from topokit.spec import Spec, from_numbers_alone

EDGES_AT_A_TIME = 2**26
"""About how many edges a worker surveys before it reports: so many that asking costs nothing beside it."""

Watch = Callable[[int], None]


@dataclass(slots=True)
class Survey:
    """What is known of a layer without its edges. What is None is not known yet.

    Args:
        looked: whether `fault` is known.
        fault: what breaks the canonical form; None where nothing does.
        outgoing: out-degrees, shape (sources,), or (1,) where all are equal.
        incoming: in-degrees, shape (targets,), or (1,) where all are equal.
    """

    looked: bool = False
    fault: str | None = None
    outgoing: NDArray[np.integer[Any]] | None = None
    incoming: NDArray[np.integer[Any]] | None = None


class SurveyedLayer(Layer):
    """A layer of a spec that is made when its edges are looked at, and adds what it learns to its survey."""

    __slots__ = ("_buffers", "_i", "_made", "_net", "_survey")

    def __init__(self, net: Spec, i: int, survey: Survey, buffers: Buffers):
        self._net, self._i, self._survey, self._buffers = net, i, survey, buffers
        self._made: Storage | None = None
        self._incoming = None

    @property
    def _storage(self) -> Storage:  # type: ignore[override]  # what the parent is given is made here
        if self._made is None:
            self._made = self._net.storage(self._i, self._buffers)
        return self._made

    def release(self) -> None:
        """Give the memory back: nobody reads this layer any more."""
        if self._made is not None:
            self._buffers.reclaim(self._made)

    @property
    def shape(self) -> tuple[int, int]:
        return self._net.widths[self._i : self._i + 2]  # type: ignore[return-value]

    @property
    def edges(self) -> int:
        return int(self.out_degrees.sum())

    @property
    def out_degrees(self) -> NDArray[np.int64]:
        if self._survey.outgoing is None:
            self._survey.outgoing = _packed(super().out_degrees)
        return _unpacked(self._survey.outgoing, self.shape[0])

    @property
    def in_degrees(self) -> NDArray[np.int64]:
        if self._survey.incoming is None:
            self._survey.incoming = _packed(super().in_degrees)
        return _unpacked(self._survey.incoming, self.shape[1])

    def fault(self, name: str) -> str | None:
        if not self._survey.looked:
            self._survey.looked, self._survey.fault = True, super().fault(name)
        return self._survey.fault


class Surveyed(Layered):
    """The network of a spec, whose layers remember what was found out about them.

    Args:
        net: the spec.
        surveys: one for each layer, where another process has made them; else all is found out when asked for.
        watch: called with the number of layers that a stream has come past, after each.
    """

    def __init__(self, net: Spec, surveys: Sequence[Survey] | None = None, watch: Watch | None = None):
        self.net = net
        self._surveys = surveys or [Survey() for _ in range(len(net))]
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
        return SurveyedLayer(self.net, i, self._surveys[i], Buffers())

    def stream(self, *, reverse: bool = False) -> Iterator[Layer]:
        buffers = Buffers()
        order = range(len(self))
        for done, i in enumerate(reversed(order) if reverse else order, start=1):
            layer = SurveyedLayer(self.net, i, self._surveys[i], buffers)
            yield layer
            layer.release()
            self._watch(done)


def surveyed(net: Layered, executor: Executor | None = None, watch: Watch | None = None) -> Layered:
    """A network that remembers what its layers' degrees are; the network itself where it holds its layers.

    Args:
        net: any network.
        executor: who looks at the layers beforehand, where nothing but the recipe is needed to make them.
        watch: called with the number of layers done, by the executor's survey and by each stream.

    Warns:
        RuntimeWarning: workers were lost. What they had not done is done in this process.
    """
    if not isinstance(net, Spec):
        return net
    if executor is None or not from_numbers_alone(net):
        return Surveyed(net, None, watch)
    return Surveyed(net, _survey_all(net, executor, watch), watch)


def _survey_all(net: Spec, executor: Executor, watch: Watch | None) -> list[Survey]:
    size = max(1, EDGES_AT_A_TIME // max(1, *net.layer_edges))
    starts = range(0, len(net), size)
    survey_part = partial(_survey_part, json.dumps(net.recipe), size)
    surveys: list[Survey] = []
    try:
        for part in executor.map(survey_part, starts):
            surveys += part
            if watch:
                watch(len(surveys))
    except (TopokitError, MemoryError):
        raise
    except Exception as error:  # executors tell of lost workers in many ways; a fault of our own comes again below
        left = len(net) - len(surveys)
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        warnings.warn(
            f"workers were lost ({said}): {counted(left, 'layer')} are looked at here", RuntimeWarning, stacklevel=2
        )
        surveys += [Survey() for _ in range(left)]
    return surveys


def _survey_part(recipe: str, size: int, start: int) -> list[Survey]:
    """Survey some layers, in a worker: all that a `Survey` has room for."""
    net = from_recipe(json.loads(recipe))
    buffers = Buffers()
    surveys = []
    for i in range(start, min(start + size, len(net))):
        survey = Survey()
        layer = SurveyedLayer(net, i, survey, buffers)
        if layer.fault(f"layer {i}") is None:
            _ = layer.out_degrees, layer.in_degrees
        layer.release()
        surveys.append(survey)
    return surveys


def _packed(degrees: NDArray[np.int64]) -> NDArray[np.integer[Any]]:
    """The same numbers in little room: one where all are equal."""
    if (degrees == degrees[0]).all():
        degrees = degrees[:1]
    return degrees.astype(np.min_scalar_type(degrees.max()))  # a copy: it must not hold the memory of the layer


def _unpacked(degrees: NDArray[np.integer[Any]], nodes: int) -> NDArray[np.int64]:
    return np.broadcast_to(degrees.astype(np.int64), (nodes,))
