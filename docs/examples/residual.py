"""A convolutional network with residual connections, for images of any size.

Use it from the command line:

    topokit train --model residual.py:residual --topology 'blocks.*: bernoulli density=.2 seed=0'
"""

from torch import nn


class Block(nn.Module):
    """Two convolutions whose result is added to their input."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return (x + self.conv2(self.conv1(x).relu())).relu()


class Residual(nn.Module):
    """Halve the image, apply the blocks, average over all pixels."""

    def __init__(self, input_shape, outputs, channels, blocks):
        super().__init__()
        self.stem = nn.Conv2d(input_shape[0], channels, 5, stride=2, padding=2)
        self.blocks = nn.Sequential(*(Block(channels) for _ in range(blocks)))
        self.head = nn.Linear(channels, outputs)

    def forward(self, images):
        x = self.blocks(self.stem(images).relu())
        return self.head(x.mean((2, 3)))


def residual(input_shape, outputs):
    """Return the network for images of a shape (channels, rows, columns)."""
    return Residual(input_shape, outputs, channels=16, blocks=2)
