"""Models, by name. A new one is one file here and one line in MODELS.

A model is a function that returns an nn.Module. It is called with those of these arguments that it has: `input_shape`,
the shape of one input; `outputs`, the number of outputs; `classes`, the number of classes, which only data with classes
have; and `widths`, those of the topology, if there is exactly one.
"""

from __future__ import annotations

from topokit._registry import Registry
from topokit.placement.filling import Topologies as Topologies

MODELS = Registry(
    "model",
    {
        "lenet-300-100": "topokit_train.models.perceptron:lenet_300_100",
        "lenet-5": "topokit_train.models.convolutional:lenet_5",
        "lenet-5-x2": "topokit_train.models.convolutional:lenet_5_x2",
        "lenet-5-x10": "topokit_train.models.convolutional:lenet_5_x10",
        "lenet-5-classic": "topokit_train.models.convolutional:lenet_5_classic",
        "mlp": "topokit_train.models.perceptron:mlp",
    },
)

STACKED = ("lenet-300-100", "mlp")
"""Models of which several seeds are trained as one network."""

DEFAULT = "lenet-300-100"
"""The only model that has a topology of its own."""

OF_WIDTHS = "mlp"
"""The model that has the widths of its topology."""
