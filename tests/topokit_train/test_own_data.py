"""Data of one's own: arrays, tensors, torch Datasets, functions and texts."""

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset, TensorDataset

from topokit.errors import FileFormatError, InvalidSpecError, TopokitError
from topokit_train import dataset
from topokit_train.datasets import beside, load_dataset, split_name
from topokit_train.datasets.given import TASKS

X, Y = np.arange(12.0).reshape(4, 3), np.array([0, 2, 1, 2])


@pytest.mark.parametrize("of", [np.asarray, torch.tensor, lambda values: np.asarray(values).tolist()])
def test_arrays_tensors_and_lists_are_equal(of):
    made = dataset((of(X), of(Y)), (of(X[:2]), of(Y[:2])))
    assert (made.task, made.classes, made.outputs, made.input_shape) == ("classification", 3, 3, (3,))
    assert made.name == "given:data"
    assert made.train_inputs.dtype == np.float32
    assert np.array_equal(made.train_inputs, X)
    assert np.array_equal(made.test_targets, Y[:2])
    assert made.checksum() == dataset((X, Y), (X[:2], Y[:2])).checksum()


@pytest.mark.parametrize(
    ("targets", "task", "outputs"), [(Y, "classification", 3), (X[:, 0], "regression", 1), (X, "regression", 3)]
)
def test_the_task_follows_from_the_targets(targets, task, outputs):
    made = dataset((X, targets), (X, targets))
    assert (made.task, made.outputs) == (task, outputs)


def test_the_vocabulary_is_that_of_inputs_and_targets():
    made = dataset(([[9, 1]], [[1, 2]]), ([[1, 2]], [[2, 5]]), "next-token")
    assert (made.classes, made.outputs, made.input_shape) == (10, 10, (2,))


def test_half_and_double_numbers_become_single_ones():
    made = dataset((torch.zeros(2, 3, dtype=torch.bfloat16), [1.0, 2.0]), (np.zeros((2, 3), np.float64), [1.0, 2.0]))
    assert {made.train_inputs.dtype, made.test_inputs.dtype, made.train_targets.dtype} == {np.dtype(np.float32)}


def test_bytes_of_four_dimensions_are_images():
    images = np.zeros((4, 1, 5, 5), np.uint8)
    assert dataset((images, Y), (images, Y)).is_images
    assert not dataset((X, Y), (X, Y)).is_images
    with pytest.raises(InvalidSpecError, match=r"bytes of shape \(4, 5, 5\): images need \(N, channels, rows, columns"):
        dataset((images[:, 0], Y), (images[:, 0], Y))


def test_a_map_style_dataset_is_read_once(caplog):
    caplog.set_level("INFO", "topokit")

    class Counted(TensorDataset):
        reads = 0

        def __getitem__(self, number):
            self.reads += 1
            return super().__getitem__(number)

    train, test = Counted(torch.tensor(X), torch.tensor(Y)), Counted(torch.tensor(X[:2]), torch.tensor(Y[:2]))
    made = dataset(train, test, name="rows")
    assert (train.reads, test.reads) == (4, 2)
    assert made.checksum() == dataset((X, Y), (X[:2], Y[:2])).checksum()
    assert caplog.messages[0] == "rows: train: 4 samples in memory, 0.0 MiB"


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


BAD = [
    (((X, Y[:3]), (X, Y)), {}, "train has 4 inputs, but 3 targets: give one target per input"),
    (((X, Y), (X[:0], Y[:0])), {}, "test is empty: give at least one sample"),
    (((np.where(X == 7, np.nan, X), Y), (X, Y)), {}, "train inputs have NaN or infinity in 1 sample, the first in 2"),
    (((X, np.array([0, 1, np.inf, 2])), (X, X[:, 0])), {}, "train targets have NaN or infinity"),
    (((X, Y), (X, np.array([0, 1, -1, 2]))), {}, "test targets have -1 in sample 2: 3 classes are labelled 0 to 2"),
    (((X, Y), (X, Y)), {"classes": 2}, "train targets have 2 in sample 1: 2 classes are labelled 0 to 1"),
    (((X, Y), (X[:, :2], Y)), {}, r"inputs of a train sample are float32 of shape \(3,\), but of a test sample"),
    (((X, X[:, 0]), (X, X[:, 0])), {"task": "classification"}, "labels must be integers"),
    (((X, np.stack([Y, Y], 1)), (X, Y)), {}, "determine the task: give task, one of classification, regression"),
    (((X, Y), (X, X[:, 0])), {}, "do not determine the task"),
    (((X, Y), (X, Y)), {"task": "ranking"}, "task must be one of"),
    (((X, X), (X, X)), {"classes": 3}, "classes has no effect on a regression"),
    (((X, Y), (X, Y)), {"task": "next-token"}, r"next-token needs \(4, 3\), a token for each token"),
    (((Stream(), Y), (X, Y)), {}, "of type object"),
    ((Stream(), (X, Y)), {}, "an iterable one has no length: read it into arrays first"),
    ((X, (X, Y)), {}, r"train must be \(inputs, targets\) or a map-style torch Dataset, not ndarray"),
    ((([[1, 2], [3]], [0, 1]), (X, Y)), {}, "train inputs are rows of different lengths"),
    (((np.array(["a"]), [0]), (X, Y)), {}, "train inputs are of type <U1: give integers or real numbers"),
]


@pytest.mark.parametrize(("parts", "more", "said"), BAD)
def test_what_does_not_fit_is_refused_in_one_line(parts, more, said):
    with pytest.raises(InvalidSpecError, match=said) as refused:
        dataset(*parts, name="mine", **more)
    assert "\n" not in str(refused.value)


