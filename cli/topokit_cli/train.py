"""`topokit train`: train a network on a topology."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from topokit.layered import Layered
from topokit_cli import render
from topokit_cli.options import OUTPUT, force_option, json_option, topology_options
from topokit_cli.source import TopologySource
from topokit_train.config import TrainConfig, flag

Command = TypeVar("Command", bound=Callable[..., Any])
_TYPES: dict[str, Any] = {"text": str, "int": int, "number": float, "path": click.Path()}


def setting_options(command: Command) -> Command:
    """Add every setting of a run; TrainConfig's fields are the options."""
    for field in reversed(dataclasses.fields(TrainConfig)):
        option = click.option(
            flag(field.name),
            field.name,
            type=_TYPES[field.metadata["kind"]],
            default=field.default,
            help=field.metadata["help"],
            show_default=field.default is not None,
            metavar=None if field.metadata["kind"] != "text" else "NAME",
        )
        command = option(command)
    return command


@click.command("train")
@setting_options
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
    from topokit_train.runs import recorded, train

    before = recorded(run) if resume and run else None
    if before:  # what was not said again is as it was
        config, net = before
        given = {name: value for name, value in settings.items() if _was_given(ctx, name)}
        config = dataclasses.replace(config, **given)
        if topology or source.given:
            net = _topology(source, topology)
    else:
        config, net = TrainConfig(**settings), _topology(source, topology)
    result = train(config, net, run=run, resume=resume, force=force)
    if as_json:
        render.as_json(result.to_json())
        return
    parameters = result.parameters
    render.table(
        [
            ("test accuracy", f"{result.test_accuracy:.2%}"),
            ("parameters", f"{parameters['nonzero']:,} of the dense model's {parameters['total']:,}"),
            (
                "training",
                f"{result.train_seconds:.1f} s, {result.epochs} epochs, kernel {result.kernel}, {result.device}",
            ),
            ("dead classes", ", ".join(map(str, result.dead_classes)) or "none"),
            ("run", str(result.run)),
        ]
    )


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
