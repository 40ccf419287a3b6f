"""`topokit train`: train a network on a topology."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from topokit.layered import Layered
from topokit_cli import render
from topokit_cli.options import (
    OUTPUT,
    SEEDS,
    Command,
    Describing,
    force_option,
    json_option,
    option_of,
    was_given,
)
from topokit_train.config import TrainConfig
from topokit_train.metrics import shown
from topokit_train.ranks import this_rank

if TYPE_CHECKING:
    from topokit_train.results import Result

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


class TrainCommand(Describing):
    """A command that takes descriptions after --topology."""

    way = ("--topology",)


@click.command("train", cls=TrainCommand)
@setting_options
@click.option("--seeds", type=SEEDS, help="Seeds of several networks; perceptrons are trained at once.")
@click.option("--tune", is_flag=True, help="Kernels by timing on this machine; the same as --kernel tuned.")
@click.option("--explain-kernel", is_flag=True, help="Report of each sparse layer's kernel, and why.")
@click.option(
    "--topology",
    "topologies",
    metavar="TOPOLOGY",
    multiple=True,
    help="Description, file, 'PATTERN: DESCRIPTION' or dense; repeatable.",
)
@click.option(
    "--callback",
    "callbacks",
    metavar="CALLBACK",
    multiple=True,
    help="Callback: tensorboard, or 'FILE.py:CLASS key=value ...'; repeatable.",
)
@click.option("--run", type=OUTPUT, help="Folder of the run's files [a new one in runs/].")
@click.option("--resume", is_flag=True, help="Continuation of the run in --run, bit for bit on the CPU.")
@force_option
@json_option
@click.pass_context
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
    dense. Each layer of a topology fills the first remaining weight that it fits.

    \b
    topokit train
    topokit train --topology dense
    topokit train --topology "bernoulli widths=784,300,100 density=.1 seed=0" --epochs 10
    topokit train --model lenet-5 --topology conv2.safetensors --topology fc1.safetensors
    topokit train --model nets.py:net --dataset data.py:data --topology fc1.safetensors
    torchrun --nproc-per-node 2 --no-python -- topokit train    # one run
    """  # noqa: D301 (click wants the control character)
    from topokit_train.described import DEFAULT_TOPOLOGY
    from topokit_train.methods import Callback, read
    from topokit_train.runs.train import train, train_seeds

    if tune:
        if was_given(ctx, "kernel"):
            raise click.UsageError("give --kernel or --tune, not both")
        settings["kernel"] = "tuned"
    config, seeds = what_to_do(ctx, TrainConfig, settings, seeds, run if resume else None)
    others: dict[str, Any] = {"run": run, "resume": resume, "force": force, "explain": explain_kernel}
    others["callbacks"] = [read(text, "callback", Callback)[0] for text in callbacks]
    topology = _wired(topologies, config) if topologies else DEFAULT_TOPOLOGY
    if seeds is None:
        show_one(train(config, topology, **others), as_json)
    else:
        show_all(train_seeds(config, topology, seeds, **others), as_json)


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
    from topokit_train.runs.folder import CHECKPOINT
    from topokit_train.runs.train import SEED, recorded, recorded_seeds

    if seeds is not None and was_given(ctx, "seed"):
        raise click.UsageError("give --seed or --seeds, not both")
    if ctx.params["resume"] and ctx.params["force"]:
        raise click.UsageError("give --resume, which continues a run, or --force, which replaces it")
    before = None
    if resumed:
        if not resumed.is_dir():
            raise click.UsageError(f"there is no run {resumed} to continue: omit --resume to start one")
        there = recorded_seeds(resumed)
        if (seeds or there) and (resumed / CHECKPOINT).exists():
            raise click.UsageError(f"{resumed} is the run of one network: omit --seeds, or give another --run")
        seeds = seeds or tuple(there) or None
        before = recorded(resumed / f"{SEED}{there[0]}" if there else resumed)
    if before and type(before) is kind:
        given = {name: value for name, value in settings.items() if was_given(ctx, name)}
        return dataclasses.replace(before, **given), seeds
    return kind(**settings), seeds


def show_one(result: Result, as_json: bool) -> None:
    """Print the result of a run; of several processes of a run, only the first prints."""
    if not this_rank().first:
        return
    if as_json:
        render.as_json(result.to_json())
        return
    rows = [(f"test {result.metric}", shown(result.metric, result.test_metric)), *_others([result]), *_about([result])]
    if result.dead_classes is not None:
        rows.append(("dead classes", ", ".join(map(str, result.dead_classes)) or "none"))
    render.table([*rows, ("run", result.run)])


def show_all(results: list[Result], as_json: bool) -> None:
    """Print the results of several seeds, each and together; of several processes, only the first prints."""
    if not this_rank().first:
        return
    from topokit_train.results import mean_and_ci95

    mean, half = mean_and_ci95(results)
    if as_json:
        render.as_json({"runs": [result.to_json() for result in results], "mean": mean, "ci95": half})
        return
    for result in results:
        dead = f"  dead classes {', '.join(map(str, result.dead_classes))}" if result.dead_classes else ""
        click.echo(f"seed {result.seed:<5} {shown(result.metric, result.test_metric)}  {result.run}{dead}")
    metric = results[0].metric
    spread = "" if half is None else f" ± {shown(metric, half)} (95 % of Student's t, {len(results)} seeds)"
    render.table([(f"test {metric}", f"{shown(metric, mean)}{spread}"), *_others(results), *_about(results)])


def _others(results: Sequence[Result]) -> list[tuple[str, str]]:
    """A row for each further metric."""
    return [
        (f"test {name}", " to ".join(dict.fromkeys(shown(name, most) for most in (min(values), max(values)))))
        for name in results[0].test_metrics
        if (values := [result.test_metrics[name] for result in results])
    ]


def _about(results: list[Result]) -> list[tuple[str, str]]:
    first = results[0]
    parameters = first.parameters
    seconds = f"{first.train_seconds:.1f} s" + (f" a network, {first.stacked} at once" if first.stacked > 1 else "")
    units = (f"{name} {_range([result.dead_units[name] for result in results])}" for name in first.dead_units)
    return [
        ("parameters", f"{parameters['nonzero']:,} of the dense model's {parameters['total']:,}"),
        ("effective sparsity", _sparsity([result.effective_sparsity for result in results])),
        *([("inactive units", ", ".join(units) or "no hidden layer")] if first.effective_sparsity else []),
        ("training", f"{seconds}, {first.epochs} epochs, kernel {first.kernel}, {first.device}"),
    ]


def _sparsity(found: list[dict[str, float] | None]) -> str:
    known = [one for one in found if one is not None]
    if not known:
        return "unknown: the layers do not chain"
    after = _range([one["after"] for one in known], ".2%")
    before = known[0].get("before")
    return f"{after} after training" if before is None else f"{before:.2%} before training, {after} after"


def _range(values: Sequence[float], form: str = "") -> str:
    """The one value of all networks, or the least and the greatest."""
    texts = [format(value, form) for value in (min(values), max(values))]
    return " to ".join(dict.fromkeys(texts))


def _wired(texts: tuple[str, ...], config: TrainConfig) -> tuple[Layered, ...]:
    """The topologies that the user described."""
    from topokit_train.described import parameters_of, resolve

    nets = resolve(texts, lambda: parameters_of(config))
    for net in nets if this_rank().first else ():
        render.notes(net)
    return nets
