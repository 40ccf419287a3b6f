"""`topokit train`: train a network on a topology."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from topokit.layered import Layered
from topokit_cli import render
from topokit_cli.options import SEEDS, Command, Describing, force_option, json_option, option_of, was_given
from topokit_cli.paths import OUTPUT_FOLDER
from topokit_train.config import TrainConfig
from topokit_train.ranks import this_rank

if TYPE_CHECKING:
    from topokit_train.results import Result, Results

C = TypeVar("C", bound=TrainConfig)


def setting_options(command: Command, config: type[TrainConfig] = TrainConfig) -> Command:
    """Add every setting of a run; the fields of its configuration are the options."""
    for field in reversed(dataclasses.fields(config)):
        more: dict[str, Any] = {
            "default": field.default,
            "show_default": isinstance(field.default, str | int) and field.default is not False,
        }
        if field.metadata["kind"] == "names":
            more["callback"] = _joined
        command = option_of(field.name, field.metadata, **more)(command)
    return command


def _joined(_ctx: click.Context, _param: click.Parameter, lists: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """The names in all lists of an option that may be given again."""
    return tuple(name for names in lists for name in names)


def run_options(command: Command) -> Command:
    """Add the options on the folder and the output of a run, and pass the context."""
    command = force_option(json_option(click.pass_context(command)))  # type: ignore[assignment]  # click forgets its type
    command = click.option("--resume", is_flag=True, help="Continuation of the run in --run.")(command)
    return click.option("--run", type=OUTPUT_FOLDER, help="Folder of the run [a new one in runs/].")(command)


class TrainCommand(Describing):
    """A command that takes descriptions after --topology."""

    way = ("--topology",)


@click.command("train", cls=TrainCommand)
@setting_options
@click.option("--seeds", type=SEEDS, help="Seeds of several networks; perceptrons are trained together.")
@click.option("--tune", is_flag=True, help="Kernels chosen by timing; the same as --kernel tuned.")
@click.option(
    "--explain-kernel",
    is_flag=True,
    help="Kernel that each sparse layer would have, with the reason, as the only output; nothing is trained. "
    "The reason compares training steps: of a linear layer for --batch-size samples, of a convolution for 32 images.",
)
@click.option(
    "--topology",
    "topologies",
    metavar="TOPOLOGY",
    multiple=True,
    help="Topology: description, file, 'PATTERN: DESCRIPTION' or dense; repeatable.",
)
@click.option(
    "--callback",
    "callbacks",
    metavar="CALLBACK",
    multiple=True,
    help="Callback: tensorboard, or 'FILE.py:CLASS key=value ...'; repeatable.",
)
@run_options
def command(
    ctx: click.Context,
    /,
    seeds: tuple[int, ...] | None,
    tune: bool,
    explain_kernel: bool,
    topologies: tuple[str, ...],
    callbacks: tuple[str, ...],
    run: Path | None,
    resume: bool,
    force: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a network on a topology, with one stored number per edge.

    The default topology of lenet-300-100 is 'radix-net radices=10,10 kron=8,3,1 crop=784,300,100'; other models are
    dense. If the layers of a topology have no names, each fills the first free weight of its shape.

    \b
    topokit train
    topokit train --topology dense
    topokit train --topology "bernoulli widths=784,300,100 density=.1 seed=0" --epochs 10
    topokit train --model lenet-5 --topology conv2.safetensors --topology fc1.safetensors
    topokit train --model nets.py:net --dataset data.py:data --topology fc1.safetensors
    torchrun --nproc-per-node 2 --no-python -- topokit train    # one run
    """  # noqa: D301 (click wants the control character)
    from topokit_train.runs.topologies import DEFAULT_TOPOLOGY
    from topokit_train.runs.train import explain_kernels, train, train_seeds

    if explain_kernel and (resume or run or callbacks):
        raise click.UsageError("--explain-kernel trains nothing: omit --run, --resume and --callback")
    if tune:
        if was_given(ctx, "kernel"):
            raise click.UsageError("give --kernel or --tune, not both")
        settings["kernel"] = "tuned"
    config, seeds = what_to_do(ctx, TrainConfig, settings, seeds, run if resume else None)

    others: dict[str, Any] = {"run": run, "resume": resume, "force": force, "callbacks": callbacks}
    topology = _resolved(topologies, config) or None if topologies else DEFAULT_TOPOLOGY
    if explain_kernel:
        kernels = explain_kernels(config, topology, seeds or ())
        if as_json:
            render.as_json({"kernels": kernels.records()})
        else:
            click.echo(kernels)
    elif seeds is None:
        show(train(config, topology, **others), as_json)
    else:
        show(train_seeds(config, topology, seeds, **others), as_json)


def what_to_do(
    ctx: click.Context,
    kind: type[C],
    settings: dict[str, Any],
    seeds: tuple[int, ...] | None,
    resumed: Path | None,
) -> tuple[C, tuple[int, ...] | None]:
    """Return the settings and seeds of a run; if it resumes, the recorded ones unless they are given again.

    Args:
        ctx: knows which settings were given.
        kind: of the settings.
        settings: their values.
        seeds: of several networks, None for one.
        resumed: the folder of a run that is continued.
    """
    from topokit_train.runs.progress import phase

    phase("loading torch")
    from topokit_train.runs.folder import begun
    from topokit_train.runs.resuming import SEED, recorded, recorded_seeds

    if seeds is not None and was_given(ctx, "seed"):
        raise click.UsageError("give --seed or --seeds, not both")
    if ctx.params["resume"] and ctx.params["force"]:
        raise click.UsageError("give --resume, which continues a run, or --force, which replaces it")
    before = None
    if resumed:
        if not resumed.is_dir():
            raise click.UsageError(f"there is no run {resumed} to continue: omit --resume to start one")
        there = recorded_seeds(resumed)
        if (seeds or there) and begun(resumed).exists():
            raise click.UsageError(f"{resumed} is the run of one network: omit --seeds, or give another --run")
        new, seeds = seeds is not None, seeds or tuple(there) or None
        folders = [resumed / f"{SEED}{seed}" for seed in seeds] if seeds else [resumed]
        known = {folder: config for folder in folders if (config := recorded(folder))}
        unknown = [folder for folder in folders if folder not in known]
        if not known or (unknown and not new):  # seeds that are given may be new ones, beside others
            raise click.UsageError(f"no run was started in {unknown[0]}: omit --resume to start one")
        before = known[next(iter(known))]
    if before and type(before) is kind:
        given = {name: value for name, value in settings.items() if was_given(ctx, name)}
        return dataclasses.replace(before, **given), seeds
    return kind(**settings), seeds


def show(found: Result | Results, as_json: bool) -> None:
    """Print the result of a run, or those of several seeds; of several processes of a run, only the first prints."""
    if this_rank().first:
        if as_json:
            render.as_json(found.to_json())
        else:
            click.echo(found)


def _resolved(texts: tuple[str, ...], config: TrainConfig) -> tuple[Layered, ...]:
    """The topologies that the user described."""
    from topokit_train.described import parameters_of
    from topokit_train.runs.topologies import resolve

    nets = resolve(texts, lambda: parameters_of(config))
    if this_rank().first:
        render.notes(*nets)
    return nets
