"""Training methods and callbacks: objects whose hooks a Trainer calls.

A method may change weights and edges, as pruning does; a callback only reads. Both have the same hooks, and a subclass
writes those that it needs. They are called in this order:

    prepare         once, when the model is built and before the optimizer exists
    before_step     before each step; may call `trainer.want_dense_gradients()`
    gradients       in each step, when the gradients are there (their mean over all processes)
    after_step      after each step; may call `trainer.rewire`
    after_epoch     after each epoch, with its metrics
    end             once, with the results

A resumed run calls `prepare`, then `load_state_dict`. Draw at random from `trainer.generator()` only: its stream
depends on the run's seed and the step, so every process draws the same, and a resumed run what the first one would
have.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from topokit._registry import Registry, nearest
from topokit.descriptions._values import from_text
from topokit.descriptions._words import split
from topokit.errors import InvalidSpecError
from topokit.fields import one_of
from topokit_train.functions import UserFunction, explained, is_function, load_function

if TYPE_CHECKING:
    from pathlib import Path

    from topokit_train.metrics import Metrics
    from topokit_train.results import Result
    from topokit_train.training import Trainer

C = TypeVar("C", bound="Callback")

HOOKS = ("before_step", "gradients", "after_step")
"""What is called in each step."""

CALLBACKS = Registry("callback", {"tensorboard": "topokit_train.tensorboard:TensorBoard"})


class Callback:
    """Hooks that look at a training run and change nothing of it."""

    def prepare(self, trainer: Trainer) -> None:
        """Begin; the model is built, the optimizer is not."""

    def before_step(self, trainer: Trainer) -> None:
        """Prepare a step: `trainer.steps_done` steps were made."""

    def gradients(self, trainer: Trainer) -> None:
        """Look at the gradients of a step, in `parameter.grad` and `trainer.dense_gradients`."""

    def after_step(self, trainer: Trainer) -> None:
        """Act after a step; `trainer.steps_done` includes it."""

    def after_epoch(self, trainer: Trainer, metrics: Sequence[Metrics]) -> Sequence[Metrics] | None:
        """Act on an epoch.

        Args:
            trainer: trains the networks.
            metrics: of each network.

        Returns:
            What to record in their place, or None.
        """

    def end(self, trainer: Trainer, results: Sequence[Result]) -> Sequence[Result] | None:
        """Finish the run; files belong into `trainer.folders`.

        Args:
            trainer: has trained the networks.
            results: of each network.

        Returns:
            What to record in their place, or None.
        """


class Method(Callback):
    """A way of training, which may change weights and edges.

    Attributes:
        stacks: whether it can train several networks that are stacked in one model; others train seeds in turn. A
            method that stacks overrides `state_dicts` and `load_state_dicts`.
        notes: messages that are printed when a run starts; known after `prepare`.
    """

    stacks = False
    notes: Sequence[str] = ()

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold of the method: arrays, tensors and what JSON can hold, by name."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint, whose arrays are NumPy arrays; the model has its edges and weights already."""

    def state_dicts(self, networks: int) -> list[dict[str, Any]]:
        """Return `state_dict` of each of so many networks."""
        return [self.state_dict() for _ in range(networks)]

    def load_state_dicts(self, states: Sequence[dict[str, Any]]) -> None:
        """Call `load_state_dict` for each network."""
        self.load_state_dict(states[0])


def read(text: str, setting: str, kind: type[C], folder: Path | str = "") -> tuple[C, UserFunction]:
    """Return the method or callback that a text describes: file.py:Class key=value ..., or a name of CALLBACKS.

    Args:
        text: the description; values have the types of the defaults or annotations of the class's arguments.
        setting: what it is for: "method" or "callback".
        kind: Method or Callback.
        folder: that a relative path of a file starts from.

    Raises:
        InvalidSpecError: no such class, an argument that it does not have, or one of the wrong type.
    """
    words = [word.text for word in split(text)]
    if not words:
        raise InvalidSpecError(f"`{setting}` is empty: give file.py:Class key=value ...")
    name, *given = words
    callbacks = CALLBACKS if kind is Callback else ()
    if name in callbacks:
        loaded = UserFunction(name, CALLBACKS[name], "")
    elif not is_function(name):
        forms = (*callbacks, "file.py:Class", "package.module:Class")
        raise InvalidSpecError(f"`{setting}` must be one of {one_of(name, forms)}")
    else:
        loaded = load_function(name, setting, folder)
    arguments = _arguments(loaded.function, given, f"`{setting}` {name}")
    with explained(f"`{setting}` {name} failed"):
        made = loaded.function(**arguments)
    if not isinstance(made, kind):
        raise InvalidSpecError(f"`{setting}` {name} is not a topokit_train.{kind.__name__}, but {type(made).__name__}")
    return made, loaded


def _arguments(function: Callable[..., Any], given: Sequence[str], what: str) -> dict[str, Any]:
    try:
        known = inspect.signature(function, eval_str=True).parameters
    except NameError:  # an annotation that is imported for type checkers only
        known = inspect.signature(function).parameters
    arguments = {}
    for word in given:
        key, equals, value = word.partition("=")
        key = key.replace("-", "_")
        if not equals:
            raise InvalidSpecError(f"{what}: {word} is not key=value")
        if key in arguments:
            raise InvalidSpecError(f"{what}: {key} is given twice: give it once")
        if key not in known:
            raise InvalidSpecError(f"{what} has no argument {key}: {nearest(key, known)}")
        arguments[key] = _typed(value, known[key], f"{what}: {key}")
    plain = {name: one for name, one in known.items() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}
    missing = [name for name, one in plain.items() if one.default is one.empty and name not in arguments]
    if missing:
        raise InvalidSpecError(f"{what} needs {', '.join(f'{name}=' for name in missing)}")
    return arguments


def _typed(value: str, declared: inspect.Parameter, what: str) -> Any:
    kinds: dict[Any, str] = {bool: "flag", int: "int", float: "number", str: "text"}
    known = [kinds[one] for one in (declared.annotation, type(declared.default)) if one in kinds]
    for kind in known[:1] or ["int", "number", "text"]:
        try:
            return from_text({"kind": kind}, value)
        except InvalidSpecError as error:
            if known:
                raise InvalidSpecError(f"{what}: {error.args[0]}") from None
    return value
