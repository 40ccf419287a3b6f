"""`topokit evaluate`: test the network of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from topokit_cli import render
from topokit_cli.options import OnceEach, json_option
from topokit_cli.paths import FOLDER
from topokit_train.metrics import shown

if TYPE_CHECKING:
    from topokit_train.runs.evaluating import Evaluation


@click.command("evaluate", cls=OnceEach)
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option("--dataset", metavar="NAME", help="Dataset to test on [the run's].")
@click.option("--model", metavar="NAME", help="FILE.py:FUNCTION of a run whose model is yours.")
@click.option("--metric", metavar="NAME", help="FILE.py:FUNCTION as metric [the task's].")
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
    """Test the network of RUN, a run's folder or checkpoint: metrics, each class, dead classes and inactive units.

    A file of yours that the run used is imported only if you name it in an option.

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
        _show(found)


def _show(found: Evaluation) -> None:
    metrics = {found.metric: found.test_metric} | found.test_metrics
    rows = [("dataset", f"{found.dataset}, {found.samples:,} test samples")]
    rows += [(f"test {name}", shown(name, value)) for name, value in metrics.items()]
    if found.dead_classes is not None:
        rows.append(("dead classes", ", ".join(map(str, found.dead_classes)) or "none"))
    if found.dead_units:
        rows.append(("inactive units", ", ".join(f"{name} {count}" for name, count in found.dead_units.items())))
    render.table(rows)
    if found.classes is not None:
        click.echo()
        lines = [
            (str(one.label), f"{one.count:,}", f"{one.predicted:,}", _share(one.recall), _share(one.precision))
            for one in found.classes
        ]
        render.grid(("class", "samples", "predicted", "recall", "precision"), lines)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