def test_samples_of_several_shapes_are_refused():
    class Ragged:
        def __len__(self):
            return 3

        def __getitem__(self, number):
            return np.zeros(number + 1), 0

    with pytest.raises(InvalidSpecError, match=r"train: sample 1 has shapes \[\(2,\), \(\)\], but sample 0"):
        dataset(Ragged(), (X, Y))


@pytest.mark.parametrize("part", range(4))
def test_the_checksum_sees_every_part(part):
    arrays = [X, Y, X[:3], Y[:3]]
    before = dataset(arrays[:2], arrays[2:]).checksum()
    arrays[part] = arrays[part].copy()
    arrays[part][0] += 1
    assert dataset(arrays[:2], arrays[2:]).checksum() != before


def test_the_checksum_sees_the_task_and_the_classes():
    tokens = np.arange(12).reshape(4, 3)
    made = [
        dataset((X, Y), (X, Y), classes=3),
        dataset((X, Y), (X, Y), classes=4),
        dataset((X, Y.astype(np.int32)), (X, Y)),
        dataset((tokens, tokens), (tokens, tokens), "next-token"),
        dataset((tokens, tokens), (tokens, tokens), "regression"),
    ]
    assert len({one.checksum() for one in made}) == 5


def test_every_task_has_a_name():
    assert [*TASKS] == ["classification", "regression", "next-token"]


DATA = """
import numpy as np
from topokit_train import dataset
x, y = np.arange(12.0).reshape(4, 3), np.array([0, 2, 1, 2])
def four(): return x, y, x, y
def whole(): return dataset((x, y), (x, y), classes=5, name="whole")
def three(): return x, y, x
def wrong(): return x, y[:3], x, y
def folder(data_dir): return [np.loadtxt(data_dir / "x.txt"), y, x, y]
def asks(rows): return x, y, x, y
def fails(): return x / [1, 2]
"""


@pytest.fixture
def named(tmp_path):
    (tmp_path / "data.py").write_text(DATA)
    return lambda name: f"{tmp_path / 'data.py'}:{name}"


def test_a_function_of_the_user_gives_a_dataset(named, tmp_path):
    np.savetxt(tmp_path / "x.txt", X)
    four = load_dataset(named("four"))
    assert four.name == named("four")
    assert four.classes == 3
    assert load_dataset(named("whole")).classes == 5
    assert load_dataset(named("whole")).name == named("whole")
    assert load_dataset(named("folder"), tmp_path).checksum() == four.checksum()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("three", "returns tuple: return topokit_train.dataset"),
        ("wrong", "data.py:wrong: train has 4 inputs, but 3 targets"),
        ("asks", "needs rows, but it is called with data_dir:"),
        ("fails", "data.py:fails failed in line 11 of data.py: ValueError"),
        ("none", "has no function none"),
    ],
)
def test_functions_that_give_no_dataset_are_refused(named, name, said):
    with pytest.raises(TopokitError, match=said) as refused:
        load_dataset(named(name))
    assert "\n" not in str(refused.value)


def test_what_was_given_in_python_is_not_looked_for():
    with pytest.raises(InvalidSpecError, match="the dataset waves was passed from Python: pass it again, as data"):
        load_dataset("given:waves")


@pytest.mark.parametrize("name", ["idx:", "text:", "mnist:here", "mine.py", "minst"])
def test_names_that_are_none(name):
    with pytest.raises(InvalidSpecError):
        split_name(name)


def test_places_are_looked_for_beside_a_file(tmp_path):
    for name in ("idx:a b", "text:a.txt block=8", "data.py:four"):
        assert str(tmp_path) in beside(name, tmp_path)
        assert split_name(beside(name, tmp_path))[0] == split_name(name)[0]
    assert beside("torch.utils:data", tmp_path) == "torch.utils:data"
    assert beside("text:/a.txt", tmp_path) == "text:/a.txt"


def test_a_text_is_cut_into_blocks(tmp_path):
    text = "".join(chr(97 + number % 7) for number in range(1000)) + "é" * 10
    (tmp_path / "a b.txt").write_text(text, encoding="utf-8")
    made = load_dataset(f"text:{tmp_path / 'a b.txt'} block=8")
    assert (made.task, made.classes, made.outputs, made.input_shape) == ("next-token", 8, 8, (8,))
    assert len(made.train_inputs) == (909 - 1) // 8
    assert len(made.test_inputs) == (101 - 1) // 8
    assert np.array_equal(made.train_inputs[:, 1:], made.train_targets[:, :-1])
    assert np.array_equal(made.train_inputs[1:, 0], made.train_targets[:-1, -1])
    letters = sorted(set(text))
    assert "".join(letters[token] for token in made.train_inputs.ravel()) == text[: made.train_inputs.size]
    assert load_dataset(f"text:{tmp_path / 'a b.txt'}").input_shape == (64,)


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (b"a" * 100, "", "has 100 characters, too few for blocks of 64: give at least 650"),
        (b"", "", "has 0 characters"),
        (b"\xff" * 1000, "", "is not a text in UTF-8"),
        (b"a" * 1000, " block=0", "block must be a positive number of characters, not 0"),
        (None, "", "cannot read .*: No such file"),
    ],
)
def test_texts_that_are_none(tmp_path, content, options, said):
    if content is not None:
        (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises((FileFormatError, InvalidSpecError, TopokitError), match=said):
        load_dataset(f"text:{tmp_path / 't.txt'}{options}")
