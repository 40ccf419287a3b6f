"""report: the sparse, masked and dense weights of a model; parameter_groups: its parameters for an optimizer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrize import ParametrizationList

from topokit.reprs import Tabular, aligned, html_table
from topokit_train.conversion.weights import owned_weights, require_module
from topokit_train.layers.sparse import SparseModule

SCALE_BELOW = 0.5
"""Share of the fan-in below which the report advises init="scale"."""


@dataclass(frozen=True)
class ReportRow:
    """One weight of a model.

    Args:
        parameter: its name as that of a dense weight, `fc1.weight`.
        source: the layer of a topology that fills it, or "mask"; None if it is dense.
        edges: number of its edges.
        density: their share of the dense weight.
        kernel: name of its kernel; "dense" also if it is masked.
        fan_in_before: inputs of each output unit in the dense layer.
        fan_in_after: their mean number now.
        kept: whether it kept the numbers of the dense layer, see `init` of `sparsify`.
    """

    parameter: str
    source: str | None
    edges: int
    density: float
    kernel: str
    fan_in_before: int
    fan_in_after: float
    kept: bool = True


@dataclass(frozen=True)
class Report(Tabular):
    """The weights of a model that a topology can fill, in the model's order; prints itself as a table.

    Args:
        rows: one for each weight.
    """

    rows: tuple[ReportRow, ...]  # type: ignore[assignment]  # a field of that name, so it prints itself as text

    columns = tuple(field.name for field in fields(ReportRow))

    def records(self) -> list[dict[str, Any]]:
        return [asdict(row) for row in self.rows]

    def __repr__(self) -> str:
        lines = aligned([HEADINGS, *map(_cells, self.rows)])
        if len(lines) > MOST:
            lines[MOST - 10 : -8] = [f"... {len(lines) - MOST + 2} more; to_frame() has all ..."]
        return "\n".join([*lines, *self.notes])

    __str__ = __repr__

    @property
    def notes(self) -> tuple[str, ...]:
        """Advice."""
        fallen = [row for row in self.rows if row.kept and row.fan_in_after < SCALE_BELOW * row.fan_in_before]
        if not fallen:
            return ()
        return (
            f"{len(fallen)} of {len(self.rows)} weights have fewer than half of their inputs, with the values of the "
            'dense layer: if they are not trained yet, use init="scale" or "he"',
        )

    def _repr_html_(self) -> str:
        return html_table([HEADINGS, *map(_cells, self.rows)], " ".join(self.notes))


HEADINGS = ("parameter", "source", "edges", "density", "kernel", "fan-in")
MOST = 36  # lines of a printed table


def _cells(row: ReportRow) -> tuple[str, ...]:
    fan_in = f"{row.fan_in_before:,}"
    if row.source is not None:
        fan_in += f" -> {row.fan_in_after:,.4g}"
    return row.parameter, row.source or "-", f"{row.edges:,}", f"{row.density:.4g}", row.kernel, fan_in


def report(model: nn.Module) -> Report:
    """List the weights of a model that a topology can fill, sparse, masked and dense ones.

    Args:
        model: any module.

    Cost: O(edges); for masked weights O(their size).
    """
    return Report(tuple(_rows(model)))


@torch.no_grad()
def _rows(model: nn.Module) -> Iterator[ReportRow]:
    for name, owned in owned_weights(model, masked=True).items():
        module: Any = owned.module
        shape, size = owned.weight.shape, prod(owned.weight.shape)
        before, kept = prod(shape[1:]), getattr(module, "init", None) == "keep"
        own = _own_mask(module, owned.projection)
        if isinstance(module, SparseModule):
            after = module.weights / max(module.targets, 1)
            share = module.weights / size
            yield ReportRow(name, module.source, module.weights, share, module.kernel, before, after, kept)
        elif own is not None and owned.projection != "qkv":
            edges = int(own.count_nonzero())
            yield ReportRow(name, "mask", edges, edges / size, "dense", before, edges / max(shape[0], 1), kept)
        elif owned.weight.obstacle is None and not owned.weight.only_by_name:
            yield ReportRow(name, None, size, 1.0, "dense", before, before, False)


def _own_mask(module: Any, projection: str | None) -> Tensor | None:
    """The mask that torch.nn.utils.prune gave a weight, of attention a projection's; None without one."""
    if projection is None or projection == "out_proj":
        return getattr(module if projection is None else module.out_proj, "weight_mask", None)
    packed = getattr(module, "in_proj_weight_mask", None)
    if packed is not None and projection in "qkv":
        return packed.chunk(3)["qkv".index(projection[0])] if len(projection) == 1 else None
    return getattr(module, f"{projection}_proj_weight_mask", None)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split a model's parameters for an optimizer: weights decay; biases and normalisation layers do not.

    Weights have two dimensions or more, or are the values of a sparse layer. Gains of weight_norm are not weights here.

    Args:
        model: any module; its frozen parameters are skipped.
        weight_decay: of the weights.

    Returns:
        Two groups, {"params": [...], "weight_decay": ...}, as torch.optim takes them.

    >>> groups = parameter_groups(nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)), 0.1)
    >>> [(len(group["params"]), group["weight_decay"]) for group in groups]
    [(1, 0.1), (3, 0.0)]
    """
    require_module(model)
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        for own, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                (decayed if _decays(module, own, parameter) else others).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _NormBase)


def _decays(module: nn.Module, own: str, parameter: nn.Parameter) -> bool:
    if isinstance(module, SparseModule):
        return own == "values"
    gain = own == "weight_g" or (isinstance(module, ParametrizationList) and prod(parameter.shape[1:]) == 1)
    bias = own in ("bias", "bias_orig", "in_proj_bias", "bias_k", "bias_v")
    return parameter.ndim > 1 and not isinstance(module, _NORMS) and not gain and not bias
