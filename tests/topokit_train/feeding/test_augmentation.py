"""Each step of augmentation against a loop over images, and what is drawn for it."""

import numpy as np
import pytest
import torch

from topokit_train.feeding.augmentation import (
    Draws,
    augmented,
    central_crop,
    draw,
    stacked,
    standardised,
)

CPU = torch.device("cpu")


@pytest.fixture
def images():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (12, 3, 9, 11), dtype=np.uint8))


@pytest.fixture
def draws():
    return draw(12, (9, 11), (5, 6), torch.Generator().manual_seed(3))


def slow_crop(image, top, left, rows, columns):
    return np.array([[[channel[top + r, left + c] for c in range(columns)] for r in range(rows)] for channel in image])


def slow_contrast(image, factor):
    return np.array([channel.mean() + factor * (channel - channel.mean()) for channel in image])


def slow_standard(image):
    return (image - image.mean()) / max(image.std(), 1 / np.sqrt(image.size))


def test_standardised(images):
    images = images.float()
    images[0] = 255.0
    images[1] = 7.0
    images[1, 0, 0, 0] += 0.01  # less contrast than the lower bound
    found = standardised(images.clone())
    for k, image in enumerate(images.double().numpy()):
        np.testing.assert_allclose(found[k], slow_standard(image), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(standardised(images.view(3, 4, 3, 9, 11).clone()), found.view(3, 4, 3, 9, 11))


@pytest.mark.parametrize(("crop", "top", "left"), [((5, 7), 2, 2), ((9, 11), 0, 0), ((4, 4), 2, 3)])
def test_the_central_crop(images, crop, top, left):
    found = central_crop(images, crop)
    for k, image in enumerate(images.numpy()):
        np.testing.assert_array_equal(found[k], slow_crop(image, top, left, *crop))


def test_all_steps_in_their_order(images, draws):
    found = augmented(images, draws, (5, 6))
    assert found.dtype == torch.float32
    for k, image in enumerate(images.numpy()):
        top, left, mirror, brightness, contrast = (drawn[k].item() for drawn in draws)
        seen = slow_crop(image, top, left, 5, 6)
        seen = seen[:, :, ::-1] if mirror else seen
        np.testing.assert_allclose(found[k], slow_contrast(seen + brightness, contrast), rtol=1e-4, atol=1e-3)


def test_draws_are_uniform():
    found = draw(20_000, (32, 30), (24, 24), torch.Generator().manual_seed(0))
    assert set(found.top.tolist()) == set(range(9))
    assert set(found.left.tolist()) == set(range(7))
    for drawn, low, high in [
        (found.top, -0.5, 8.5),
        (found.left, -0.5, 6.5),
        (found.mirror, -0.5, 1.5),
        (found.brightness, -63, 63),
        (found.contrast, 0.2, 1.8),
    ]:
        values = drawn.double()
        assert values.min() >= low
        assert values.max() <= high
        error = (high - low) / 12**0.5 / 20_000**0.5
        assert abs(values.mean() - (low + high) / 2) < 4 * error
    assert found.brightness.min() < -62.9
    assert found.contrast.max() > 1.79
    together = torch.corrcoef(torch.stack([drawn.double() for drawn in found]))
    assert (together - torch.eye(5, dtype=torch.float64)).abs().max() < 4 / 20_000**0.5


def test_a_crop_of_the_whole_image_has_one_place():
    assert not draw(50, (9, 11), (9, 11), torch.Generator()).top.any()


def test_draws_of_several_networks_lie_beside_those_of_one():
    each = [draw(5, (9, 9), (4, 4), torch.Generator().manual_seed(k)) for k in range(3)]
    whole = stacked(each)
    assert isinstance(whole, Draws)
    part = whole.of(slice(1, 4), CPU)
    for drawn, ones in zip(part, zip(*each, strict=True), strict=True):
        assert drawn.tolist() == [one[image].item() for image in (1, 2, 3) for one in ones]
