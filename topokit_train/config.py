"""TrainConfig: the settings of a training run. Its fields are the flags of `topokit train`. Imports no torch."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from topokit._registry import near
from topokit.errors import InvalidSpecError
from topokit.fields import Bounds, checked, one_of, option
from topokit_train.datasets import DATASETS, NEED_PLACE, split_name
from topokit_train.defaults import RECIPES, default
from topokit_train.functions import is_function
from topokit_train.kernels import KERNELS
from topokit_train.models import DEFAULT, MODELS
from topokit_train.seeds import MAX_SEED

if TYPE_CHECKING:
    from topokit_train.methods import Method

DEVICES = ("auto", "cpu", "cuda", "mps")
MAX_THREADS = 1024
COUNTS = Bounds(1, 2**62)  # torch computes in 64 bits
FUNCTIONS = ("loss", "metric")
"""Settings whose values are functions of the user."""
CHOOSERS = ("auto", "tuned")
"""Ways to choose kernels: by a cost model, or by timing."""

# Kinds of settings. Without `default=`, `topokit_train.defaults` gives the default; it may be None.
text = partial(option, kind="text", default=None)
path = partial(option, kind="path", default=None)
choice = partial(option, kind="choice", default=None)
flag = partial(option, kind="flag", default=None)
integer = partial(option, kind="int", default=None)
number = partial(option, kind="number", default=None)
_DATASETS = [f"{name}:{NEED_PLACE[name]}" if name in NEED_PLACE else name for name in DATASETS]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of a training run, validated; omitted settings get their defaults.

    Args:
        model: a name in MODELS, or a function of the user that returns an nn.Module, file.py:function or
            package.module:function. It may have the arguments input_shape, outputs, classes and widths.
        method: a class of the user, file.py:Class or package.module:Class, with its arguments as key=value; see
            `topokit_train.methods`. None for plain training.
        dataset: a name in DATASETS, idx:FOLDER, text:FILE, or a function, see `topokit_train.datasets.load_dataset`.
        recipe: "modern" or "paper". It only sets defaults of other settings, see `topokit_train.defaults`.
        data_dir: folder in which the dataset's files are searched first.
        weights: a safetensors file of the first weights: of a dense model, of which sparse layers take the weights at
            their edges, or of a model with the same topologies, such as the checkpoint of a run.
        epochs: number of epochs; by default 40 for digits and 10 for others.
        batch_size: number of samples in a step.
        optimizer: "adam", "adamw" or "sgd".
        momentum: of sgd; None for other optimizers.
        lr: the learning rate: the peak of one-cycle, the first value of steps.
        schedule: "one-cycle" (Smith & Topin 2018, arXiv:1708.07120); "steps": lr, half of it from step 10,000 on and a
            quarter from step 20,000 on; or "constant".
        init: of the weights: "he", by their real fan-in, with biases 0; "truncated-normal", see
            `topokit_train.initialisation`; or "own": the model's function draws them, and sparse layers rescale them by
            the fan-in. By default "own" for a user's model.
        weight_decay: AdamW's coefficient: a step multiplies each weight by 1 - lr x weight_decay; biases and
            normalisation layers are excluded. None for other optimizers.
        l2: adds l2 / 2 times the sum of the squared weights to the loss: those of linear layers, without their
            biases; of a sparse layer, its edges. Reported losses exclude this term.
        relu_logits: whether the logits pass a ReLU. A class whose logit is below 0 for every image then gets no
            gradient and is never predicted again.
        shuffle: whether each epoch has a new order of the samples, or that of the dataset.
        pixels: "standardised" by the mean and deviation of the training images, "unit" for 0 to 1, or "per-image".
        augment: "auto", as the dataset specifies, or "none".
        validation: number of training samples for validation, the last ones.
        loss: a function of the user that replaces the loss of the task, (outputs, targets) of a batch -> a scalar:
            file.py:function or package.module:function.
        metric: likewise, the first metric of the tests, (outputs, targets) of all samples -> a number.
        better: which values of `metric` are better, "higher" or "lower".
        seed: of the first weights, the order of the samples and the augmentation.
        order_seed: of the order and the augmentation alone; several seeds then share them.
        kernel: a name in KERNELS; "auto", chosen by a cost model; or "tuned", chosen by timing.
        device: "cpu", "cuda", "mps", or "auto" for the best one of the machine; cuda:1 for the second GPU.
        threads: CPU threads; None for one thread in a small model and torch's default in others.

    Raises:
        InvalidSpecError: names the setting, the given value and the allowed ones.
    """

    model: str = text(f"Model: {', '.join(MODELS)}, FILE.py:FUNCTION or PACKAGE:FUNCTION.", default=DEFAULT)
    dataset: str = text(f"Dataset: {', '.join(_DATASETS)}, FILE.py:FUNCTION or PACKAGE:FUNCTION.", default="digits")
    recipe: str = choice(
        "Set of defaults, shown in []; paper: as in arXiv:1810.00299.", choices=RECIPES, default="modern"
    )
    data_dir: str | None = path("Folder of the dataset's files [TOPOKIT_DATA_DIR].")
    weights: str | None = path("Safetensors file of the initial weights [random weights].")
    epochs: int = integer("Number of epochs [40 for digits, else 10].", bounds=COUNTS)
    batch_size: int = integer("Samples in a batch.", bounds=COUNTS, default=100)
    optimizer: str = choice("Optimizer [adam; paper: sgd].", choices=("adam", "adamw", "sgd"))
    momentum: float | None = number("Momentum of sgd [.9; paper: 0].", bounds=Bounds(0, 1, below=True))
    lr: float = number("Learning rate [adam, adamw: .004; sgd: .1; paper's sgd: .2].", bounds=Bounds(0, above=True))
    schedule: str = choice(
        "Schedule of the learning rate; steps: halved at steps 10,000 and 20,000 [one-cycle; paper: steps].",
        choices=("one-cycle", "steps", "constant"),
    )
    init: str = choice(
        "Initial weights; own: drawn by the code of your own model "
        "[he; paper: truncated-normal; own for your own model].",
        choices=("he", "truncated-normal", "own"),
    )
    l2: float = number(
        "L2 coefficient: adds l2/2 x the sum of squared weights of linear layers to the loss [0; paper: .004].",
        bounds=Bounds(0),
    )
    weight_decay: float | None = number("Weight decay of adamw [.01].", bounds=Bounds(0))
    relu_logits: bool = flag("ReLU on the logits [no; paper: yes].")
    shuffle: bool = flag("New order of the samples in each epoch [yes; paper: no].")
    pixels: str = choice(
        "Scale of the pixels [standardised; paper: unit; cifar10: per-image].",
        choices=("standardised", "unit", "per-image"),
    )
    augment: str = choice(
        "Augmentation of training images; auto: as the dataset specifies.", choices=("auto", "none"), default="auto"
    )
    validation: int = integer(
        "Number of training samples that are used only for validation.", bounds=Bounds(0), default=0
    )
    loss: str | None = text("Your own loss: FILE.py:FUNCTION of outputs and targets.")
    metric: str | None = text("Your own metric: FILE.py:FUNCTION of the outputs and targets of all test samples.")
    better: str | None = choice(
        "Whether higher or lower values of your own metric are better.", choices=("higher", "lower")
    )
    seed: int = integer(
        "Seed of initial weights, sample order and augmentation.", bounds=Bounds(0, MAX_SEED), default=0
    )
    order_seed: int | None = integer(
        "Seed of sample order and augmentation only [the value of seed].", bounds=Bounds(0, MAX_SEED)
    )
    method: str | None = text("Training method: 'FILE.py:CLASS key=value ...' [plain training].")
    kernel: str = choice(
        "Kernel of the sparse layers; auto: by a cost model, tuned: by timing.",
        choices=(*CHOOSERS, *KERNELS),
        default="auto",
    )
    device: str = text(f"Device: {', '.join(DEVICES)}.", default="auto")
    threads: int | None = integer(
        "Number of CPU threads [1 for a small model, else as many as torch uses].", bounds=Bounds(1, MAX_THREADS)
    )

    def __new__(cls, **settings: Any) -> Self:
        """Refuse settings that do not exist, which the dataclass's constructor does not know as an error of ours."""
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(settings) - set(known))
        if unknown:
            hint = near(unknown[0], known) or f"there are {', '.join(known)}"
            raise InvalidSpecError(f"no setting is named {', '.join(unknown)}; {hint}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        omitted = {field.name for field in dataclasses.fields(self) if getattr(self, field.name) is None}
        self._set("_omitted", omitted)
        for field in dataclasses.fields(self):  # in their order: what others depend on comes before them
            value = getattr(self, field.name)
            if value is None and field.default is None:
                value = self._default(field.name)
            if value is not None or field.default is not None:
                value = checked(field.name, value, field.metadata)
            self._set(field.name, value)
        if re.sub(r"^cuda:\d+$", "cuda", self.device) not in DEVICES:
            raise InvalidSpecError(f"`device` must be one of {', '.join(DEVICES)}, not {self.device!r}")
        self._require_functions()
        if self.optimizer != "sgd" and self.momentum is not None:
            raise InvalidSpecError(f"`momentum` belongs to `optimizer` sgd, not to {self.optimizer}: omit it")
        if self.optimizer != "adamw" and self.weight_decay is not None:
            raise InvalidSpecError(f"`weight_decay` belongs to `optimizer` adamw, not to {self.optimizer}: give `l2`")
        if self.optimizer == "adamw" and self.l2:
            raise InvalidSpecError("`l2` is for adam and sgd: give adamw `weight_decay`")
        if not is_function(self.model) and self.model not in MODELS:
            raise InvalidSpecError(f"`model` must be one of {one_of(self.model, (*MODELS, 'FILE.py:FUNCTION'))}")
        if self.init == "own" and self.model in MODELS:
            raise InvalidSpecError(f"`init` own is for a user's model, not for {self.model}: use he")

    def _require_functions(self) -> None:
        for name in FUNCTIONS:
            given = getattr(self, name)
            if given is not None and not is_function(given):
                raise InvalidSpecError(f"`{name}` must be file.py:function or package.module:function, not {given!r}")
        if (self.metric is None) != (self.better is None):
            raise InvalidSpecError("give `metric` and `better` together: a metric, and which values are better")

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that the method writes into the run's folder."""
        return ()

    def make_method(self) -> tuple[Method, dict[str, str]]:
        """Return the training method, and setting -> version of its code. Imports torch and the user's file."""
        from topokit_train.methods import Method, read

        if self.method is None:
            return Method(), {}
        method, loaded = read(self.method, "method", Method)
        return method, {"method": loaded.version}

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def replaced(self, **changes: Any) -> Self:
        """Return the settings with changes; omitted settings get their defaults anew, such as the epochs."""
        omitted: dict[str, Any] = dict.fromkeys(vars(self)["_omitted"])
        return type(self)(**self.to_json() | omitted | changes)

    def is_default(self, name: str) -> bool:
        """Return whether a setting has its default value."""
        declared = self.__dataclass_fields__[name].default
        return bool(getattr(self, name) == (self._default(name) if declared is None else declared))

    def _default(self, name: str) -> Any:
        return default(name, vars(self), split_name(self.dataset)[0])

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON-able values."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the settings of `to_json`; omitted settings have their defaults.

        Raises:
            InvalidSpecError: a key is not a setting, or a value is not allowed.
        """
        return cls(**values)
