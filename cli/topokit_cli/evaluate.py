"""`topokit evaluate`: test the network of a run."""

from __future__ import annotations

from pathlib import Path

import click

from topokit_cli import render
from topokit_cli.options import OnceEach, json_option
from topokit_cli.paths import FOLDER


@click.command("evaluate", cls=OnceEach)
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option("--dataset", metavar="NAME", help="Dataset to test on [that of the run].")
@click.option("--model", metavar="NAME", help="FILE.py:FUNCTION of your model, if the run trained one.")
@click.option("--metric", metavar="NAME", help="FILE.py:FUNCTION of your metric [the metric of the task].")
@click.option("--data-dir", type=FOLDER, help="Folder of the dataset's files [TOPOKIT_DATA_DIR].")
@click.option("--device", default="cpu", show_default=True, help="Device: cpu, cuda, mps, or auto.")
@json_option
def command(
    run: Path,
    dataset: str | None,
    model: str | None,
    metric: str | None,
    data_dir: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Test the network of RUN, the folder or the checkpoint of a run.

    The output is the metrics, a table by class, the dead classes and the inactive units. Code in your own files is
    imported only if an option names the file, even if the run used it.

    \b
    topokit evaluate runs/lenet-300-100-digits-radix-net-seed0
    topokit evaluate run/checkpoint.safetensors --dataset fashion-mnist --json
    topokit evaluate run --model nets.py:net --dataset data.py:data
    """  # noqa: D301 (click wants the control character)
    from topokit_train.runs.evaluating import evaluate

    found = evaluate(run, dataset, model=model, metric=metric, device=device, data_dir=data_dir)
    if as_json:
        render.as_json(found.to_json())
    else:
        click.echo(found)
