"""Command-line options: the parsers of lists, and the options that describe a topology."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from topokit.errors import InvalidSpecError
from topokit.families import FAMILIES, RANDOM_EQUIVALENTS
from topokit_cli.source import TopologySource
from topokit_train.seeds import parse_seeds

Command = TypeVar("Command", bound=Callable[..., Any])


class ListOf(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """Values separated by commas, as a tuple."""

    def __init__(self, convert: Callable[[str], Any], name: str, wanted: str):
        self._convert = convert
        self.name = name
        self._wanted = wanted

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return tuple(self._convert(part.strip()) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of {self._wanted} separated by commas", param, ctx)


class Seeds(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """Numbers and ranges of numbers separated by commas, as a tuple."""

    name = "N-N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return parse_seeds(value)
        except InvalidSpecError as error:
            self.fail(str(error), param, ctx)


class ImageSize(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """Rows, columns and perhaps channels, joined by x, as a tuple."""

    name = "ROWSxCOLUMNS[xCHANNELS]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and not re.fullmatch(r"\d{1,9}(x\d{1,9}){1,2}", value, re.ASCII):
            self.fail(f"{value!r} is not ROWSxCOLUMNS or ROWSxCOLUMNSxCHANNELS, such as 28x28", param, ctx)
        return tuple(map(int, value.split("x"))) if isinstance(value, str) else value


class OnceEach(click.Command):
    """A command that refuses an option given twice, of which click takes the last and says nothing.

    Flags may be given again, and so may options that collect their values.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        left = super().parse_args(ctx, args)  # first: --help is given whatever else is wrong
        if not ctx.resilient_parsing:  # as it is for the completions of a shell
            self._require_once(ctx, self.make_parser(ctx).parse_args(given)[2])
        return left

    def _require_once(self, ctx: click.Context, given: list[click.Parameter]) -> None:
        once = [param for param in given if isinstance(param, click.Option) and not (param.multiple or param.is_flag)]
        for param in once:
            if once.count(param) > 1:
                flag = "/".join(param.opts)
                is_list = isinstance(param.type, ListOf | Seeds)
                advice = f"give all in one list: {flag} {param.type.name}" if is_list else "give it once"
                raise click.UsageError(f"{flag} is given {once.count(param)} times: {advice}", ctx)


SEEDS = Seeds()
IMAGE = ImageSize()
INTS = ListOf(int, "N,N,...", "integers")
NUMBERS = ListOf(str, "X,X,...", "numbers")  # read by who takes them, who know how large a number may be
NAMES = ListOf(str, "NAME,NAME,...", "names")
FILE = click.Path(exists=True, path_type=Path)
OUTPUT = click.Path(path_type=Path)

_TYPES: dict[str, dict[str, Any]] = {
    "int": {"type": int},
    "ints": {"type": INTS},
    "systems": {"type": INTS, "multiple": True},
    "numbers": {"type": NUMBERS},
    "net": {"type": FILE, "metavar": "FILE"},
}

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
force_option = click.option("--force", is_flag=True, help="Overwrite what exists.")


def family_options(command: Command) -> Command:
    """Add `--family` and every option of every family."""
    from topokit.spec import options_of

    helps: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for name in FAMILIES:
        for option, field in options_of(FAMILIES[name]).items():
            if option != "seed":
                helps.setdefault(option, (dict(field.metadata), []))[1].append(name)
    for field_name, (metadata, families) in reversed(helps.items()):
        text = f"{metadata['help']} [{', '.join(families)}]"
        flag = f"--{field_name.replace('_', '-')}"
        command = click.option(flag, field_name, default=None, help=text, **_type(metadata))(command)
    family = click.Choice(list(FAMILIES))
    return click.option("--family", type=family, help="Family of topologies; radix-net where left out.")(command)


def _type(metadata: dict[str, Any]) -> dict[str, Any]:
    if metadata["kind"] == "choice":
        return {"type": click.Choice(metadata["choices"])}
    return _TYPES[metadata["kind"]]


def topology_options(*, seed_flags: tuple[str, ...] = ("--topology-seed",)) -> Callable[[Command], Command]:
    """Add all options that describe a topology, and hand them to the command as one `source` argument.

    Args:
        seed_flags: the flags that give the seed of a random topology.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def collected(**values: Any) -> Any:
            source = TopologySource.take_from(values, seed_flags[0])
            return command(source=source, **values)

        options = (
            family_options,
            click.option("--crop", type=INTS, help="Keep only so many nodes of each node layer."),
            click.option("--crop-keep", type=click.Choice(["first", "last"]), help="Which nodes a crop keeps."),
            click.option(
                "--random-equivalent", type=click.Choice(RANDOM_EQUIVALENTS), help="Take its random twin instead."
            ),
            click.option(*seed_flags, "topology_seed", type=int, help="Seed of a random topology."),
        )
        for add in reversed(options):
            collected = add(collected)
        return collected  # type: ignore[return-value]

    return decorate


def _say_topology_seed(_ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise click.UsageError(f"--seed is for build and train: here it is --topology-seed {value}")


def topology_argument(command: Command) -> Command:
    """Add an optional FILE and all options that describe a topology, as one `source` argument."""
    command = click.option("--seed", hidden=True, expose_value=False, callback=_say_topology_seed)(command)
    return click.argument("file", type=FILE, required=False)(topology_options()(command))


def was_given(ctx: click.Context, name: str) -> bool:
    """Whether the user gave an option, and did not leave it to its default."""
    return ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
