"""Finished pictures, read pixel by pixel."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg


def rendered(axes):
    canvas = FigureCanvasAgg(axes.get_figure(root=True))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[::-1, :, :3].astype(int)


@pytest.fixture
def pixels_inside():
    """A function of axes: the red of the finished picture's pixels within them, bottom up."""

    def inside(axes):
        red, box = rendered(axes)[..., 0], axes.bbox
        return red[round(box.y0) + 3 : round(box.y1) - 3, round(box.x0) + 3 : round(box.x1) - 3]

    return inside


@pytest.fixture
def darkness():
    """A function of axes with an image and its shape: how dark each cell is at its middle, 0 for white."""

    def darkness(axes, shape):
        light = rendered(axes).sum(axis=2)
        found = np.zeros(shape, int)
        for row, column in np.ndindex(*shape):
            x, y = axes.transData.transform((column, row))
            found[row, column] = 3 * 255 - light[round(y), round(x)]
        return found

    return darkness
