"""Inputs as the pixels of an image: the more edges leave an input, the darker its pixel is."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isqrt, prod

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from topokit.drawing._pattern import COUNTS, label_ends, panel_size
from topokit.drawing._sheet import Block, Picture, add_bar, heading, new_picture
from topokit.errors import InvalidSpecError
from topokit.fields import integers
from topokit.layered import Layered
from topokit.reprs import counted

_MAX_CHANNELS = 12
_COLUMNS = 4

Shape = tuple[int, int, int]


def draw_pixels(nets: Sequence[Layered], image: Sequence[int] | None) -> Picture:
    """Draw the networks below one another, in one colour scale; see `topokit.drawing.draw`."""
    if any(net.by_channel for net in nets):
        raise InvalidSpecError(
            "the inputs of a convolution read by channel are channels, not pixels: take another `style`"
        )
    shapes = [image_shape(net.widths[0], image) for net in nets]
    degrees = [net.layer(0).out_degrees for net in nets]
    blocks = []
    for net, shape, inputs in zip(nets, shapes, degrees, strict=True):
        guess = f"No image is given: the {counted(inputs.size, 'input')} are drawn as {shape[0]} x {shape[1]} pixels."
        lines = [_sentence(inputs), *([] if image else [guess])]
        blocks.append(Block(heading(net, inf, *lines), [panel_size(shape[:2])] * shape[2], _COLUMNS))
    picture, panels = new_picture(blocks)
    scale = max(int(inputs.max()) for inputs in degrees) or 1
    for shape, inputs, own in zip(shapes, degrees, panels, strict=True):
        _draw_channels(own, inputs.reshape(shape[2], *shape[:2]), scale)
    return picture


def image_shape(inputs: int, image: Sequence[int] | None) -> Shape:
    """Return (rows, columns, channels) of the image that so many inputs are: a square if none is given.

    Raises:
        InvalidSpecError: the inputs are not a square, or not as many as the image's pixels; the message says what fits.
    """
    if image is None:
        side = isqrt(inputs)
        if side * side != inputs:
            raise InvalidSpecError(
                f"{counted(inputs, 'input')} are not a square image: give `image`, such as {_fitting(inputs)}"
            )
        return side, side, 1
    given = integers(image, "image", 1)
    if len(given) not in (2, 3):
        raise InvalidSpecError(
            f"image must be ROWSxCOLUMNS or ROWSxCOLUMNSxCHANNELS, not {counted(len(given), 'number')}"
        )
    rows, columns, channels = (*given, 1)[:3]
    if prod(given) != inputs:
        shown = "x".join(map(str, given))
        raise InvalidSpecError(
            f"image {shown} has {counted(prod(given), 'pixel')}, but there are {counted(inputs, 'input')}: "
            f"{_fitting(inputs)} fits"
        )
    if channels > _MAX_CHANNELS:
        raise InvalidSpecError(f"image has {channels:,} channels; at most {_MAX_CHANNELS} can be drawn")
    return rows, columns, channels


def _fitting(inputs: int) -> str:
    """Return an image of so many pixels: a square one, also in three colours, or the most nearly square one."""
    side = isqrt(inputs // 3)
    if 3 * side * side == inputs:
        return f"{side}x{side}x3"
    rows = next(rows for rows in range(isqrt(inputs), 0, -1) if inputs % rows == 0)
    return f"{rows}x{inputs // rows}"


def _sentence(inputs: NDArray[np.int64]) -> str:
    low, high, without = int(inputs.min()), int(inputs.max()), int((inputs == 0).sum())
    if low == high:
        return f"Each input has {high:,} edge{'s' * (high != 1)}."
    white = f"; {without:,} of {inputs.size:,} have none and are white" if without else ""
    return f"Edges of each input: {low:,} to {high:,}, {inputs.mean():.3g} on average{white}."


def _draw_channels(panels: list[Axes], channels: NDArray[np.int64], scale: int) -> None:
    least = 1 if scale > 1 else 0  # no edge at all is white, and not on the scale
    for channel, (panel, pixels) in enumerate(zip(panels, channels, strict=True)):
        if len(panels) > 1:
            panel.set_title(f"channel {channel}")
        counts = np.ma.masked_equal(pixels, 0)
        image = panel.imshow(counts, cmap=COUNTS, vmin=least, vmax=scale, aspect="auto", interpolation="nearest")
        label_ends(panel.yaxis, pixels.shape[0], "row")
        label_ends(panel.xaxis, pixels.shape[1], "column")
    add_bar(panels[:_COLUMNS], image, "edges of an input")
