"""A model that reads flat inputs, with images: an error that says what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from topokit.convolutions import shown
from topokit.errors import InvalidSpecError
from topokit_train.training import Trainer


@contextmanager
def explained_shape(trainer: Trainer, model: str) -> Iterator[None]:
    """Inside, the error of a model that accepts flattened inputs only says that it needs nn.Flatten.

    Args:
        trainer: of the model.
        model: its name, for the message.

    Raises:
        InvalidSpecError: in place of the model's own error, which names the shapes of a product.
    """
    try:
        yield
    except Exception:  # of any kind, as the model is the user's code; it is raised again unless it is explained
        inputs, _ = next(trainer.batches())
        if inputs.ndim < 3 or _accepts(trainer, inputs) or not _accepts(trainer, inputs.flatten(1)):
            raise
    else:
        return
    shape = inputs.shape[1:]
    raise InvalidSpecError(
        f"{model} gets inputs of the shape {shown(tuple(shape))}, but reads {shape.numel():,} numbers in a row: put "
        "nn.Flatten() first"
    )


def _accepts(trainer: Trainer, inputs: torch.Tensor) -> bool:
    """Whether the model computes outputs of these inputs."""
    try:
        with torch.no_grad():
            trainer.model(inputs)
    except Exception:  # of the user's code
        return False
    return True
