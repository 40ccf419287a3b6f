"""The tables of `topokit info`: what was measured, in lines that a person reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Any

import click

from topokit_cli import render
from topokit_cli.render import number

if TYPE_CHECKING:
    from topokit.layered import Layered
    from topokit.profiles import Profile

Values = dict[str, Any]
Line = tuple[str, str]
Columns = Mapping[str, tuple[str, Callable[[Any], str]]]

LEFT = ("layer", "twins", "structure")
LONGEST = 4300
"""Digits up to which Python reads an integer."""


def network_lines(net: Layered, profile: Profile) -> list[Line]:
    """Name and value of each line about the whole network; what was not measured has none."""
    lines = [line for name, values in profile.measures.items() if name in _LINES for line in _LINES[name](values, net)]
    skipped = [f"{name}: {why}" for name, why in profile.skipped.items()]
    if skipped:
        skipped.append("--measure NAME takes one all the same")
    return lines + list(zip_longest(["left out"][: len(skipped)], skipped, fillvalue=""))


def print_layers(net: Layered, profile: Profile) -> None:
    """Print a line for each edge layer; neighbours that read the same share one. Degrees have a table of their own."""
    shapes = zip(net.widths, net.widths[1:], net.layer_edges, strict=False)
    columns: dict[str, Sequence[str]] = dict(
        zip(("sources", "targets", "edges"), zip(*(map(str, shape) for shape in shapes), strict=True), strict=True)
    )
    columns["edges"] = [f"{edges:,}" for edges in net.layer_edges]
    _print_table(columns | _measured(profile, _COLUMNS))
    of_degrees = _measured(profile, _DEGREE_COLUMNS)
    if of_degrees:
        click.echo()
        _print_table(of_degrees)


def _measured(profile: Profile, columns: Columns) -> dict[str, Sequence[str]]:
    """Heading -> a cell for each edge layer, of the columns whose measures were taken."""
    return {
        heading: [read(layer[name]) for layer in profile.layers]
        for heading, (name, read) in columns.items()
        if name in profile.measures
    }


def _print_table(columns: Mapping[str, Sequence[str]]) -> None:
    merged = []
    for row, same in groupby(enumerate(zip(*columns.values(), strict=True)), key=lambda entry: entry[1]):
        numbers = [i for i, _ in same]
        merged.append((_span(numbers), *row))
    render.grid(["layer", *columns], merged, LEFT)


def count(digits: str) -> str:
    """A decimal string for people."""
    from topokit.checks.result import in_words

    return in_words(int(digits)) if len(digits) <= LONGEST else f"about {digits[0]}.{digits[1:4]}e{len(digits) - 1}"


def _effective(values: Values, _: Layered) -> list[Line]:
    dead = sum(values["dead_units"])
    layers = [f"{units:,} in node layer {i}" for i, units in enumerate(values["dead_units"]) if units]
    where = f": {', '.join(layers)}" if 0 < len(layers) <= 4 else ""
    kinds = f"{sum(values['no_input']):,} that no input reaches, {sum(values['no_output']):,} that reach no output"
    return [
        ("effective", f"{values['edges']:,} edges, density {values['density']:.6g}"),
        ("dead units", f"{dead:,}{where}" if dead else "none"),
        *[("", kinds)] * bool(dead),
    ]


def _degrees(values: Values, _: Layered) -> list[Line]:
    inputs = values["inputs"]
    low, high = min(inputs), max(inputs)
    if low == high:
        return [("inputs", f"{high:,} edges each")]
    without = f", {inputs.count(0):,} of {len(inputs):,} without any" if low == 0 else ""
    return [("inputs", f"{low:,} to {high:,} edges each, most at input {inputs.index(high)}{without}")]


def _modularity(values: Values, _: Layered) -> list[Line]:
    if values["value"] is None:
        return [("modularity", "undefined without edges")]
    communities = f"{values['communities']:,} communit{'y' if values['communities'] == 1 else 'ies'}"
    return [("modularity", f"{number(values['value'])}, {communities} by Louvain's method")]


def _cost(values: Values, _: Layered) -> list[Line]:
    return [
        ("parameters", f"{values['weights']:,} weights, {values['biases']:,} biases"),
        ("multiply-adds", f"{values['multiply_adds']:,} a sample"),
        (
            "float32",
            f"{_bytes(values['weight_bytes'])} of weights, {_bytes(values['csr_bytes'])} as CSR, "
            f"{_bytes(values['dense_bytes'])} dense",
        ),
    ]


def _reach(values: Values, net: Layered) -> list[Line]:
    missing, pair = values["disconnected_pairs"], values["disconnected_pair"]
    pairs = net.widths[0] * net.widths[-1]
    first = f", the first from input {pair[0]} to output {pair[1]}" if pair else ""
    return [("no path", f"{missing:,} of {pairs:,} pairs{first}")]


def _path_statistics(values: Values, _: Layered) -> list[Line]:
    least, most = count(values["min"]), count(values["max"])
    if values["min"] == values["max"]:
        return [("paths", f"{least} between every input and every output")]
    mean, median = (
        count(value) if isinstance(value, str) else number(value) for value in (values["mean"], values["median"])
    )
    spread = number(values["variation"])
    return [("paths", f"{least} to {most} a pair, mean {mean}, median {median}, coefficient of variation {spread}")]


def _paths(values: Values, _: Layered) -> list[Line]:
    ends = (
        f"{count(values[end])} (input {values[f'{end}_pair'][0]} to output {values[f'{end}_pair'][1]})"
        for end in ("min", "max")
    )
    return [("path range", " to ".join(ends))]


def _sampled_paths(values: Values, _: Layered) -> list[Line]:
    share, median = values["disconnected_share"], values["median"]
    certain = f"of {values['pairs']:,} pairs, {values['confidence']:.0%} sure"
    return [
        ("sampled paths", f"{count(values['min'])} to {count(values['max'])} {certain}:"),
        ("", f"median {' '.join(_interval(median, count))}; no path {' '.join(_interval(share, number))} of all pairs"),
    ]


def _interval(values: Values, text: Callable[[Any], str]) -> Iterable[str]:
    return text(values["estimate"]), f"({text(values['low'])} to {text(values['high'])})"


def _node_paths(values: Values, _: Layered) -> list[Line]:
    hidden = values["busiest"][1:-1]
    busiest = f"; the busiest hidden unit carries {max(hidden):.3g} times its layer's mean" if hidden else ""
    return [("all paths", f"{count(values['total'])}{busiest if values['log2_mean'] is not None else ''}")]


def _end_to_end(values: Values, _: Layered) -> list[Line]:
    if values["log2_largest"] is None:
        return [("end to end", "no path, so no singular value")]
    second = f", sigma_2 / sigma_1 = {number(values['ratios'][1])}" if len(values["ratios"]) > 1 else ""
    return [("end to end", f"sigma_1 = 2^{values['log2_largest']:.4g}{second}")]


def _degree_span(side: dict[int, int]) -> str:
    low, high = min(side), max(side)
    return str(low) if low == high else f"{low}..{high}"


def _span(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}..{numbers[-1]}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.3g} %"


def _bytes(size: int) -> str:
    power = min(int(size).bit_length() - 1, 40) // 10 if size else 0
    return f"{size / 1024**power:.4g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


_LINES: dict[str, Callable[[Values, Layered], list[Line]]] = {
    "cost": _cost,
    "degrees": _degrees,
    "effective": _effective,
    "reach": _reach,
    "paths": _paths,
    "path-statistics": _path_statistics,
    "sampled-paths": _sampled_paths,
    "node-paths": _node_paths,
    "modularity": _modularity,
    "end-to-end": _end_to_end,
}

_COLUMNS: Columns = {
    "density": ("density", number),
    "effective": ("effective", number),
    "out-degree": ("degrees", lambda sides: _degree_span(sides["out"])),
    "in-degree": ("degrees", lambda sides: _degree_span(sides["in"])),
    "sigma_1": ("spectra", lambda layer: number(layer["singular_values"][0])),
    "sigma_2": ("spectra", lambda layer: number((*layer["singular_values"], 0.0)[1])),
    "margin": ("spectra", lambda layer: number(layer["ramanujan_margin"])),
    "twins": ("twins", lambda layer: f"{layer['sources']} x {layer['targets']}"),
    "structure": ("structure", str),
}

_DEGREE_COLUMNS: Columns = {
    "out: Gini": ("hubs", lambda sides: number(sides["out"]["gini"])),
    "out: top 10 %": ("hubs", lambda sides: _percent(sides["out"]["top_10"])),
    "in: Gini": ("hubs", lambda sides: number(sides["in"]["gini"])),
    "in: top 10 %": ("hubs", lambda sides: _percent(sides["in"]["top_10"])),
    "assortativity": ("assortativity", number),
    "4-cycles": ("clustering", lambda layer: count(layer["cycles"])),
    "clustering": ("clustering", lambda layer: number(layer["coefficient"])),
}
