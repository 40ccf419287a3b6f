"""`topokit prune`: train a dense network and prune it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from topokit_cli import render
from topokit_cli.options import SEEDS, OnceEach
from topokit_cli.train import run_options, setting_options, show, what_to_do
from topokit_train.pruning.config import PruneConfig
from topokit_train.ranks import this_rank


@click.command("prune", cls=OnceEach)
@partial(setting_options, config=PruneConfig)
@click.option("--seeds", type=SEEDS, help="Seeds of several networks, which are pruned together.")
@run_options
def command(
    ctx: click.Context,
    /,
    seeds: tuple[int, ...] | None,
    run: Path | None,
    resume: bool,
    force: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a dense network, prune its smallest weights, and save the remaining edges as topologies.

    For each target sparsity, the command writes a file to the folder of the run, such as topology-0.9.safetensors. The
    file is a topology if the layers of the model form a chain, and masks otherwise. Every command that takes a
    topology can read this file. Biases are pruned only with --biases.

    \b
    topokit prune --to .5,.9,.95 --run pruned
    topokit train --topology pruned/topology-0.95.safetensors
    topokit prune --method one-time --scope global --dataset mnist --seeds 0-4

    To train a lottery ticket, save the initial weights and train the pruned topology from them:

    \b
    topokit prune --to .9 --rewind initial --run ticket
    topokit train --topology ticket/topology-0.9.safetensors --weights ticket/rewind.safetensors
    """  # noqa: D301 (click wants the control character)
    from topokit_train.pruning.results import saved_topologies
    from topokit_train.results import Result
    from topokit_train.runs.train import train, train_seeds

    config, seeds = what_to_do(ctx, PruneConfig, settings, seeds, run if resume else None)
    others: dict[str, Any] = {"run": run, "resume": resume, "force": force}
    found = train(config, **others) if seeds is None else train_seeds(config, None, seeds, **others)
    show(found, as_json)
    if not as_json and this_rank().first:
        head, *rows = saved_topologies([found] if isinstance(found, Result) else found)  # type: ignore[list-item,arg-type]
        click.echo()
        render.grid(head, rows, left=("saved",))
