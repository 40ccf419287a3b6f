"""Datasets of the user's own numbers: arrays, tensors and map-style torch Datasets."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from topokit._registry import Registry
from topokit.csr import require_memory
from topokit.errors import InvalidSpecError
from topokit_train.datasets import GIVEN, Array, Dataset
from topokit_train.datasets.checks import CLASSIFICATION, NEXT_TOKEN, REGRESSION

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
        InvalidSpecError: says what does not fit together, and what to do.
        TooLargeError: a torch Dataset does not fit into memory.
    """
    pairs = _pair(f"{name}: train", train), _pair(f"{name}: test", test)
    targets = [pair[1] for pair in pairs]
    task = task or _task_of(targets, name)
    if task not in TASKS:
        raise InvalidSpecError(f"`task` must be one of {', '.join(TASKS)}, not {task!r}")
    if task == REGRESSION and classes is not None:
        raise InvalidSpecError("`classes` has no effect on a regression: omit it")
    if task != REGRESSION and classes is None and all(one.dtype.kind in "iu" for one in targets):
        classes = _classes_of([*pairs[0], *pairs[1]] if task == NEXT_TOKEN else targets, name)
    return Dataset(f"{GIVEN}:{name}", *pairs[0], *pairs[1], task=task, classes=classes)


def as_dataset(value: Any, name: str) -> Dataset:
    """Return the value of a user's function as a dataset of that name.

    Args:
        value: a `Dataset`, or (x_train, y_train, x_test, y_test).
        name: of the dataset.

    Raises:
        InvalidSpecError: something else, or as `dataset`.
    """
    if isinstance(value, tuple | list) and len(value) == 4:
        value = dataset(tuple(value[:2]), tuple(value[2:]), name=name)
    if not isinstance(value, Dataset):
        raise InvalidSpecError(
            f"{name} returns {type(value).__name__}: return topokit_train.dataset(...), or "
            "x_train, y_train, x_test, y_test"
        )
    return replace(value, name=name)


def _pair(where: str, given: Any) -> tuple[Array, Array]:
    if isinstance(given, tuple | list) and len(given) == 2:
        inputs, targets = given
        return _array(f"{where} inputs", inputs), _array(f"{where} targets", targets)
    is_array = isinstance(given, tuple | list | dict | str) or hasattr(given, "shape")
    if not is_array and hasattr(given, "__getitem__") and hasattr(given, "__len__"):
        return _read(where, given)
    stream = hasattr(given, "__iter__") and not hasattr(given, "__len__")
    advice = "an iterable one has no length: read it into arrays first" if stream else f"not {type(given).__name__}"
    raise InvalidSpecError(f"{where} must be (inputs, targets) or a map-style torch Dataset, {advice}")


def _read(where: str, samples: Any) -> tuple[Array, Array]:
    """Read all samples of a map-style Dataset, once."""
    pairs: list[tuple[Array, Array]] = []
    for number in range(len(samples)):
        try:
            inputs, target = samples[number]
        except (TypeError, ValueError):
            raise InvalidSpecError(f"{where}: sample {number} is not a pair of input and target") from None
        pairs.append((_array(f"{where} inputs", inputs), _array(f"{where} targets", target)))
        first, latest = ([one.shape for one in pair] for pair in (pairs[0], pairs[-1]))
        if number == 0:
            require_memory(2 * len(samples) * sum(one.nbytes for one in pairs[0]), where)
        elif first != latest:
            raise InvalidSpecError(
                f"{where}: sample {number} has shapes {latest}, but sample 0 {first}: give all samples the same shapes"
            )
    if not pairs:
        raise InvalidSpecError(f"{where} is empty: give at least one sample")
    inputs, targets = (np.stack(parts) for parts in zip(*pairs, strict=True))
    size = f"{inputs.nbytes / 2**20:,.1f} MiB"
    logging.getLogger("topokit").info(f"{where}: {len(pairs):,} samples in memory, {size}")
    return inputs, targets


def _array(what: str, values: Any) -> Array:
    """Return the numbers of an array, a tensor or a list, in a type that training uses."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    try:
        array = np.asarray(values)
    except ValueError:
        raise InvalidSpecError(f"{what} are rows of different lengths: give all the same shape") from None
    if array.dtype.kind == "b" and what.endswith("targets"):
        raise InvalidSpecError(f"{what} are true or false: give 0 and 1 as integers, for classification")
    if array.dtype.kind not in "biuf":
        raise InvalidSpecError(f"{what} are of type {array.dtype}: give integers or real numbers")
    if array.dtype.kind in "iu" and array.dtype.itemsize < 8:
        return array
    return array.astype(np.int64 if array.dtype.kind in "iu" else np.float32, copy=False)


def _task_of(targets: Sequence[Array], name: str) -> str:
    if all(one.dtype.kind == "f" for one in targets):
        return REGRESSION
    if all(one.dtype.kind in "iu" and one.ndim == 1 for one in targets):
        return CLASSIFICATION
    raise InvalidSpecError(
        f"{name}: targets of type {targets[0].dtype} and shape {targets[0].shape} do not determine the "
        f"task: give `task`, one of {', '.join(TASKS)}"
    )


def _classes_of(labels: Sequence[Array], name: str) -> int:
    classes = max((1 + int(one.max()) for one in labels if one.size), default=1)
    if classes > max(FEW, sum(one.size for one in labels)):  # such numbers are identifiers, not classes
        raise InvalidSpecError(
            f"{name}: the largest label is {classes - 1:,}, but there are fewer samples: number the classes from 0 "
            "on, or give `classes`"
        )
    return classes
