"""Data parallel training: how the processes that torchrun starts find each other, and what they must have in common."""

from __future__ import annotations

import atexit
import hashlib
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from textwrap import shorten

import torch
from torch import distributed

from topokit.errors import InvalidSpecError, reading
from topokit.topologies import fingerprint
from topokit_train.machine import resolve_device
from topokit_train.ranks import Ranks, answered, this_rank
from topokit_train.runs.jobs import Job, Setup

TIMEOUT = timedelta(minutes=10)  # that processes wait for each other, such as for the first one's checkpoint


def join() -> Ranks:
    """Let the processes that torchrun started talk to each other, to the end of the program; alone, nothing is done.

    Raises:
        UnreachableError: others did not come.
    """
    ranks = this_rank()
    if ranks.several and not distributed.is_initialized():
        cuda = torch.cuda.is_available()
        if cuda and ranks.local < torch.cuda.device_count():
            torch.cuda.set_device(ranks.local)  # else all would also take memory on the first
        with answered():
            distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=TIMEOUT)
        atexit.register(distributed.destroy_process_group)
    return ranks


def require_same(jobs: Sequence[Job], setup: Setup) -> None:
    """Refuse to train where the processes of a run were not given the same; files are the same if their contents are.

    Raises:
        InvalidSpecError: names what differs, and the first process in which it does.
        TopokitError: the file of weights cannot be read.
    """

    def facts() -> dict[str, str]:
        config, begun = jobs[0].config, all(job.checkpoint for job in jobs)
        settings = {
            f"`{name}`": value for name, value in config.to_json().items() if name not in ("data_dir", "weights")
        }
        weights = config.weights if config.weights is None or begun else _digest(Path(config.weights))
        found = settings | {
            "`seeds`": [job.config.seed for job in jobs],
            "the topology": list(map(fingerprint, setup.topologies)),
            "the dataset": setup.dataset.checksum(),
            "the user's code": setup.versions,
            "the device": resolve_device(config.device).type,
            "the checkpoint": [job.checkpoint and _digest(job.folder.checkpoint) for job in jobs],
            "`weights`": weights,  # where all runs are begun, nobody reads them
        }
        return {name: json.dumps(value) for name, value in found.items()}

    def compared() -> None:
        for rank, other in enumerate(everyone):
            for name, value in everyone[0].items():
                if other[name] != value:
                    raise InvalidSpecError(
                        f"{name} differs: {shorten(other[name], 80)} in rank {rank}, {shorten(value, 80)} in rank 0: "
                        "give all processes of a run the same files and options"
                    )

    ranks = setup.ranks
    if ranks.several:
        everyone = ranks.gathered(ranks.agreed(facts))
        ranks.agreed(compared)


def _digest(path: Path) -> str:
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
