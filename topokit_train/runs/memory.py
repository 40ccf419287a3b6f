"""Out of memory while training: an error that says what would fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from topokit.errors import TooLargeError, TopokitError
from topokit_train.training import Trainer


@contextmanager
def explained_shortage(trainer: Trainer) -> Iterator[None]:
    """Inside, a step that does not fit into memory ends in an error that names the largest batch that does.

    Raises:
        TooLargeError: in place of torch's errors, of which a CPU's is a plain RuntimeError.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, TopokitError) or not is_shortage(error):
            raise
    else:
        return
    size, networks = trainer.config.batch_size, len(trainer.seeds)
    fits = _fitting(trainer) * trainer.ranks.size  # only here, as the error holds on to what the step had made
    advice = f"`batch_size` {fits} fits" if fits else "not even a batch of 1 fits: take a smaller model or topology"
    fewer = f", or train fewer than {networks} `seeds` at once" if networks > 1 else ""
    raise TooLargeError(
        f"a step with a batch of {size} does not fit into the memory of {trainer.device}: {advice}{fewer}"
    )


def is_shortage(error: BaseException) -> bool:
    """Whether torch ran out of memory. On a CPU only its message says so."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)


def _fitting(trainer: Trainer) -> int:
    """The largest batch, of halves of a process's share, whose gradients can be computed; 0 for none."""
    size = trainer.config.batch_size // trainer.ranks.size // 2
    images, labels = next(trainer.batches())
    while size:
        try:
            trainer.own_gradients(images[:size], labels[:size])
            return size
        except (RuntimeError, MemoryError) as error:
            if not is_shortage(error):
                raise
        size //= 2
    return 0
