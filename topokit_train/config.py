"""TrainConfig: every setting of a training run. Its fields are the flags of `topokit train`; it imports no torch."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from topokit._registry import Registry
from topokit.errors import InvalidSpecError
from topokit.spec import integer
from topokit_train.datasets import split_name
from topokit_train.kernels import KERNELS
from topokit_train.models import MODELS

OPTIMIZERS = ("adam", "sgd")
SCHEDULES = ("one-cycle", "constant")
DEVICES = ("auto", "cpu", "cuda", "mps")
MAX_THREADS = 1024

DEFAULT_LR = {"adam": 0.004, "sgd": 0.1}
DEFAULT_EPOCHS = {"digits": 40}  # 15 steps each; 10 epochs of any other dataset


def setting(help: str, *, kind: str, default: Any) -> Any:  # noqa: A002 (the flag's help text)
    """A field of TrainConfig, with what the command line needs to know of it.

    Args:
        help: one line for `--help`.
        kind: "text", "int", "number", "switch", "path", "numbers" (.5,.9) or "names" (repeatable).
        default: what it is where the flag is left out.
    """
    return dataclasses.field(default=default, metadata={"help": help, "kind": kind})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Every setting of a training run, validated; defaults that depend on other settings are filled in.

    Args:
        model: a name in MODELS.
        dataset: a name in DATASETS, or idx:FOLDER.
        data_dir: where the dataset's files are looked for first.
        weights: a safetensors file of a dense model's weights, to start from in place of random ones.
        epochs: how often each training image is used; by default 40 for digits and 10 for others.
        batch_size: images in one step.
        optimizer: "adam", or "sgd" (momentum .9).
        lr: the learning rate, with one-cycle its peak; by default .004 for adam and .1 for sgd.
        schedule: "one-cycle" (Smith & Topin 2018, arXiv:1708.07120) or "constant".
        validation: how many of the last training images are held out.
        seed: of the first weights and of the order of the images.
        order_seed: of the order of the images alone, which several seeds then share.
        kernel: a name in KERNELS; "auto", by a cost model; or "tuned", by a stopwatch.
        device: "cpu", "cuda", "mps", or "auto" for the best that is there; cuda:1 for the second.
        threads: of the CPU; where None, one for a small model and torch's own choice for others.

    Raises:
        InvalidSpecError: names the flag, what was given and what is allowed.
    """

    model: str = setting("What to train.", kind="text", default="lenet-300-100")
    dataset: str = setting("What to train it on.", kind="text", default="digits")
    data_dir: str | None = setting("Folder of the dataset's files [TOPOKIT_DATA_DIR].", kind="path", default=None)
    weights: str | None = setting("Start from the weights in this safetensors file.", kind="path", default=None)
    epochs: int = setting("Times that each image is used [40 for digits, else 10].", kind="int", default=None)
    batch_size: int = setting("Images in one step.", kind="int", default=100)
    optimizer: str = setting("adam or sgd.", kind="text", default="adam")
    lr: float = setting("Learning rate [.004 for adam, .1 for sgd].", kind="number", default=None)
    schedule: str = setting("one-cycle or constant learning rate.", kind="text", default="one-cycle")
    validation: int = setting("Hold out the last N training images.", kind="int", default=0)
    seed: int = setting("Seed of the weights and of the images' order.", kind="int", default=0)
    order_seed: int | None = setting("Seed of the images' order alone [--seed].", kind="int", default=None)
    kernel: str = setting("How to multiply by a sparse layer.", kind="text", default="auto")
    device: str = setting("cpu, cuda, mps, or auto.", kind="text", default="auto")
    threads: int | None = setting("CPU threads [1 for a small model].", kind="int", default=None)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if (
                field.metadata["kind"] == "text"
                and not isinstance(value, str)
                and (value, field.default) != (None,) * 2
            ):
                raise InvalidSpecError(f"{flag(field.name)} must be a text, not {value!r}")
        _require_known("--model", self.model, MODELS)
        kind, _ = split_name(self.dataset)
        if self.kernel not in ("auto", "tuned"):
            _require_known("--kernel", self.kernel, KERNELS)
        _require_one_of("--optimizer", self.optimizer, OPTIMIZERS)
        _require_one_of("--schedule", self.schedule, SCHEDULES)
        _require_one_of("--device", re.sub(r"^cuda:\d+$", "cuda", self.device), DEVICES)
        if self.epochs is None:
            self._set("epochs", DEFAULT_EPOCHS.get(kind, 10))
        if self.lr is None:
            self._set("lr", DEFAULT_LR[self.optimizer])
        for name in ("data_dir", "weights"):
            if getattr(self, name) is not None:
                self._set(name, os.fspath(getattr(self, name)))
        self._set("lr", _positive("--lr", self.lr))
        self._require_integers()

    def _require_integers(self) -> None:
        for name, minimum in (("epochs", 1), ("batch_size", 1), ("validation", 0), ("seed", 0)):
            self._set(name, integer(getattr(self, name), flag(name), minimum))
        if self.order_seed is not None:
            self._set("order_seed", integer(self.order_seed, "--order-seed", 0))
        if self.threads is not None and integer(self.threads, "--threads", 1) > MAX_THREADS:
            raise InvalidSpecError(f"--threads must be at most {MAX_THREADS}, not {self.threads}")

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON-able values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What `to_json` gave; settings that are left out have their defaults.

        Raises:
            InvalidSpecError: a key is no setting, or a value is not allowed.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise InvalidSpecError(f"no setting is named {', '.join(unknown)}; there are {', '.join(known)}")
        return cls(**values)


def flag(name: str) -> str:
    """The flag of a field.

    >>> flag("batch_size")
    '--batch-size'
    """
    return "--" + name.replace("_", "-")


def _require_known(flag: str, value: str, registry: Registry) -> None:
    if value not in registry:
        try:
            registry[value]
        except InvalidSpecError as error:
            raise InvalidSpecError(f"{flag}: {error}") from None


def _require_one_of(flag: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidSpecError(f"{flag} must be one of {', '.join(allowed)}, not {value!r}")


def _positive(flag: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise InvalidSpecError(f"{flag} must be a number above 0, not {value!r}")
    return float(value)
