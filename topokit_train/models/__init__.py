"""Models, by name. A new one is one file here and one line in MODELS.

A model is a set of slots: named weights of known shapes, which a topology's layers fill. The slots are
known without torch; the registry holds strings, so that listing the models imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

from topokit._registry import Registry
from topokit.layered import Layered
from topokit.spec import network

Slots = dict[str, tuple[int, ...]]
"""Parameter name -> its shape, in the order in which the data pass them: (out, in) of a linear layer, or
(out, in, rows, columns) of a convolution."""

Image = tuple[int, int, int]
"""The shape of an image: (channels, rows, columns)."""

Wiring = Layered | Sequence[Layered] | None
"""What wires a model: a topology, or several, of which each fills the slots that are left; None for a dense model."""

MNIST: Image = (1, 28, 28)

MODELS = Registry(
    "model",
    {
        "lenet-300-100": "topokit_train.models.perceptron:LENET_300_100",
        "lenet-5": "topokit_train.models.convolutional:LENET_5",
        "lenet-5-x2": "topokit_train.models.convolutional:LENET_5_X2",
        "lenet-5-x10": "topokit_train.models.convolutional:LENET_5_X10",
        "lenet-5-classic": "topokit_train.models.convolutional:LENET_5_CLASSIC",
        "mlp": "topokit_train.models.perceptron:MLP",
    },
)


def slots(model: str, *, widths: tuple[int, ...] | None = None, image: Image = MNIST, classes: int = 10) -> Slots:
    """The slots of a model.

    Args:
        model: a name in MODELS.
        widths: of the topology that is to fill them; None for a dense model, or for several topologies.
        image: shape of an image, (channels, rows, columns).
        classes: number of classes.

    Raises:
        InvalidSpecError: no such model, or one that such a topology cannot fill, or that such images do not fit.

    >>> slots("lenet-300-100")
    {'fc1.weight': (300, 784), 'fc2.weight': (100, 300), 'fc3.weight': (10, 100)}
    """
    table: Slots = MODELS[model].slots(widths, image, classes)
    return table


def slots_for(model: str, wiring: Wiring, *, image: Image, classes: int) -> Slots:
    """The slots of a model that is to be wired so; else as `slots`."""
    nets = as_sequence(wiring)
    return slots(model, widths=nets[0].widths if len(nets) == 1 else None, image=image, classes=classes)


def as_sequence(wiring: Wiring) -> tuple[Layered, ...]:
    """The topologies, however they were given.

    Raises:
        InvalidSpecError: something else than topologies, such as the name of a file.
    """
    nets = (wiring,) if isinstance(wiring, Layered | str | PathLike) else wiring or ()
    return tuple(network(net, "a wiring") for net in nets)
