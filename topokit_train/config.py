"""TrainConfig: every setting of a training run. Its fields are the flags of `topokit train`; it imports no torch."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from reprlib import repr as shortened
from typing import Any, Self

from topokit._registry import Registry
from topokit.errors import InvalidSpecError
from topokit.spec import integer
from topokit_train.datasets import DATASETS, NEED_FOLDER, split_name
from topokit_train.defaults import RECIPES, default
from topokit_train.kernels import KERNELS
from topokit_train.models import MODELS

ALLOWED = {
    "recipe": tuple(RECIPES),
    "optimizer": ("adam", "sgd"),
    "schedule": ("one-cycle", "steps", "constant"),
    "init": ("he", "truncated-normal"),
    "pixels": ("standardised", "unit", "per-image"),
    "augment": ("auto", "none"),
}
DEVICES = ("auto", "cpu", "cuda", "mps")
MAX_THREADS = 1024
_DATASETS = [f"{name}:FOLDER" if name in NEED_FOLDER else name for name in DATASETS]


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
        recipe: "modern" or "paper"; no more than the defaults of other settings, see `topokit_train.defaults`.
        data_dir: where the dataset's files are looked for first.
        weights: a safetensors file of weights to start from in place of random ones: of a dense model, of which sparse
            layers take those at their edges, or of one with the same topologies, such as the checkpoint of its run.
        epochs: how often each training image is used; by default 40 for digits and 10 for others.
        batch_size: images in one step.
        optimizer: "adam" or "sgd".
        momentum: of sgd; None for adam, which has its own.
        lr: the learning rate: with one-cycle its peak, with steps what it starts with.
        schedule: "one-cycle" (Smith & Topin 2018, arXiv:1708.07120); "steps": lr, from step 10,000 on half of it
            and from 20,000 on a quarter; or "constant".
        init: of the weights: "he", by their real fan-in, with biases 0; or "truncated-normal", see
            `topokit_train.initialisation`.
        l2: adds l2 / 2 times the sum of the squared weights to the loss: those of linear layers, without their
            biases; of a sparse layer, its edges. The losses that are told are without it.
        relu_logits: whether the logits pass a ReLU. A class whose logit is below 0 for every image then gets no
            gradient and is never predicted again.
        shuffle: whether each epoch has an order of its own, or that of the dataset.
        pixels: "standardised" by the mean and deviation of all that is trained on, "unit" for 0 to 1, or "per-image".
        augment: "auto", as the dataset wants it, or "none".
        validation: how many of the last training images are held out.
        seed: of the first weights and of the order of the images and how they are augmented.
        order_seed: of the order and augmentation alone, which several seeds then share.
        kernel: a name in KERNELS; "auto", by a cost model; or "tuned", by a stopwatch.
        device: "cpu", "cuda", "mps", or "auto" for the best that is there; cuda:1 for the second.
        threads: of the CPU; where None, one for a small model and torch's own choice for others.

    Raises:
        InvalidSpecError: names the flag, what was given and what is allowed.
    """

    model: str = setting(f"What to train: {', '.join(MODELS)}.", kind="text", default="lenet-300-100")
    dataset: str = setting(f"What to train it on: {', '.join(_DATASETS)}.", kind="text", default="digits")
    recipe: str = setting(
        "modern or paper (arXiv:1810.00299): the defaults in [] below; each can still be given.",
        kind="text",
        default="modern",
    )
    data_dir: str | None = setting("Folder of the dataset's files [TOPOKIT_DATA_DIR].", kind="path", default=None)
    weights: str | None = setting(
        "Start from the weights in this safetensors file: a dense model's, or of the same topologies.",
        kind="path",
        default=None,
    )
    epochs: int = setting(
        "Times that each image is used [40 for digits, else 10]; the paper's 15,000 steps are 25 on MNIST.",
        kind="int",
        default=None,
    )
    batch_size: int = setting("Images in one step.", kind="int", default=100)
    optimizer: str = setting("adam or sgd [adam; paper: sgd].", kind="text", default=None)
    momentum: float | None = setting("Momentum of sgd [.9; paper: 0].", kind="number", default=None)
    lr: float = setting("Learning rate [.004 for adam, .1 for sgd; paper: .2 for sgd].", kind="number", default=None)
    schedule: str = setting(
        "one-cycle, constant, or steps: halved at steps 10,000 and 20,000 [one-cycle; paper: steps].",
        kind="text",
        default=None,
    )
    init: str = setting(
        "Weights: he, by real fan-in, or truncated-normal of sd .04 (convolutions .05) with linear biases .1 "
        "[he; paper: truncated-normal].",
        kind="text",
        default=None,
    )
    l2: float = setting(
        "Add so much times half the sum of squared weights of linear layers to the loss [0; paper: .004].",
        kind="number",
        default=None,
    )
    relu_logits: bool = setting("Apply a ReLU to the logits [no; paper: yes].", kind="switch", default=None)
    shuffle: bool = setting("A new order of the images in each epoch [yes; paper: no].", kind="switch", default=None)
    pixels: str = setting(
        "standardised, unit (0 to 1) or per-image [standardised; paper: unit; cifar10: per-image].",
        kind="text",
        default=None,
    )
    augment: str = setting("auto, as the dataset says, or none.", kind="text", default="auto")
    validation: int = setting("Hold out the last N training images.", kind="int", default=0)
    seed: int = setting("Seed of the weights, of the images' order and of augmentation.", kind="int", default=0)
    order_seed: int | None = setting("Seed of the order and augmentation alone [--seed].", kind="int", default=None)
    kernel: str = setting(
        f"How to multiply by a sparse layer: auto, {', '.join(KERNELS)}.", kind="text", default="auto"
    )
    device: str = setting("cpu, cuda, mps, or auto.", kind="text", default="auto")
    threads: int | None = setting("CPU threads [1 for a small model].", kind="int", default=None)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            left_out = value is None and field.default is None
            if field.metadata["kind"] == "text" and not isinstance(value, str) and not left_out:
                raise InvalidSpecError(f"{flag(field.name)} must be a text, not {value!r}")
        self._fill_in()
        _require_known("--model", self.model, MODELS)
        if self.kernel not in ("auto", "tuned"):
            _require_known("--kernel", self.kernel, KERNELS)
        require_one_of("--device", re.sub(r"^cuda:\d+$", "cuda", self.device), DEVICES)
        for name in ("relu_logits", "shuffle"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidSpecError(f"{flag(name)} must be true or false, not {getattr(self, name)!r}")
        for name in ("data_dir", "weights"):
            if getattr(self, name) is not None:
                self._set(name, os.fspath(getattr(self, name)))
        self._require_numbers()

    def _fill_in(self) -> None:
        """Give what was left out its default; what others depend on comes before them and is checked first."""
        kind, _ = split_name(self.dataset)
        for field in dataclasses.fields(self):
            if getattr(self, field.name) is None:
                self._set(field.name, default(field.name, vars(self), kind))
            if field.name in ALLOWED:
                require_one_of(flag(field.name), getattr(self, field.name), ALLOWED[field.name])

    def _require_numbers(self) -> None:
        self._set("lr", _number("--lr", self.lr, "above 0", lambda lr: 0 < lr < math.inf))
        self._set("l2", _number("--l2", self.l2, "from 0 on", lambda l2: 0 <= l2 < math.inf))
        if self.optimizer == "sgd":
            self._set("momentum", _number("--momentum", self.momentum, "from 0 to below 1", lambda m: 0 <= m < 1))
        elif self.momentum is not None:
            raise InvalidSpecError(f"--momentum belongs to --optimizer sgd, not to {self.optimizer}: leave it out")
        for name, minimum in (("epochs", 1), ("batch_size", 1), ("validation", 0), ("seed", 0)):
            self._set(name, integer(getattr(self, name), flag(name), minimum))
        if self.order_seed is not None:
            self._set("order_seed", integer(self.order_seed, "--order-seed", 0))
        if self.threads is not None:
            self._set("threads", integer(self.threads, "--threads", 1))
            if self.threads > MAX_THREADS:
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


def require_one_of(flag: str, value: object, allowed: tuple[str, ...]) -> None:
    """Refuse a value that is none of those that are allowed.

    Raises:
        InvalidSpecError: names the flag and what is allowed.
    """
    if value not in allowed:
        raise InvalidSpecError(f"{flag} must be one of {', '.join(allowed)}, not {value!r}")


def _number(flag: str, value: object, wanted: str, allowed: Callable[[float], bool]) -> float:
    with suppress(OverflowError):  # an int that is larger than all floats is refused as inf is
        if isinstance(value, int | float) and not isinstance(value, bool) and allowed(float(value)):
            return float(value)
    raise InvalidSpecError(f"{flag} must be a number {wanted}, not {shortened(value)}")
