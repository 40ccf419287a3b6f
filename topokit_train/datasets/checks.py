"""Checks of the numbers of a dataset. Every `Dataset` passes them when it is constructed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from topokit.errors import InvalidSpecError
from topokit.reprs import counted

if TYPE_CHECKING:
    from topokit_train.datasets import Array, Dataset

CLASSIFICATION, REGRESSION, NEXT_TOKEN = "classification", "regression", "next-token"


def require_sound(data: Dataset) -> None:
    """Refuse numbers that a network cannot be trained on. O(numbers of all samples).

    Raises:
        InvalidSpecError: says what is wrong and what to do.
    """
    name = data.name.removeprefix("given:")
    train, test = (data.train_inputs, data.train_targets), (data.test_inputs, data.test_targets)
    _require_pairs(f"{name}: train", *train, data)
    _require_pairs(f"{name}: test", *test, data)
    for what, one, two in zip(("inputs", "targets"), train, test, strict=True):
        if one.shape[1:] != two.shape[1:] or (one.dtype == np.uint8) != (two.dtype == np.uint8):
            raise InvalidSpecError(
                f"{name}: {what} of a train sample are {one.dtype} of shape {one.shape[1:]}, but of a test sample "
                f"{two.dtype} of shape {two.shape[1:]}: give both the same type and shape"
            )
    if data.is_images and data.train_inputs.ndim != 4:
        raise InvalidSpecError(
            f"{name}: inputs are bytes of shape {data.train_inputs.shape}: images need (N, channels, rows, columns); "
            "convert other numbers to float32 or int64"
        )


def _require_pairs(where: str, inputs: Array, targets: Array, data: Dataset) -> None:
    if not inputs.shape or inputs.shape[:1] != targets.shape[:1]:
        counts = [len(one) if one.ndim else "no row of" for one in (inputs, targets)]
        raise InvalidSpecError(f"{where} has {counts[0]} inputs, but {counts[1]} targets: give one target per input")
    if not inputs.size or not targets.size:
        raise InvalidSpecError(f"{where} is empty: give at least one sample")
    for what, array in (("inputs", inputs), ("targets", targets)):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            rows = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(1))
            raise InvalidSpecError(
                f"{where} {what} have NaN or infinity in {counted(len(rows), 'sample')}, the first in {rows[0]}: "
                "replace or "
                "drop them"
            )
    wanted = {CLASSIFICATION: inputs.shape[:1], NEXT_TOKEN: inputs.shape}.get(data.task, targets.shape)
    if targets.shape != wanted:
        one = "a label for each sample" if data.task == CLASSIFICATION else "a token for each token"
        raise InvalidSpecError(f"{where} targets have the shape {targets.shape}: {data.task} needs {wanted}, {one}")
    if data.task != REGRESSION:
        _require_labels(f"{where} targets", targets, data.classes)
    if data.task == NEXT_TOKEN:
        _require_labels(f"{where} inputs", inputs, data.classes)


def _require_labels(what: str, labels: Array, classes: int | None) -> None:
    if labels.dtype.kind not in "iu":
        raise InvalidSpecError(f"{what} are {labels.dtype}: labels must be integers from 0 on")
    if classes is None or classes < 1:
        raise InvalidSpecError(f"{what}: `classes` must be at least 1, not {classes}")
    bad = np.argwhere((labels < 0) | (labels >= classes))
    if len(bad):
        raise InvalidSpecError(
            f"{what} have {labels[tuple(bad[0])]} in sample {bad[0][0]}: {classes} classes are labelled 0 to "
            f"{classes - 1}; correct it or `classes`"
        )
