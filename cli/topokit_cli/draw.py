"""`topokit draw`: draw a topology."""

from __future__ import annotations

from typing import Any

import click

from topokit.descriptions import Description
from topokit.drawing import STYLES
from topokit.errors import flag
from topokit_cli import render
from topokit_cli.options import IMAGE, TOPOLOGY, Describing, force_option, json_option, topology_argument, was_given
from topokit_cli.paths import Place

FIGURE = Place(refusal="the extension of the figure says its format: name a file that ends in .png, .svg or .pdf")


@click.command("draw", cls=Describing)
@topology_argument
@click.option("-o", "--output", type=FIGURE, required=True, help="Figure to write: .png, .svg or .pdf.")
@click.option(
    "--style",
    type=click.Choice(tuple(STYLES)),
    default="auto",
    help=f"Style of the figure: {', '.join(f'{name} ({shows})' for name, shows in STYLES.items())} [auto].",
)
@click.option(
    "--image",
    type=IMAGE,
    help="Shape of the input image for --style pixels, such as 28x28, or 32x32x3 for three channels [a square].",
)
@click.option("--beside", type=TOPOLOGY, multiple=True, help="Other topology to draw below the first; repeatable.")
@click.option("--trace", type=int, metavar="NODE", help="Number of the input whose paths are highlighted.")
@click.option("--rows", is_flag=True, help="Node layers as rows instead of columns.")
@click.option("--steps", is_flag=True, help="Figure of the construction of a RadiX-Net, one shift after another.")
@click.option("--kron-steps", is_flag=True, help="Figure of the Kronecker product of a RadiX-Net, layer by layer.")
@force_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    source: Description,
    output: str,
    beside: tuple[Description, ...],
    steps: bool,
    kron_steps: bool,
    force: bool,
    as_json: bool,
    **how: Any,
) -> None:
    """Draw a topology as PNG, SVG or PDF."""
    from topokit.drawing import draw, draw_kron_steps, draw_steps, save_figure

    given = [flag(name) for name in ("steps", "kron_steps", "beside", *how) if was_given(ctx, name)]
    if len(given) > 1 and (steps or kron_steps):
        raise click.UsageError(f"{' and '.join(given)} cannot go together")
    net, *chains = source.open_chains()
    render.notes(net, *chains)
    others = [*chains, *(other.open() for other in beside)]
    if chains:
        render.LOGGER.info(f"{source} has {len(chains) + 1} chains of layers: each is drawn below the one before")
    for other, file in zip(others[len(chains) :], beside, strict=True):
        render.notes(other, file=str(file))
    if steps:
        figure = draw_steps(net)
    elif kron_steps:
        figure = draw_kron_steps(net)
    else:
        figure = draw(net, beside=others, **how)
    save_figure(figure, output, force=force)
    if as_json:
        several = {"chains": [render.describe(one, source.file, None) for one in (net, *chains)]} if chains else {}
        about = several or render.describe(net, source.file, None)
        render.as_json({"figure": str(output), "topology": str(source), **about})
    else:
        click.echo(f"{output}: {'; '.join(one.summary() for one in (net, *chains))}")
