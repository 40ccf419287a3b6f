"""`topokit prune`: train a dense network and prune it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import click

from topokit.reprs import cell
from topokit_cli import render
from topokit_cli.options import SEEDS, OnceEach, force_option, json_option
from topokit_cli.paths import OUTPUT_FOLDER
from topokit_cli.train import setting_options, show_all, show_one, what_to_do
from topokit_train.metrics import shown
from topokit_train.pruning.config import PruneConfig
from topokit_train.ranks import this_rank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from topokit_train.pruning.results import PruneResult


@click.command("prune", cls=OnceEach)
@partial(setting_options, config=PruneConfig)
@click.option("--seeds", type=SEEDS, help="Seeds of several networks, pruned at once.")
@click.option("--run", type=OUTPUT_FOLDER, help="Folder of the run's files [a new one in runs/].")
@click.option("--resume", is_flag=True, help="Continuation of the run in --run, bit for bit on the CPU.")
@force_option
@json_option
@click.pass_context
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

    The run's folder gets a file for each target sparsity, such as topology-0.9.safetensors: a topology if the model's
    layers chain, else masks. Every command reads it. Biases are not pruned.

    \b
    topokit prune --to .5,.9,.95 --run pruned
    topokit train --topology pruned/topology-0.95.safetensors
    topokit prune --method one-time --scope global --dataset mnist --seeds 0-4

    A lottery ticket is trained again from its initial weights:

    \b
    topokit prune --to .9 --rewind initial --run ticket
    topokit train --topology ticket/topology-0.9.safetensors --weights ticket/rewind.safetensors
    """  # noqa: D301 (click wants the control character)
    config, seeds = what_to_do(ctx, PruneConfig, settings, seeds, run if resume else None)
    from topokit_train.runs.train import train, train_seeds

    if seeds is None:
        results = [train(config, run=run, resume=resume, force=force)]
        show_one(results[0], as_json)
    else:
        results = train_seeds(config, None, seeds, run=run, resume=resume, force=force)
        show_all(results, as_json)
    if not as_json and this_rank().first:
        _show_topologies(results)  # type: ignore[arg-type]  # a PruneConfig has PruneResults


def _show_topologies(results: Sequence[PruneResult]) -> None:
    """One row for each file, of several seeds with their means."""
    rows = []
    for networks in zip(*(result.topologies for result in results), strict=True):
        before, after, sparsity = (
            fmean(one[key] for one in networks) for key in ("accuracy_before", "test_accuracy", "sparsity")
        )
        tested = (shown(results[0].metric, value) for value in (before, after))
        edges = fmean(one["edges"] for one in networks)
        name = Path(networks[0]["file"]).name
        rows.append((name, f"{sparsity:.2%}", cell(edges), str(networks[0]["step"]), *tested))
    click.echo()
    render.grid(("saved", "sparsity", "edges", "step", "test before", "after"), rows, left=("saved",))
