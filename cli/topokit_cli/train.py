"""`topokit train`: train a network on a topology."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from topokit.layered import Layered
from topokit_cli import render
from topokit_cli.options import NUMBERS, OUTPUT, SEEDS, force_option, json_option, topology_options
from topokit_cli.source import TopologySource
from topokit_train.config import TrainConfig, flag

if TYPE_CHECKING:
    from topokit_train.results import Result

Command = TypeVar("Command", bound=Callable[..., Any])
C = TypeVar("C", bound=TrainConfig)
_TYPES: dict[str, Any] = {"text": str, "int": int, "number": float, "switch": bool, "path": click.Path()}
_TYPES |= {"numbers": NUMBERS, "names": str}


def setting_options(command: Command, config: type[TrainConfig] = TrainConfig) -> Command:
    """Add every setting of a run; the fields of its configuration are the options."""
    for field in reversed(dataclasses.fields(config)):
        name = flag(field.name)
        option = click.option(
            f"{name}/--no-{name[2:]}" if field.metadata["kind"] == "switch" else name,
            field.name,
            type=_TYPES[field.metadata["kind"]],
            default=field.default,
            multiple=field.metadata["kind"] == "names",
            help=field.metadata["help"],
            show_default=field.default not in (None, False, ()),
            metavar="NAME" if field.metadata["kind"] in ("text", "names") else None,
        )
        command = option(command)
    return command


@click.command("train")
@setting_options
@click.option("--seeds", type=SEEDS, help="Train one network for each of these seeds, all at once.")
@click.option("--tune", is_flag=True, help="Take the kernels that are fastest on this machine; times them once.")
@click.option("--explain-kernel", is_flag=True, help="Say which kernel each sparse layer has, and why.")
@click.option("--topology", metavar="FILE|dense", help="A saved topology or masks; or dense, for none.")
@topology_options()
@click.option("--run", type=OUTPUT, help="Folder for the run's files; a new one below runs/ where left out.")
@click.option("--resume", is_flag=True, help="Go on with the run in --run, bit for bit on the CPU.")
@force_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    source: TopologySource,
    seeds: tuple[int, ...] | None,
    tune: bool,
    explain_kernel: bool,
    topology: str | None,
    run: Path | None,
    resume: bool,
    force: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a network on a topology; its weights are stored one number per edge.

    Without a topology, the RadiX-Net of radices 10,10 and Kronecker widths 8,3,1, cropped to 784,300,100.

    \b
    topokit train
    topokit train --topology dense
    topokit train --topology twin.safetensors --dataset mnist --epochs 10 --seed 0
    """  # noqa: D301 (click wants the control character)
    from topokit_train.runs import train, train_seeds

    if tune:
        if _was_given(ctx, "kernel"):
            raise click.UsageError("give --kernel or --tune, not both")
        settings["kernel"] = "tuned"
    config, seeds, before = what_to_do(ctx, TrainConfig, settings, seeds, run if resume else None)
    net = _topology(source, topology) if topology or source.given or not before else before[1]
    if seeds is None:
        show_one(train(config, net, run=run, resume=resume, force=force, explain=explain_kernel), as_json)
    else:
        show_all(train_seeds(config, net, seeds, run=run, resume=resume, force=force, explain=explain_kernel), as_json)


def what_to_do(
    ctx: click.Context,
    kind: type[C],
    settings: dict[str, Any],
    seeds: tuple[int, ...] | None,
    resumed: Path | None,
) -> tuple[C, tuple[int, ...] | None, tuple[TrainConfig, Layered | None] | None]:
    """The settings and seeds of a run, and what is recorded where it goes on: what is not said again is as it was.

    Args:
        ctx: knows which settings were given.
        kind: of the settings.
        settings: their values.
        seeds: of several networks, None where there is one.
        resumed: the folder of a run that goes on.
    """
    from topokit_train.runs import SEED, recorded, recorded_seeds

    if seeds is not None and _was_given(ctx, "seed"):
        raise click.UsageError("give --seed or --seeds, not both")
    if resumed and not seeds:
        seeds = tuple(recorded_seeds(resumed)) or None
    before = recorded(resumed / f"{SEED}{seeds[0]}" if seeds else resumed) if resumed else None
    if before and type(before[0]) is kind:
        given = {name: value for name, value in settings.items() if _was_given(ctx, name)}
        return dataclasses.replace(before[0], **given), seeds, before
    return kind(**settings), seeds, before


def show_one(result: Result, as_json: bool) -> None:
    """Print what a run came to."""
    if as_json:
        render.as_json(result.to_json())
        return
    rows = [("test accuracy", f"{result.test_accuracy:.2%}"), *_about(result)]
    dead = ", ".join(map(str, result.dead_classes)) or "none"
    render.table([*rows, ("dead classes", dead), ("run", result.run)])


def show_all(results: list[Result], as_json: bool) -> None:
    """Print what the runs of several seeds came to, each and together."""
    from topokit_train.results import mean_and_ci95

    mean, half = mean_and_ci95(results)
    if as_json:
        render.as_json({"runs": [result.to_json() for result in results], "mean": mean, "ci95": half})
        return
    for result in results:
        dead = f"  dead classes {', '.join(map(str, result.dead_classes))}" if result.dead_classes else ""
        click.echo(f"seed {result.seed:<5} {result.test_accuracy:.2%}  {result.run}{dead}")
    spread = "" if half is None else f" ± {half:.2%} (95 % of Student's t, {len(results)} seeds)"
    render.table([("test accuracy", f"{mean:.2%}{spread}"), *_about(results[0])])


def _about(result: Result) -> list[tuple[str, str]]:
    parameters = result.parameters
    seconds = f"{result.train_seconds:.1f} s" + (f" a network, {result.stacked} at once" if result.stacked > 1 else "")
    return [
        ("parameters", f"{parameters['nonzero']:,} of the dense model's {parameters['total']:,}"),
        ("training", f"{seconds}, {result.epochs} epochs, kernel {result.kernel}, {result.device}"),
    ]


def _topology(source: TopologySource, topology: str | None) -> Layered | None:
    if topology == "dense" and not source.given:
        return None
    if topology is not None:
        source = dataclasses.replace(source, file=Path(topology))
    if source.given:
        net = source.open()
        render.notes(net)
        return net
    from topokit_train.runs import default_topology

    return default_topology()


def _was_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
