"""Datasets of the user's own numbers: arrays, tensors and map-style torch Datasets."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np

from topokit._registry import Registry
from topokit.csr import require_memory
from topokit.errors import InvalidSpecError
from topokit_train.datasets import CLASSIFICATION, GIVEN, Array, Dataset

REGRESSION, NEXT_TOKEN = "regression", "next-token"
TASKS = Registry(
    "task",
    {
        "classification": "topokit_train.tasks:Classification",
        "regression": "topokit_train.tasks:Regression",
        "next-token": "topokit_train.tasks:NextToken",
    },
)
"""Each is a class, a `Task`."""
FEW = 10_000  # classes
PARTS = ("train", "test")


def dataset(
    train: Any, test: Any, task: str | None = None, *, classes: int | None = None, name: str = "data"
) -> Dataset:
    """Make a dataset of numbers.

    Bytes of shape (N, channels, rows, columns) are images. Other numbers are used as they are: inputs become float32,
    integers int64.

    Args:
        train: (inputs, targets), each an array or a tensor with a row for each sample; or a map-style torch Dataset of
            such pairs, which is read once into memory.
        test: likewise.
        task: "classification", "regression" or "next-token". By default integer targets of shape (N,) are
            classification, and floats regression.
        classes: number of classes, or of tokens. By default as many as the largest label says.
        name: for messages and files.

    Raises:
        InvalidSpecError: what does not fit together, and what to do.
        TooLargeError: a torch Dataset does not fit into memory.
    """
    arrays = [array for part, pair in zip(PARTS, (train, test), strict=True) for array in _pair(part, pair, name)]
    targets = (arrays[1], arrays[3])
    task = task or _task_of(targets, name)
    if task not in TASKS:
        raise InvalidSpecError(f"`task` must be one of {', '.join(TASKS)}, not {task!r}")
    if task == REGRESSION:
        if classes is not None:
            raise InvalidSpecError("`classes` has no effect on a regression: omit it")
    elif classes is None and all(one.dtype.kind in "iu" for one in targets):
        labels = arrays if task == NEXT_TOKEN else targets
        classes = max((1 + int(one.max()) for one in labels if one.size), default=1)
        if classes > max(FEW, sum(one.size for one in labels)):  # such numbers are ids, and no classes
            raise InvalidSpecError(
                f"{name}: the largest label is {classes - 1:,}, but there are fewer samples: number the classes from 0 "
                "on, or give `classes`"
            )
    made = Dataset(
        name=f"{GIVEN}:{name}",
        train_inputs=arrays[0],
        train_targets=arrays[1],
        test_inputs=arrays[2],
        test_targets=arrays[3],
        task=task,
        classes=classes,
    )
    _require_sound(made, name)
    return made


def as_dataset(value: Any, name: str) -> Dataset:
    """Return what a function of the user gives as a dataset of that name.

    Args:
        value: a `Dataset`, or (x_train, y_train, x_test, y_test).
        name: of the dataset.

    Raises:
        InvalidSpecError: something else, or as `dataset`.
    """
    if isinstance(value, Dataset):
        if value.name.partition(":")[0] != GIVEN:
            _require_sound(value, name)
        return replace(value, name=name)
    if isinstance(value, tuple | list) and len(value) == 4:
        return replace(dataset(tuple(value[:2]), tuple(value[2:]), name=name), name=name)
    raise InvalidSpecError(
        f"{name} gives {type(value).__name__}: return topokit_train.dataset(...), or x_train, y_train, x_test, y_test"
    )


def _pair(part: str, given: Any, name: str) -> tuple[Array, Array]:
    if isinstance(given, tuple | list) and len(given) == 2:
        inputs, targets = given
    elif hasattr(given, "__getitem__") and hasattr(given, "__len__") and not _is_array(given):
        inputs, targets = _read(part, given, name)
    else:
        stream = hasattr(given, "__iter__") and not hasattr(given, "__len__")
        advice = "an iterable one has no length: read it into arrays first" if stream else f"not {type(given).__name__}"
        raise InvalidSpecError(f"{name}: {part} must be (inputs, targets) or a map-style torch Dataset, {advice}")
    return _array(f"{part} inputs", inputs, name), _array(f"{part} targets", targets, name)


def _is_array(given: Any) -> bool:
    return isinstance(given, tuple | list | dict | str) or hasattr(given, "shape")


def _read(part: str, samples: Any, name: str) -> tuple[Array, Array]:
    """Read all samples of a map-style Dataset, once."""
    pairs: list[tuple[Array, Array]] = []
    for number in range(len(samples)):
        try:
            inputs, target = samples[number]
        except (TypeError, ValueError):
            raise InvalidSpecError(f"{name}: sample {number} of {part} is not a pair of input and target") from None
        pairs.append((_array(f"{part} inputs", inputs, name), _array(f"{part} targets", target, name)))
        if number == 0:
            require_memory(2 * len(samples) * sum(one.nbytes for one in pairs[0]), f"{name}: {part}")
        elif any(one.shape != first.shape for one, first in zip(pairs[-1], pairs[0], strict=True)):
            shapes = [tuple(one.shape for one in pairs[k]) for k in (0, -1)]
            raise InvalidSpecError(
                f"{name}: sample {number} of {part} has shapes {shapes[1]}, but sample 0 {shapes[0]}: make them alike"
            )
    if not pairs:
        raise InvalidSpecError(f"{name}: {part} is empty: give at least one sample")
    inputs, targets = (np.stack(parts) for parts in zip(*pairs, strict=True))
    size = f"{inputs.nbytes / 2**20:,.1f} MiB"
    logging.getLogger("topokit").info(f"{name}: {len(pairs):,} {part} samples in memory, {size}")
    return inputs, targets


def _array(what: str, values: Any, name: str) -> Array:
    """The numbers of an array, a tensor or a list, in a type that training uses."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    try:
        array = np.asarray(values)
    except ValueError:
        raise InvalidSpecError(f"{name}: {what} are rows of different lengths: give all one shape") from None
    if array.dtype.kind == "b" and what.endswith("targets"):
        raise InvalidSpecError(f"{name}: {what} are true or false: give 0 and 1 as integers, for classification")
    if array.dtype.kind not in "biuf":
        raise InvalidSpecError(f"{name}: {what} are of type {array.dtype}: give integers or real numbers")
    if array.dtype.kind in "iu" and array.dtype.itemsize < 8:
        return array
    return array.astype(np.int64 if array.dtype.kind in "iu" else np.float32, copy=False)


