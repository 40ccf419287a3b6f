"""Command-line options: those of declared fields, and descriptions of topologies."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import click

from topokit.descriptions import parse
from topokit.descriptions._values import REPEATED, from_text
from topokit.descriptions._words import quoted
from topokit.descriptions.description import AROUND, FAMILY, Description
from topokit.errors import InvalidSpecError, TopokitError
from topokit.errors import flag as flag_of
from topokit_cli.paths import stdin
from topokit_cli.render import LOGGER, Stderr, flags_of
from topokit_train.seeds import parse_seeds

Command = TypeVar("Command", bound=Callable[..., Any])

_METAVARS = {
    "int": "N",
    "ints": "N,N,...",
    "systems": "N,N,...",
    "number": "X",
    "numbers": "X,X,...",
    "names": "NAME,NAME,...",
    "net": "TOPOLOGY",
    "path": "PATH",
    "text": "NAME",
}


class Value(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """A value that a function reads.

    Args:
        name: for the help.
        read: makes the value of a text, or raises InvalidSpecError.
    """

    def __init__(self, name: str, read: Callable[[str], Any]):
        self.name, self.read = name, read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self.read(value)
        except InvalidSpecError as error:
            self.fail(str(error), param, ctx)


def of_kind(kind: str) -> Value:
    """Return the type of a declared field's values, which are read as a description reads them."""
    return Value(_METAVARS[kind], _topology if kind == "net" else partial(from_text, {"kind": kind}))


def _topology(text: str) -> Description:
    return parse(click.get_current_context().with_resource(stdin()) if text == "-" else text)


def _image(text: str) -> tuple[int, ...]:
    """Rows, columns and perhaps channels, joined by x."""
    if not re.fullmatch(r"\d{1,9}(x\d{1,9}){1,2}", text, re.ASCII):
        raise InvalidSpecError(f"{text!r} is not ROWSxCOLUMNS or ROWSxCOLUMNSxCHANNELS, such as 28x28")
    return tuple(map(int, text.split("x")))


class OnceEach(click.Command):
    """A command that refuses an option given twice, of which click would silently use the last.

    Flags may be given again, and so may options that collect their values. Errors name its options by their flags.
    Every command has the options --quiet and -v.
    """

    def __init__(self, *args: Any, **more: Any):
        super().__init__(*args, **more)
        for flags, level, what in (
            (
                ("-q", "--quiet"),
                logging.ERROR,
                "Output of results and errors only. If -q and -v are both given, the last one counts.",
            ),
            (("-v", "--verbose"), logging.DEBUG, "Additional messages: the names of files that are read and written."),
        ):
            about: dict[str, Any] = {"is_flag": True, "expose_value": False, "callback": _logged(level), "help": what}
            self.params.append(click.Option(flags, **about))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        try:
            left = super().parse_args(ctx, args)  # first, so that --help works even if other arguments are wrong
        except click.UsageError as error:
            if "unexpected extra argument" not in error.message:
                raise
            raise click.UsageError(f"{error.message}: {self._about_extra(error.message, given)}", ctx) from None
        if not ctx.resilient_parsing:  # as it is for the completions of a shell
            self._require_once(ctx, self.make_parser(ctx).parse_args(given)[2])
        return left

    def _about_extra(self, message: str, given: Sequence[str]) -> str:
        """Return advice for the first argument that click calls an unexpected extra one."""
        flags = {
            opt for param in self.params if isinstance(param, click.Option) and param.is_flag for opt in param.opts
        }
        for before, extra in pairwise(given):
            if before in flags and re.search(rf"\({re.escape(extra)}[ )]", message):
                return f"{before} takes no value"
        return "lists have commas and no blanks (2,2), and other values with blanks need quotes"

    def _require_once(self, ctx: click.Context, given: list[click.Parameter]) -> None:
        once = [param for param in given if isinstance(param, click.Option) and not (param.multiple or param.is_flag)]
        for param in once:
            if once.count(param) > 1:
                flag = "/".join(param.opts)
                is_list = "," in (param.type.name or "")
                advice = f"give all in one list: {flag} {param.type.name}" if is_list else "give it once"
                raise click.UsageError(f"{flag} is given {once.count(param)} times: {advice}", ctx)

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        LOGGER.handlers = [Stderr()]
        LOGGER.setLevel(logging.INFO)
        return super().make_context(*args, **more)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TopokitError as error:
            error.args = (error.with_flags(flags_of(self)), *error.args[1:])
            raise


