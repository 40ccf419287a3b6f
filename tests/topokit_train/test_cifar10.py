"""cifar10: its files found, verified, unpacked and downloaded; what is damaged is refused; what networks see of it."""

import dataclasses
import gzip
import hashlib
import io
import tarfile

import numpy as np
import pytest
import torch

from topokit.errors import FileFormatError, TopokitError
from topokit_train.config import TrainConfig
from topokit_train.datasets import cifar10, load_dataset
from topokit_train.datasets.cifar10 import ARCHIVE, CIFAR10, FOLDER
from topokit_train.training import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
RECORDS = 20  # in each small file


def small_files():
    """The contents of six small files in the published form."""
    random = np.random.default_rng(0)
    files = {}
    for name in CIFAR10.files:
        labels = random.integers(0, 10, RECORDS, dtype=np.uint8)
        files[name] = b"".join(bytes([label]) + random.bytes(3072) for label in labels)
    return files


def md5(content):
    return hashlib.md5(content).hexdigest()


def archive(files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return gzip.compress(stream.getvalue(), mtime=0)


@pytest.fixture
def published(tmp_path, monkeypatch, mirror):
    """Small files in an archive on a server of this machine, which are `cifar10` in a test."""
    packed = archive(small_files())
    (tmp_path / "server" / ARCHIVE).write_bytes(packed)
    monkeypatch.delenv("TOPOKIT_DATA_DIR", raising=False)
    small = dataclasses.replace(
        CIFAR10,
        mirrors=("http://127.0.0.1:1/", mirror),
        downloads={ARCHIVE: md5(packed)},
        files={name: md5(content) for name, content in small_files().items()},
    )
    monkeypatch.setattr(cifar10, "CIFAR10", small)


def disconnect(monkeypatch):
    monkeypatch.setattr(cifar10, "CIFAR10", dataclasses.replace(cifar10.CIFAR10, mirrors=("http://127.0.0.1:1/",)))


@pytest.fixture
def folder(tmp_path, published):  # noqa: ARG001 (the small files are the published ones)
    """A data folder that holds the small files."""
    (tmp_path / "data" / FOLDER).mkdir(parents=True)
    for name, content in small_files().items():
        (tmp_path / "data" / name).write_bytes(content)
    return tmp_path / "data"


def pixel(content, record, channel, row, column):
    """A pixel, read as the description of the files says."""
    return content[record * 3073 + 1 + channel * 1024 + row * 32 + column]


def check(dataset):
    files = small_files()
    assert dataset.train_inputs.shape == (5 * RECORDS, 3, 32, 32)
    assert dataset.test_inputs.shape == (RECORDS, 3, 32, 32)
    for record, channel, row, column in [(0, 0, 0, 0), (3, 2, 31, 4), (19, 1, 7, 30)]:
        for number in range(5):
            found = dataset.train_inputs[number * RECORDS + record, channel, row, column]
            assert found == pixel(files[f"{FOLDER}/data_batch_{number + 1}.bin"], record, channel, row, column)
        assert dataset.test_inputs[record, channel, row, column] == pixel(
            files[f"{FOLDER}/test_batch.bin"], record, channel, row, column
        )
    assert dataset.train_targets.tolist() == [
        files[f"{FOLDER}/data_batch_{number}.bin"][record * 3073] for number in range(1, 6) for record in range(RECORDS)
    ]
    assert dataset.test_targets.tolist() == list(files[f"{FOLDER}/test_batch.bin"][::3073])
    assert dataset.classes == 10


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("place", [FOLDER, f"cifar10/{FOLDER}", "cifar10", "."])
@pytest.mark.parametrize("packed", [False, True])
def test_files_are_found_in_the_data_folder(tmp_path, place, packed):
    data = tmp_path / "data"
    (data / place).mkdir(parents=True)
    if packed:
        (data / place.removesuffix(FOLDER) / ARCHIVE).write_bytes(archive(small_files()))
    else:
        for name, content in small_files().items():
            (data / place / name.removeprefix(f"{FOLDER}/")).write_bytes(content)
    check(load_dataset("cifar10", data))
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("published")
def test_the_archive_is_downloaded_once(tmp_path, monkeypatch):
    check(load_dataset("cifar10", tmp_path))
    disconnect(monkeypatch)
    check(load_dataset("cifar10", tmp_path))
    (tmp_path / "cache" / "topokit" / "cifar10" / ARCHIVE).write_bytes(b"damaged")
    with pytest.raises(TopokitError, match="the download failed"):
        load_dataset("cifar10")


@pytest.mark.usefixtures("published")
def test_an_archive_that_is_not_the_published_one_is_refused(tmp_path):
    (tmp_path / ARCHIVE).write_bytes(archive(small_files())[:-9])
    with pytest.raises(
        FileFormatError, match=rf"{ARCHIVE} is not the published file of cifar10: the MD5 of its content is"
    ):
        load_dataset("cifar10", tmp_path)


def test_a_missing_file_is_fetched_with_the_others(folder, tmp_path):
    (folder / FOLDER / "data_batch_3.bin").unlink()
    check(load_dataset("cifar10", folder))
    assert (tmp_path / "cache").exists()


def trainer(dataset, **settings):
    seeds = settings.pop("seeds", None)
    config = TrainConfig(dataset="cifar10", epochs=2, batch_size=30, **settings)
    return Trainer(config, None, dataset, device=CPU, kernel="auto", seeds=seeds)


def collected(made):
    images, labels = zip(*made.batches(), strict=True)
    return torch.cat(images), torch.cat(labels)


def test_networks_see_crops_of_24(folder):
    dataset = load_dataset("cifar10", folder)
    assert dataset.input_shape == (3, 24, 24)
    made = trainer(dataset)
    assert made.config.pixels == "per-image"
    assert made.feed.images.dtype == made.feed.test[0].dtype == torch.uint8
    images, labels = collected(made)
    assert images.shape == (100, 3, 24, 24)
    assert images.mean((1, 2, 3)).abs().max() < 1e-5
    assert (images.square().mean((1, 2, 3)) - 1).abs().max() < 1e-4
    assert torch.equal(labels, made.feed.labels[made.feed.order(made.epochs_done)])


def test_tests_see_the_middle(folder):
    dataset = load_dataset("cifar10", folder)
    made = trainer(dataset, validation=10)
    seen = made.feed.inputs.of_tests(made.feed.test[0])
    for image, found in zip(dataset.test_inputs, seen, strict=True):
        middle = image[:, 4:28, 4:28].astype(float)
        np.testing.assert_allclose(found, (middle - middle.mean()) / middle.std(), atol=1e-5)
    (metrics,) = made.run_epoch()
    with torch.no_grad():
        right = (made.model(seen).argmax(1) == made.feed.test[1]).float().mean().item()
    assert metrics.test_accuracy == pytest.approx(right)
    assert metrics.validation_accuracy is not None


def test_without_augmentation_training_sees_the_middle_too(folder):
    made = trainer(load_dataset("cifar10", folder), augment="none", shuffle=False)
    images, _ = collected(made)
    torch.testing.assert_close(images, made.feed.inputs.of_tests(made.feed.images))


@pytest.mark.parametrize("pixels", ["unit", "standardised"])
def test_crops_can_be_scaled_in_other_ways(folder, pixels):
    dataset = load_dataset("cifar10", folder)
    made = trainer(dataset, augment="none", shuffle=False, pixels=pixels)
    wanted = dataset.train_inputs[:, :, 4:28, 4:28] / 255
    if pixels == "standardised":
        wanted = (wanted * 255 - dataset.train_inputs.mean()) / dataset.train_inputs.std()
    np.testing.assert_allclose(collected(made)[0], wanted, atol=1e-5)


def test_each_epoch_and_seed_has_draws_of_its_own(folder):
    dataset = load_dataset("cifar10", folder)
    one, other = (trainer(dataset, shuffle=False, seed=seed) for seed in (1, 2))
    first = collected(one)[0]
    assert torch.equal(first, collected(one)[0])
    assert not torch.equal(first, collected(other)[0])
    assert torch.equal(first, collected(trainer(dataset, shuffle=False, seed=3, order_seed=1))[0])
    one.run_epoch()
    assert not torch.equal(first, collected(one)[0])
    whole = collected(trainer(dataset, shuffle=False, seed=1, validation=1))[0]
    assert len(whole) == 99


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("order_seed", [None, 7])
def test_stacked_networks_see_what_they_would_alone(folder, shuffle, order_seed):
    dataset = load_dataset("cifar10", folder)
    settings = {"shuffle": shuffle, "order_seed": order_seed}
    stack = trainer(dataset, seeds=(3, 4), **settings)
    assert stack.feed.shared == (order_seed is not None)
    images, labels = collected(stack)
    for k, seed in enumerate((3, 4)):
        seen, wanted = collected(trainer(dataset, seed=seed, **settings))
        torch.testing.assert_close(images if stack.feed.shared else images[:, k], seen, rtol=0, atol=1e-4)
        assert torch.equal(labels if stack.feed.shared else labels[:, k], wanted)


def test_a_run_goes_on_bit_for_bit(folder, assert_resumed):
    assert_resumed(1, TrainConfig(dataset="cifar10", data_dir=folder, epochs=3, batch_size=30, recipe="paper"), None)


@pytest.mark.cifar10
def test_the_published_files(cifar10_dir):
    dataset = load_dataset("cifar10", cifar10_dir)
    assert dataset.train_inputs.shape == (50_000, 3, 32, 32)
    assert dataset.test_inputs.shape == (10_000, 3, 32, 32)
    assert np.bincount(dataset.train_targets).tolist() == [5000] * 10
    assert np.bincount(dataset.test_targets).tolist() == [1000] * 10
    assert dataset.train_targets[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    # the well-known means of the three channels
    np.testing.assert_allclose(dataset.train_inputs.mean((0, 2, 3)) / 255, [0.4914, 0.4822, 0.4465], atol=1e-4)
