"""Datasets: the embedded digits, published files found, verified and downloaded, folders of one's own."""

import gzip
import hashlib
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
import torch

from topokit.errors import FileFormatError, InvalidSpecError, TopokitError
from topokit_train.datasets import load_dataset
from topokit_train.datasets.digits import read
from topokit_train.datasets.idx import FILES
from topokit_train.datasets.mnist import FASHION_MNIST, MNIST, load
from topokit_train.datasets.published import Published


def idx(array):
    """An IDX file, written as its description says."""
    array = np.asarray(array, np.uint8)
    return bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def small_files(train=7, test=3, side=28, seed=0):
    """The contents of four IDX files of random images."""
    random = np.random.default_rng(seed)
    parts = [(random.integers(0, 256, (n, side, side)), random.integers(0, 4, n)) for n in (train, test)]
    return dict(zip(FILES, [idx(array) for part in parts for array in part], strict=True))


@pytest.fixture
def folder(tmp_path):
    """A folder with the files of a small dataset, two of them gzipped."""
    for number, (name, content) in enumerate(small_files().items()):
        if number % 2:
            (tmp_path / name).write_bytes(content)
        else:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    return tmp_path


def check(dataset):
    """What every dataset must be."""
    for images, labels in (
        (dataset.train_inputs, dataset.train_targets),
        (dataset.test_inputs, dataset.test_targets),
    ):
        assert images.dtype == labels.dtype == np.uint8
        assert len(images) == len(labels) > 0
        assert images.shape[1:] == dataset.train_inputs.shape[1:]
        assert images.ndim == 4
        assert labels.max() < dataset.classes
    assert dataset.input_shape == dataset.train_inputs.shape[1:]
    assert dataset.task == "classification"
    assert dataset.outputs == dataset.classes


def test_every_dataset_that_needs_no_download_has_the_right_shapes(folder):
    for name in ("digits", "idx"):
        check(load_dataset(f"idx:{folder}" if name == "idx" else name))


@pytest.mark.mnist
def test_mnist(mnist_dir):
    dataset = load_dataset("mnist", mnist_dir)
    assert dataset.train_inputs.flags.writeable  # torch warns of other arrays
    assert dataset.train_targets.flags.writeable
    check(dataset)
    assert dataset.train_inputs.shape == (60_000, 1, 28, 28)
    assert dataset.test_inputs.shape == (10_000, 1, 28, 28)
    assert dataset.train_targets[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert hashlib.md5(idx(dataset.test_inputs[:, 0])).hexdigest() == MNIST.files[FILES[2]]


@pytest.mark.mnist
def test_mnist_is_found_by_the_environment_and_in_the_folder_itself(mnist_dir, monkeypatch):
    monkeypatch.setenv("TOPOKIT_DATA_DIR", str(mnist_dir / "mnist"))
    assert load_dataset("mnist").train_targets[:3].tolist() == [5, 0, 4]


def test_digits_are_the_published_ones():
    packed = files("topokit_train.datasets").joinpath("digits.csv.gz").read_bytes()
    assert len(packed) < 60_000
    pixels, labels = read()
    assert pixels.shape == (1797, 8, 8)
    assert pixels.max() == 16
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert hashlib.sha256(gzip.decompress(packed)).hexdigest() == (
        "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"
    )


def test_digits_are_split_in_order_and_enlarged_as_torch_does_it():
    pixels, labels = read()
    dataset = load_dataset("digits")
    assert dataset.train_inputs.shape == (1437, 1, 28, 28)
    assert dataset.test_inputs.shape == (360, 1, 28, 28)
    assert np.array_equal(np.concatenate([dataset.train_targets, dataset.test_targets]), labels)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(np.rint(pixels[:, None] * (255 / 16))), size=(28, 28), mode="bilinear", align_corners=False
    )
    found = np.concatenate([dataset.train_inputs, dataset.test_inputs])
    assert np.abs(found - wanted.numpy()).max() < 0.5 + 1e-5
    assert dataset.checksum() == "4d7a82b31477013545e80700b6e5ed36dc6c92b0059e90d99e45b67eef75f7d7"


def test_a_folder_of_ones_own(folder):
    dataset = load_dataset(f"idx:{folder}")
    contents = small_files()
    assert dataset.name == f"idx:{folder}"
    assert dataset.train_inputs.shape == (7, 1, 28, 28)
    assert dataset.train_inputs.tobytes() == contents[FILES[0]][16:]
    assert dataset.train_targets.tobytes() == contents[FILES[1]][8:]
    assert dataset.test_inputs.tobytes() == contents[FILES[2]][16:]
    assert dataset.test_targets.tobytes() == contents[FILES[3]][8:]


