"""Weights that training starts from, out of a file: those of an earlier run, or what lottery tickets rewind to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from topokit.errors import FileFormatError, InvalidSpecError
from topokit.formats import CHECKPOINT, TensorFile
from topokit_train.datasets import Dataset
from topokit_train.layers.sparse import SparseModule
from topokit_train.layers.stacks import load_network_states
from topokit_train.models.networks import ModelSource, build_model
from topokit_train.training import Trainer


@torch.no_grad()
def start_from(path: str | Path, trainer: Trainer, source: ModelSource, dataset: Dataset) -> None:
    """Give a trainer's networks the weights in a file, all the same.

    A layer may be dense in the file and sparse in the networks: it then takes the weights at its edges. Where it is
    sparse in the file it must be so in the networks, with the same edges.

    Args:
        path: a safetensors file of a model's state_dict, such as rewind.safetensors or the checkpoint of any run;
            other tensors are left alone.
        trainer: before its first step.
        source: where the model is from.
        dataset: what it trains on.

    Raises:
        FileFormatError: the file is damaged, or weights are missing, of another shape or not finite numbers.
        InvalidSpecError: a sparse layer of the file is dense in the networks, or has other edges there.
        TopokitError: the file cannot be read.
    """
    config = trainer.config
    generator = torch.Generator()  # the draw is overwritten: leave torch's global generator alone
    if source.module is not None:
        raise InvalidSpecError("`weights` fills a new model: load them into the module yourself")
    about = {"generator": generator, "seed": trainer.seeds[0], "init": config.init}
    model = build_model(source, trainer.topologies, dataset, kernel="csr", **about)  # type: ignore[arg-type]
    given = _Given(path, source.name)
    for name, layer in model.named_modules():
        if any(True for _ in layer.parameters(recurse=False)):
            given.put(name, layer)
    load_network_states(trainer.model, [model.state_dict() for _ in trainer.seeds])


class _Given:
    """The tensors of a file of weights.

    Args:
        path: the file.
        model: name of the model that they are for.
    """

    def __init__(self, path: str | Path, model: str):
        path = Path(path) / CHECKPOINT if Path(path, CHECKPOINT).is_file() else path
        self.path, self.model = path, model
        TensorFile(path)  # which raises if it is missing, of another kind or damaged
        self.tensors: Mapping[str, Tensor] = safetensors.torch.load_file(path)

    def put(self, name: str, layer: nn.Module) -> None:
        """Give a layer its weights and biases."""
        slot, values, digest = f"{name}.weight", f"{name}.values", f"{name}.digest"
        if slot not in self.tensors and values in self.tensors and digest in self.tensors:
            sparse = self._same_edges(name, layer, self.tensors[digest])
            sparse.values.copy_(sparse.from_canonical(self._tensor(values, (sparse.weights,))))
        elif isinstance(layer, SparseModule):
            layer.take(self._tensor(slot, layer.dense_shape))
        for own, parameter in layer.named_parameters(recurse=False):
            if own != "values" and (own != "weight" or not isinstance(layer, SparseModule)):
                parameter.copy_(self._tensor(f"{name}.{own}", parameter.shape))
        for own, buffer in layer.named_buffers(recurse=False):
            if f"{name}.{own}" in self.tensors and not isinstance(layer, SparseModule):
                buffer.copy_(self.tensors[f"{name}.{own}"])

    def _same_edges(self, name: str, layer: nn.Module, digest: Tensor) -> SparseModule:
        if isinstance(layer, SparseModule) and digest.tolist() == layer.digest.tolist():
            return layer
        here = "other edges" if isinstance(layer, SparseModule) else "all edges"
        raise InvalidSpecError(
            f"{self.path}: {name} is sparse there, and has {here} here: give the topology that it was trained with, "
            f"which a checkpoint holds (`topology` {self.path}); pruning starts from a dense model's weights"
        )

    def _tensor(self, name: str, shape: Sequence[int]) -> Tensor:
        if name not in self.tensors:
            raise FileFormatError(f"{self.path} has no {name}: `weights` needs all of a dense {self.model}")
        found = self.tensors[name]
        if found.shape != tuple(shape):
            raise FileFormatError(
                f"{self.path}: the shapes of {name} there and in {self.model} differ: "
                f"{tuple(found.shape)} and {tuple(shape)}"
            )
        if not torch.isfinite(found).all():
            raise FileFormatError(f"{self.path}: {name} holds a number that is not finite")
        return found
