"""A regression: its data and its model in one file.

Use it from the command line:

    topokit train --dataset regression.py:data --model regression.py:perceptron \
        --topology '2: radix-net radices=8,8'
"""

import numpy as np
from torch import nn

import topokit_train


def data():
    """Return 4,000 samples of a function of eight numbers to train on, and 1,000 to test with."""
    random = np.random.default_rng(0)
    x = random.normal(size=(5000, 8))
    y = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] - np.abs(x[:, 3])
    return topokit_train.dataset((x[:4000], y[:4000]), (x[4000:], y[4000:]))


def perceptron(input_shape, outputs):
    """Return three linear layers with ReLU between them."""
    widths = input_shape[0], 64, 64, outputs
    layers = [(nn.Linear(into, out), nn.ReLU()) for into, out in zip(widths, widths[1:], strict=False)]
    return nn.Sequential(*(part for pair in layers for part in pair))[:-1]