def test_classes_are_counted_in_both_parts(folder):
    (folder / FILES[3]).write_bytes(idx([0, 9, 1]))
    assert load_dataset(f"idx:{folder}").classes == 10


def test_the_checksum_sees_every_part(folder):
    known = {load_dataset(f"idx:{folder}").checksum()}
    for name, content in small_files().items():
        (folder / f"{name}.gz").unlink(missing_ok=True)
        (folder / name).write_bytes(content[:-1] + bytes([(content[-1] + 1) % 4]))
        checksum = load_dataset(f"idx:{folder}").checksum()
        assert checksum not in known
        known.add(checksum)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (FILES[1], idx(range(6)), "train has 7 inputs, but 6 targets"),
        (FILES[3], idx(range(4)), "test has 3 inputs, but 4 targets"),
        (
            FILES[2],
            idx(np.zeros((3, 5, 6))),
            r"uint8 of shape \(1, 28, 28\), but of a test sample uint8 of shape \(1, 5, 6\)",
        ),
        (FILES[1], idx(np.zeros((7, 1, 1))), "00 00 08 01"),
    ],
)
def test_files_that_do_not_fit_together(folder, name, content, message):
    (folder / name).write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        load_dataset(f"idx:{folder}")


def test_missing_files_are_named(folder):
    (folder / FILES[1]).unlink()
    (folder / f"{FILES[2]}.gz").unlink()
    with pytest.raises(FileFormatError, match=f"{folder} has no {FILES[1]}, {FILES[2]}, with or without .gz"):
        load_dataset(f"idx:{folder}")


def test_a_data_folder_that_is_not_there(tmp_path, monkeypatch):
    with pytest.raises(InvalidSpecError, match="nowhere does not exist: correct data_dir"):
        load_dataset("mnist", tmp_path / "nowhere")
    monkeypatch.setenv("TOPOKIT_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(InvalidSpecError, match="TOPOKIT_DATA_DIR"):
        load_dataset("mnist")


@pytest.fixture
def published(tmp_path, mirror):
    """A published dataset on a server of this machine, whose first mirror is dead."""
    source = tmp_path / "server"
    for name, content in small_files().items():
        (source / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
    return Published(
        name="small",
        mirrors=("http://127.0.0.1:1/", mirror),
        downloads={path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in source.iterdir()},
        files={name: hashlib.md5(content).hexdigest() for name, content in small_files().items()},
    )


def offline(published):
    return replace(published, mirrors=published.mirrors[:1])


def test_published_files_are_downloaded_once(published, tmp_path):
    first = load(published, None)
    assert first.train_inputs.tobytes() == small_files()[FILES[0]][16:]
    assert len(list((tmp_path / "cache" / "topokit" / "small").iterdir())) == 4
    assert load(offline(published), None).checksum() == first.checksum()


def test_a_download_with_another_checksum_is_refused(published, tmp_path):
    (tmp_path / "server" / f"{FILES[3]}.gz").write_bytes(gzip.compress(idx([0, 0, 0])))
    with pytest.raises(TopokitError, match=f"{FILES[3]}.gz is not in .* download failed"):
        load(published, None)
    assert not (tmp_path / "cache" / "topokit" / "small" / f"{FILES[3]}.gz").exists()


@pytest.mark.parametrize("below", [".", "small"])
@pytest.mark.parametrize("gzipped", [True, False])
def test_published_files_are_found_in_the_data_folder(published, tmp_path, below, gzipped):
    place = tmp_path / "data" / below
    place.mkdir(parents=True)
    for name, content in small_files().items():
        if gzipped:
            (place / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (place / name).write_bytes(content)
    load(published, tmp_path / "data")
    assert not (tmp_path / "cache").exists()


def test_files_that_are_not_the_published_ones_are_refused(published, tmp_path):
    (tmp_path / f"{FILES[0]}.gz").write_bytes(gzip.compress(small_files(seed=1)[FILES[0]]))
    with pytest.raises(
        FileFormatError, match=f"{FILES[0]}.gz is not the published file of small: the MD5 of its content"
    ):
        load(published, tmp_path)


def test_without_a_network_the_message_says_what_is_needed(published, tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(TopokitError) as refused:
        load(offline(published), tmp_path / "data")
    message = str(refused.value)
    for part in (*FILES, str(tmp_path / "data"), str(tmp_path / "cache"), "data_dir", "TOPOKIT_DATA_DIR"):
        assert part in message
    assert "\n" not in message
    assert len(message) < 1000


def test_the_checksums_of_the_published_datasets_differ():
    checksums = [
        md5 for one in (MNIST, FASHION_MNIST) for table in (one.downloads, one.files) for md5 in table.values()
    ]
    assert len(set(checksums)) == 16
    assert {len(checksum) for checksum in checksums} == {32}