def quiet() -> bool:
    """Return whether --quiet was given."""
    return LOGGER.level > logging.WARNING


def _logged(level: int) -> Callable[[click.Context, click.Parameter, bool], None]:
    """Return the callback of a flag that sets what is printed on stderr."""

    def set_level(_ctx: click.Context, _param: click.Parameter, given: bool) -> None:
        if given:
            LOGGER.setLevel(level)

    return set_level


SEEDS = Value("N-N,N,...", parse_seeds)
IMAGE = Value("ROWSxCOLUMNS[xCHANNELS]", _image)
INTS, NAMES, TOPOLOGY = map(of_kind, ("ints", "names", "net"))

json_option = click.option("--json", "as_json", is_flag=True, help="Output as one JSON object.")
force_option = click.option("--force", is_flag=True, help="Permission to replace existing files.")


def option_of(name: str, metadata: Mapping[str, Any], **more: Any) -> Callable[[Command], Command]:
    """Return the decorator that adds the option of a declared field.

    Args:
        name: of the field.
        metadata: of the field.
        more: for click.option; flags and help are those of the field unless given.
    """
    kind, flag = metadata["kind"], more.pop("flag", flag_of(name))
    if kind == "flag":
        return click.option(f"{flag}/--no-{flag[2:]}", name, **{"help": metadata["help"], **more})
    kind_of_value = click.Choice(metadata["choices"]) if metadata["choices"] else of_kind(kind)
    several = kind in (*REPEATED, "names")
    return click.option(flag, name, type=kind_of_value, multiple=several, **{"help": metadata["help"], **more})


class Describing(OnceEach):
    """A command that takes a description, and says how to write the flags that described a topology before.

    Args:
        way: the words between the command and the description, such as "--topology".
    """

    way: tuple[str, ...] = ()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption:
            advice = self._advice(ctx, given)
            if advice is None:
                raise
            raise click.UsageError(advice, ctx) from None

    def _advice(self, ctx: click.Context, args: list[str]) -> str | None:
        """The command to write in place of one with flags of `build`; None if there are none of these."""
        from topokit_cli.build import GRAPH_OPTIONS, SEED_FLAGS

        own = {flag for param in self.params for flag in param.opts}
        flags = {flag for param in GRAPH_OPTIONS for flag in param.opts} - own
        words = iter([word for arg in args for word in (arg.split("=", 1) if arg.startswith("--") else [arg])])
        given, rest = list[tuple[str, str]](), list[str]()
        for word in words:
            if word in flags:
                given.append((word, next(words, "")))
            else:
                rest.append(word)
        if not given:
            return None
        values = self.make_parser(ctx).parse_args(list(rest))[0]
        heads = [one for key in ("source", "topologies") for one in _texts(values.get(key))]
        if not heads and not {flag for flag, _ in given} - {"--like", *map(flag_of, AROUND), *SEED_FLAGS}:
            heads = [value for flag, value in given if flag == "--like"]
        head = quoted(heads[0]) if heads else dict(given).get("--family", FAMILY)
        text = [head]
        for flag, value in given:
            if flag != "--family" and value not in heads:
                text.append(f"{'seed' if flag in SEED_FLAGS else flag[2:]}={quoted(value)}")
        others = [word for word in rest if word not in (*heads, *self.way)]
        line = shlex.join([*ctx.command_path.split(), *self.way, " ".join(text), *others])
        return f"a description takes the place of {', '.join(dict.fromkeys(dict(given)))}; write: {line}"


def _texts(value: Any) -> list[str]:
    """The texts that click's parser found for a parameter: none, one or several."""
    return [value] if isinstance(value, str) else value if isinstance(value, list) else []


def topology_argument(command: Command) -> Command:
    """Add the argument TOPOLOGY, a Description: a file or the words that describe a topology."""
    return click.argument("source", metavar="TOPOLOGY", type=TOPOLOGY)(command)


def was_given(ctx: click.Context, name: str) -> bool:
    """Whether the user gave an option, and did not leave it to its default."""
    return ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
