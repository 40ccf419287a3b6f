"""Ranks: the processes that train one run together, each with its share of every batch.

All hold the same weights and do the same with them; they differ in the images that their gradients are of. The mean
gradient is made of flattened gradients, not by DistributedDataParallel: a chain of layers is one step of autograd, so
all gradients come at once and nothing could overlap; and a share that is smaller than others must weigh less.

Nothing here imports torch before there are several processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING, Any, TypeVar

from topokit.errors import InvalidSpecError, TopokitError, UnreachableError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar("T")

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # that torchrun sets


class SaidByAnotherError(TopokitError):
    """The run ends for a reason that another of its processes tells the user."""

    quiet = True


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, as one of them sees them; a run without torchrun has one.

    Args:
        rank: number of this process; 0 writes files and speaks.
        size: how many there are.
        local: number of this process among those of its machine, and of its GPU.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.size > 1

    def share(self, start: int, stop: int) -> slice:
        """This process's part of a batch; the parts differ by one at most, and are empty where there are too few.

        >>> [Ranks(rank, 3).share(10, 17) for rank in range(3)]
        [slice(10, 12, None), slice(12, 14, None), slice(14, 17, None)]
        """
        length = stop - start
        return slice(start + length * self.rank // self.size, start + length * (self.rank + 1) // self.size)

    def device(self, device: torch.device) -> torch.device:
        """Where this process trains, of the device that was asked for.

        Raises:
            InvalidSpecError: one device for several processes, or one that does not take part in such training.
        """
        import torch

        if not self.several or device.type == "cpu":
            return device
        if device.type != "cuda" or device.index:
            raise InvalidSpecError(
                f"`device` {device} is one device, but torchrun started {self.size} processes: "
                "give cuda, of which each takes one of its own, or cpu"
            )
        there = torch.cuda.device_count()
        if self.local >= there:
            raise InvalidSpecError(f"this machine has {there} GPUs: give torchrun --nproc-per-node {there}")
        return torch.device("cuda", self.local)

    def average(
        self, parameters: Sequence[Tensor], losses: Tensor, images: int, others: Sequence[Tensor] = ()
    ) -> Tensor:
        """Give parameters their gradients over the whole batch, the same numbers in all processes.

        Args:
            parameters: their gradients are those of the mean loss over this process's share, or None if it is empty.
            losses: of each network, over the share; shape (networks,).
            images: in the share.
            others: more gradients of that loss, which become those over the whole batch, in place.

        Returns:
            The losses over the whole batch.

        Cost: one sum over all processes of as many numbers as there are parameters, and two copies of them.
        """
        import torch
        from torch import distributed

        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
        parts = [*gradients, *others, losses, losses.new_ones(1)]
        flat = torch.cat([part.reshape(-1) for part in parts]).mul_(images)  # its last number becomes their count
        with answered():
            distributed.all_reduce(flat)
        *means, losses, _ = torch.split(flat / flat[-1], [part.numel() for part in parts])
        for other, mean in zip(others, means[len(gradients) :], strict=True):
            other.copy_(mean.view(other.shape))
        for parameter, gradient, mean in zip(parameters, gradients, means[: len(gradients)], strict=True):
            parameter.grad = gradient.copy_(mean.view(gradient.shape))  # in the layout that the optimizer expects
        return losses

    def align(self, parameters: Sequence[Tensor]) -> None:
        """Give all processes the first one's values: on machines that differ, so may the last bits of a step."""
        if not self.several or not parameters:
            return
        import torch
        from torch import distributed

        with torch.no_grad(), answered():
            flat = torch.cat([parameter.reshape(-1) for parameter in parameters])
            distributed.broadcast(flat, src=0)
            parts = torch.split(flat, [parameter.numel() for parameter in parameters])
            for parameter, values in zip(parameters, parts, strict=True):
                parameter.copy_(values.view(parameter.shape))

    def shared(self, value: T) -> T:
        """The first process's value."""
        return self.gathered(value)[0] if self.several else value

    def gathered(self, value: T) -> list[T]:
        """The values of all processes, in the order of their ranks."""
        from torch import distributed

        values: list[Any] = [None] * self.size
        with answered():
            distributed.all_gather_object(values, value)
        return values

    def agreed(self, make: Callable[[], T]) -> T:
        """Return the result of `make` if it succeeds in all processes; otherwise all fail, and one reports the error.

        Raises:
            TopokitError: as `make` raises it here.
            SaidByAnotherError: another process's error.
        """
        if not self.several:
            return make()
        failure, made = None, []
        try:
            made.append(make())
        except TopokitError as error:
            failure = error
        errors = self.gathered(None if failure is None else (str(failure), failure.exit_code))
        reporter = next((rank for rank, error in enumerate(errors) if error), None)
        if reporter is None:
            return made[0]
        if failure is not None and reporter == self.rank:
            raise failure
        message, code = errors[reporter] or ("", 1)
        other = SaidByAnotherError(f"rank {reporter}: {message}")
        other.exit_code = code
        raise other from None


ALONE = Ranks()


def this_rank() -> Ranks:
    """Where this process stands among those that torchrun started.

    Raises:
        InvalidSpecError: what torchrun should have set is no number.
    """
    if any(name not in os.environ for name in VARIABLES):
        return ALONE
    try:
        ranks = Ranks(*(int(os.environ[name]) for name in VARIABLES[:3]))
    except ValueError:
        raise InvalidSpecError(
            "RANK, WORLD_SIZE and LOCAL_RANK must be numbers, as torchrun sets them: use torchrun, or unset them"
        ) from None
    return ranks if ranks.several else ALONE


@contextmanager
def answered() -> Iterator[None]:
    """Inside, what other processes are needed for ends in an error where one of them is gone.

    Raises:
        UnreachableError: in place of torch's errors. Only the first process says it: the one that is gone said more.
    """
    try:
        yield
    except RuntimeError as error:
        lost = UnreachableError(
            f"another process of this run has ended or does not answer ({shorten(str(error), 80)}): "
            "see what it says, and start all of them again"
        )
        lost.quiet = not this_rank().first
        raise lost from None
