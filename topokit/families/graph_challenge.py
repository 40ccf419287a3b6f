"""The networks of the Sparse Deep Neural Network Graph Challenge, from their recipe."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit.circulant import Circulant
from topokit.errors import InvalidSpecError
from topokit.layered import Promises
from topokit.spec import LAYERS, Bounds, CirculantSpec, option

SIZES = (1024, 4096, 16384, 65536)
KRON = 16
DEGREE = 2 * KRON
CHECKED = 120  # layers of the network of 1024 neurons that were compared with the official files
SEED = 5489  # MT19937's own default, which the official generator never changed
_DRAWING = Lock()  # threads may draw at once
_STATES: dict[int, list[Any]] = {}
"""Neurons -> the generator's state at the start of each run drawn so far, 2.5 KB each."""


@dataclass(frozen=True, kw_only=True)
class GraphChallenge(CirculantSpec):
    """An official network of the Graph Challenge: RadiX-Nets one after another, all but the first shuffled.

    A block is the RadiX-Net of neurons / 16 nodes with radix 2 throughout and Kronecker width 16, shifting
    backward: 6, 8, 10 or 12 layers for the four sizes. Block 0 is the plain one. In each layer of block
    b >= 1, row r of the plain layer becomes row p_b[r], where p_b sorts the b-th run of `neurons` uniform
    numbers from the Mersenne Twister with seed 5489.

    Every depth of at least one block is path symmetric; a smaller one is not even connected. A shuffled block
    alone is not path symmetric.

    Args:
        neurons: nodes in each node layer: 1024, 4096, 16384 or 65536.
        layers: number of edge layers, at most 65,536; the official networks have 120, 480 or 1920.

    Raises:
        InvalidSpecError: another size, no layer, or too many.

    Proof: Block 0 is a RadiX-Net of one system, so its layers multiply to c J, where J is all ones and c is the
    product of its interior Kronecker widths, 16 each. A shuffle reorders the rows of a layer, so that rows and
    columns keep 32 edges each. Then J W = 32 J for each layer W behind block 0, shuffled or not, and each
    multiplies the paths by 32. In fewer layers than a block has, an input reaches 16 * 2^layers nodes, and there
    are more.

    Cost of a layer: O(edges) time, 8 bytes an edge.
    Source: Kepner et al. 2019, "Sparse Deep Neural Network Graph Challenge", arXiv:1909.05631. The paper
    leaves the shuffle open; it was found by comparison with the published files.

    >>> net = GraphChallenge(neurons=1024, layers=120)
    >>> net.edges, net.promises.paths == 2**590
    (3932160, True)
    """

    name = "graph-challenge"

    neurons: int = option("Neurons in each layer: 1024, 4096, 16384 or 65536.", kind="int", bounds=Bounds(1))
    _layers: int = option("Number of edge layers.", kind="int", bounds=LAYERS, alias="layers")

    def __post_init__(self) -> None:
        if self.neurons not in SIZES:
            raise InvalidSpecError(f"`neurons` must be one of {', '.join(map(str, SIZES))}, not {self.neurons}")

    @property
    def nodes(self) -> int:
        """Nodes of a layer before the Kronecker width, which is also the number of different rows in a layer."""
        return self.neurons // KRON

    @property
    def period(self) -> int:
        """Layers in a block."""
        return self.nodes.bit_length() - 1

    @cached_property
    def widths(self) -> tuple[int, ...]:
        return (self.neurons,) * (self._layers + 1)

    @property
    def layer_edges(self) -> tuple[int, ...]:
        return (DEGREE * self.neurons,) * self._layers

    @property
    def promises(self) -> Promises:
        symmetric = self._layers >= self.period
        paths = KRON ** (self.period - 1) * DEGREE ** (self._layers - self.period) if symmetric else None
        degrees = ((DEGREE, DEGREE),) * self._layers
        return Promises(connected=symmetric, paths=paths, degrees=degrees, density=Fraction(DEGREE, self.neurons))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is predicted and not checked against the official files."""
        if self.neurons != 1024:
            what = f"the network of {self.neurons} neurons is"
        elif self._layers > CHECKED:
            what = f"layers {CHECKED + 1} to {self._layers} are"
        else:
            return ()
        return (f"{what} predicted from the recipe, and not checked against the official files",)

    def circulant(self, i: int) -> Circulant:
        block, place = divmod(i, self.period)
        order = _plain_row(self.neurons, block) if block else None
        return Circulant(nodes=self.nodes, radix=2, place=2**place, direction=-1, copies=(KRON, KRON), order=order)


@lru_cache(maxsize=len(SIZES))  # all layers of a block share its shuffle
def _plain_row(neurons: int, block: int) -> NDArray[np.int64]:
    """Return which row of the plain layer each row of block `block` >= 1 is, shape (neurons,)."""
    random = np.random.RandomState(SEED)  # legacy, but it defines the official networks
    with _DRAWING:
        states = _STATES.setdefault(neurons, [random.get_state()])
        random.set_state(states[min(block, len(states)) - 1])
        for number in range(min(block, len(states)), block + 1):
            run = random.random_sample(neurons)
            if number == len(states):
                states.append(random.get_state())
    rows = np.empty(neurons, np.int64)
    rows[np.argsort(run)] = np.arange(neurons)
    rows.flags.writeable = False  # it is kept
    return rows
