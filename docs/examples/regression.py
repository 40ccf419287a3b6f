"""A regression: its data and its model in one file.

Use it from the command line:

    topokit train --dataset regression.py:data --model regression.py:perceptron \
        --topology '2: bernoulli density=.2 seed=0'
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
    return nn.Sequential(nn.Linear(input_shape[0], 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, outputs))