def _task_of(targets: tuple[Array, Array], name: str) -> str:
    if all(one.dtype.kind == "f" for one in targets):
        return REGRESSION
    if all(one.dtype.kind in "iu" and one.ndim == 1 for one in targets):
        return CLASSIFICATION
    raise InvalidSpecError(
        f"{name}: targets of type {targets[0].dtype} and shape {targets[0].shape} do not determine the "
        f"task: give `task`, one of {', '.join(TASKS)}"
    )


def _require_sound(made: Dataset, name: str) -> None:
    """Refuse numbers that cannot be trained on, in one line that says what to do."""
    pairs = ((made.train_inputs, made.train_targets), (made.test_inputs, made.test_targets))
    for part, (inputs, targets) in zip(PARTS, pairs, strict=True):
        where = f"{name}: {part}"
        if not inputs.ndim or not targets.ndim or len(inputs) != len(targets):
            counts = [len(one) if one.ndim else "no row of" for one in (inputs, targets)]
            raise InvalidSpecError(f"{where} has {counts[0]} inputs, but {counts[1]} targets: give a target for each")
        if not inputs.size or not targets.size:
            raise InvalidSpecError(f"{where} is empty: give at least one sample")
        _require_finite(f"{where} inputs", inputs)
        _require_finite(f"{where} targets", targets)
        _require_targets(where, inputs, targets, made)
    for what, (one, two) in zip(("inputs", "targets"), zip(*pairs, strict=True), strict=True):
        if one.shape[1:] != two.shape[1:] or (one.dtype == np.uint8) != (two.dtype == np.uint8):
            raise InvalidSpecError(
                f"{name}: {what} of a train sample are {one.dtype} of shape {one.shape[1:]}, but of a test sample "
                f"{two.dtype} of shape {two.shape[1:]}: make them alike"
            )
    if made.train_inputs.dtype == np.uint8 and not made.is_images:
        raise InvalidSpecError(
            f"{name}: inputs are bytes of shape {made.train_inputs.shape}: images need (N, channels, rows, columns); "
            "make other numbers float32 or int64"
        )


def _require_finite(what: str, array: Array) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        rows = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(1))
        raise InvalidSpecError(
            f"{what} have NaN or infinity in {len(rows):,} samples, the first in {rows[0]}: replace or drop them"
        )


def _require_targets(where: str, inputs: Array, targets: Array, made: Dataset) -> None:
    if made.task == REGRESSION:
        return
    if targets.dtype.kind not in "iu":
        raise InvalidSpecError(f"{where} targets are {targets.dtype}: labels must be integers from 0 on")
    wanted = (len(inputs),) if made.task == CLASSIFICATION else inputs.shape
    if targets.shape != wanted:
        raise InvalidSpecError(
            f"{where} targets have the shape {targets.shape}: {made.task} needs {wanted}, "
            f"{'a label for each sample' if made.task == CLASSIFICATION else 'a token for each token'}"
        )
    if made.classes is None or made.classes < 1:
        raise InvalidSpecError(f"{where}: `classes` must be at least 1, not {made.classes}")
    if made.task == NEXT_TOKEN and inputs.dtype.kind not in "iu":
        raise InvalidSpecError(f"{where} inputs are {inputs.dtype}: tokens must be integers from 0 on")
    for what, labels in (("targets", targets), ("inputs", inputs if made.task == NEXT_TOKEN else targets)):
        bad = np.flatnonzero((labels < 0) | (labels >= made.classes))
        if len(bad):
            raise InvalidSpecError(
                f"{where} {what} have {labels.flat[bad[0]]} in sample {bad[0] // (labels.size // len(labels))}: "
                f"{made.classes} classes are labelled 0 to {made.classes - 1}; correct it or `classes`"
            )
