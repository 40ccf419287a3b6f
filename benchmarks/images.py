"""How near each rule of making 32 x 32 images of MNIST comes to the Graph Challenge's first 1,200 official images.

For each rule: the official pixels that differ under the threshold which suits the rule best, and under half of the
rule's largest value. The first needs 1,200 images of that rule, the second needs all that the rule makes.

    python benchmarks/images.py DATA OFFICIAL      # a folder that holds mnist/, and images-1024-subset.mtx
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.fft import fft, ifft
from scipy.signal import resample

SIDE, FIRST = 32, 1200
TALLER = SIDE / 28
TOPS = ["split split", "split positive", "positive split", "positive dropped", "positive negative", "positive positive"]

Values = Callable[[np.ndarray], np.ndarray]


def spline(order: int, grid_mode: bool) -> Values:
    """Splines; grid_mode makes a pixel a square, without it the corner pixels' centres keep their places."""
    mode = "grid-constant" if grid_mode else "constant"
    return lambda images: ndimage.zoom(images, (1, TALLER, TALLER), order=order, grid_mode=grid_mode, mode=mode)


def pillow(method: Image.Resampling) -> Values:
    """Pillow's resize, in float32."""
    return lambda images: np.array(
        [np.asarray(Image.fromarray(image.astype(np.float32)).resize((SIDE, SIDE), method)) for image in images]
    )


def sinc(images: np.ndarray) -> np.ndarray:
    """Each image alone, with zeros around it instead of itself."""
    weights = np.sinc(np.arange(SIDE)[:, None] / TALLER - np.arange(28))
    return weights @ images @ weights.T


def fourier(images: np.ndarray) -> np.ndarray:
    """Each image alone, by Fourier interpolation in both directions."""
    return resample(resample(images, SIDE, axis=1), SIDE, axis=2)


def enlarged(signals: np.ndarray, length: int, top: str) -> np.ndarray:
    """Fourier interpolation of the last axis; `top` is what becomes of the highest frequency."""
    n = signals.shape[-1]
    spectrum = fft(signals)
    wanted = np.zeros((*signals.shape[:-1], length), complex)
    wanted[..., : n // 2] = spectrum[..., : n // 2]
    wanted[..., length - n // 2 + 1 :] = spectrum[..., n // 2 + 1 :]
    positive, negative = {"split": (0.5, 0.5), "positive": (1, 0), "negative": (0, 1), "dropped": (0, 0)}[top]
    wanted[..., n // 2] = positive * spectrum[..., n // 2]
    wanted[..., length - n // 2] = negative * spectrum[..., n // 2]
    return ifft(wanted) * (length / n)


def strip(down: str, across: str) -> Values:
    """The magnitude of all images interpolated as one strip; the words are `enlarged`'s `top` of each direction."""

    def values(images: np.ndarray) -> np.ndarray:
        wide = images.transpose(1, 0, 2).reshape(28, -1)
        lines = (enlarged(weights @ wide, SIDE * len(images), across) for weights in enlarged(np.eye(28), SIDE, down).T)
        return np.stack([np.abs(line) for line in lines]).reshape(SIDE, -1, SIDE).transpose(1, 0, 2)

    return values


def rules() -> Iterator[tuple[str, int, Values]]:
    """Each rule's name, how many images it gets, and what it makes of them: (images, 28, 28) to (images, 32, 32)."""
    for order in (1, 3, 5):
        yield f"spline of order {order}, corner to corner", 60_000, spline(order, grid_mode=False)
        yield f"spline of order {order}, edge to edge", 60_000, spline(order, grid_mode=True)
    for method in ("BILINEAR", "BICUBIC", "LANCZOS"):
        yield f"Pillow, {method.lower()}", 60_000, pillow(Image.Resampling[method])
    yield "sinc, image by image", 60_000, sinc
    yield "Fourier, image by image", 60_000, fourier
    yield "Fourier, a strip of 1,200", FIRST, strip("split", "split")
    for down, across in map(str.split, TOPS):
        yield f"Fourier, a strip of all; top {down} down, {across} across", 60_000, strip(down, across)


def fewest(values: np.ndarray, official: np.ndarray) -> tuple[int, float]:
    """The fewest pixels that any one threshold gets wrong, and the middle of the best thresholds."""
    order = np.argsort(values, axis=None)
    sorted_values, lit = values.ravel()[order], official.ravel()[order]
    wrong = np.concatenate([[0], np.cumsum(lit)]) + np.concatenate([np.cumsum(~lit[::-1])[::-1], [0]])
    best = int(np.argmin(wrong))
    return int(wrong[best]), float(sorted_values[best - 1 : best + 1].mean())


def main() -> None:
    """Print a line for each rule."""
    from topokit.formats import read_images
    from topokit_train.datasets import load_dataset

    mnist = load_dataset("mnist", Path(sys.argv[1])).train_inputs[:, 0]
    official = read_images(Path(sys.argv[2]), SIDE * SIDE).to_dense().reshape(FIRST, SIDE, SIDE).transpose(0, 2, 1)
    print(f"{'rule':<60} {'wrong at the best':>18} {'threshold':>10} {'wrong at half':>14} {'half':>8}")
    for name, count, make in rules():
        values = make(mnist[:count].astype(np.float64))
        (wrong, threshold), half = fewest(values[:FIRST], official), values.max() / 2
        at_half = int(((values[:FIRST] > half) != official).sum())
        print(f"{name:<60} {wrong:>18,} {threshold:>10.4f} {at_half:>14,} {half:>8.3f}", flush=True)


if __name__ == "__main__":
    main()
