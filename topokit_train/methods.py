"""Training methods and callbacks: objects whose hooks a Trainer calls.

A method may change weights and edges, as pruning does; a callback only reads. Both have the same hooks, and a subclass
overrides those that it needs. The order of the calls is:

    prepare         once, after the model and before the optimizer is built
    before_step     before each step; may call `trainer.want_dense_gradients()`
    gradients       in each step, after the gradients are computed (their mean over all processes)
    after_step      after each step; may call `trainer.rewire`
    after_epoch     after each epoch, with its metrics; may call `trainer.rewire`
    end             once, with the results

A resumed run calls `prepare`, then `load_state_dict`. Draw random numbers from `trainer.generator()` only: its stream
depends on the run's seed and the step, so all processes, and a resumed run, draw the same numbers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from topokit._registry import Registry, nearest
from topokit.descriptions._values import from_text
from topokit.descriptions._words import split
from topokit.errors import InvalidSpecError
from topokit.fields import one_of
from topokit_train.functions import UserFunction, explained, is_function, load_function, missing_arguments

if TYPE_CHECKING:
    from topokit_train.metrics import Metrics
    from topokit_train.results import Result
    from topokit_train.training import Trainer

C = TypeVar("C", bound="Callback")

HOOKS = ("before_step", "gradients", "after_step")
"""The hooks that are called in each step."""

CALLBACKS = Registry("callback", {"tensorboard": "topokit_train.tensorboard:TensorBoard"})


class Callback:
    """Hooks that observe a training run and change nothing.

    Attributes:
        reads_gradients: whether `after_step` needs the gradients in `parameter.grad`. If not, and if there are no hooks
            `before_step` and `gradients`, the steps of small networks can be fused: see `topokit_train.fused_steps`.
    """

    reads_gradients: bool = True

    def prepare(self, trainer: Trainer) -> None:
        """Prepare the run; the model is built, the optimizer is not."""

    def before_step(self, trainer: Trainer) -> None:
        """Prepare a step: `trainer.steps_done` steps are done."""

    def gradients(self, trainer: Trainer) -> None:
        """Use the gradients of a step, in `parameter.grad` and `trainer.dense_gradients`."""

    def after_step(self, trainer: Trainer) -> None:
        """Act after a step; `trainer.steps_done` includes it."""

    def after_epoch(
        self, trainer: Trainer, metrics: Sequence[Metrics]
    ) -> Sequence[Metrics] | Mapping[str, float] | None:
        """Act after an epoch.

        Args:
            trainer: trains the networks.
            metrics: of each network.

        Returns:
            Numbers by name, which each network's `test_metrics` get too; Metrics to record instead; or None.
        """

    def end(self, trainer: Trainer, results: Sequence[Result]) -> Sequence[Result] | Mapping[str, float] | None:
        """Finish the run; write files to `trainer.folders`.

        Args:
            trainer: has trained the networks.
            results: of each network.

        Returns:
            Numbers by name, which each result's `test_metrics` get too; Results to record instead; or None.
        """


class Method(Callback):
    """A way of training, which may change weights and edges.

    Attributes:
        stacks: whether it can train several networks that are stacked in one model; other methods train seeds in turn.
            A method that stacks overrides `state_dicts` and `load_state_dicts`.
        notes: messages to print when a run starts; known after `prepare`.
    """

    stacks = False
    notes: Sequence[str] = ()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the method for a checkpoint: arrays, tensors and JSON-able values, by name."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a checkpoint, whose arrays are NumPy arrays; the model already has its edges and weights."""

    def state_dicts(self, networks: int) -> list[dict[str, Any]]:
        """Return the `state_dict` of each network."""
        return [self.state_dict() for _ in range(networks)]

    def load_state_dicts(self, states: Sequence[dict[str, Any]]) -> None:
        """Call `load_state_dict` for each network."""
        self.load_state_dict(states[0])


def read(text: str, setting: str, kind: type[C]) -> tuple[C, UserFunction]:
    """Return the method or callback of a description: file.py:Class key=value ..., or a name of CALLBACKS.

    Args:
        text: the description; values have the types of the defaults or annotations of the class's arguments.
        setting: "method" or "callback".
        kind: Method or Callback.

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
        loaded = load_function(name, setting)
    arguments = _arguments(loaded.function, given, f"`{setting}` {name}")
    with explained(f"`{setting}` {name} failed"):
        made = loaded.function(**arguments)
    if not isinstance(made, kind):
        raise InvalidSpecError(f"`{setting}` {name} is not a topokit_train.{kind.__name__}, but {type(made).__name__}")
    return made, loaded


def _arguments(function: Callable[..., Any], given: Sequence[str], what: str) -> dict[str, Any]:
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError:  # an annotation that is imported for type checkers only
        signature = inspect.signature(function)
    known = signature.parameters
    arguments: dict[str, Any] = {}
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
    if missing := missing_arguments(signature, arguments):
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
