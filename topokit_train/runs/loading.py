"""load_run: the trained network out of a run's folder."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten

import torch
from torch import Tensor, nn

from topokit.errors import InvalidSpecError, NotFoundError
from topokit.fields import path_of
from topokit.formats import CHECKPOINT, TensorFile, load_all
from topokit_train.config import TrainConfig
from topokit_train.datasets import FUNCTION, GIVEN, Dataset, load_dataset, split_name
from topokit_train.machine import resolve_device
from topokit_train.models import MODELS
from topokit_train.models.networks import Model, build_model, model_source
from topokit_train.runs.checkpoints import load, weights_in


def load_run(
    run: Path | str,
    *,
    model: Model | None = None,
    data: Dataset | str | None = None,
    device: str = "cpu",
    data_dir: Path | str | None = None,
) -> nn.Module:
    """Return the network of a run as it was after its last whole epoch, sparse layers and all, ready for evaluation.

    It sees inputs as it saw them in training: pixels are scaled as the run's setting `pixels` says. Its layers are
    named as those of its model, fc1, fc2 and so on; `densify` makes plain torch modules of them.

    Args:
        run: the run's folder, or a checkpoint.
        model: of a run whose model is the user's: its function, file.py:function, or a module, which takes the
            weights. A file that a run names is not imported unless it is given here.
        data: the dataset or its name, which says the shapes of inputs and outputs; by default that of the run. It must
            be given if it is a function of the user, or was passed from Python.
        device: where the network is to live, as the setting `device`.
        data_dir: where the dataset's files are looked for first; of idx:FOLDER the folder itself. If None, the one that
            the run had.

    Returns:
        The network in evaluation mode. Its outputs are the logits, behind a ReLU if the run's are. All of it can
        be trained on: make an optimizer, and call `train()`.

    Raises:
        FileFormatError: a damaged checkpoint.
        InvalidSpecError: no such device; data of other shapes; a model or a dataset that must be given.
        TopokitError: there is no checkpoint, or the dataset is not to be had.
    """
    return opened_run(run, model=model, data=data, device=device, data_dir=data_dir)[0]


def opened_run(
    run: Path | str, *, model: Model | None, data: Dataset | str | None, device: str, data_dir: Path | str | None
) -> tuple[nn.Module, TrainConfig, Dataset]:
    """Return the network of a run, its settings and the dataset; arguments and errors as of `load_run`."""
    run = path_of(run, "the run")
    path = run / CHECKPOINT if run.is_dir() else run
    if not path.exists():
        seeds = sorted(run.glob(f"*/{CHECKPOINT}"))
        which = f"one run of it, such as {seeds[0].parent}" if seeds else "the folder of a run that has begun"
        raise NotFoundError(f"{run} holds no {CHECKPOINT}: give {which}, or a checkpoint")
    if path == Path(run):
        TensorFile(path)  # which says so if it is another kind of file
    checkpoint = load(path)
    config, place = checkpoint.origin.config, resolve_device(device)
    dataset = data if isinstance(data, Dataset) else _dataset(run, config, data, data_dir)
    if model is None and config.model not in MODELS:
        raise InvalidSpecError(f"the run {run} uses your model {config.model}: pass it as `model`")
    built = build_model(
        model_source(config.model if model is None else model),
        load_all(path) if checkpoint.fingerprints else None,
        dataset,
        kernel=checkpoint.origin.kernels if torch.device(checkpoint.origin.device).type == place.type else "auto",
        device=place,
        generator=torch.Generator(),  # the draw is overwritten: leave torch's global generator alone
        seed=config.seed,
        init=config.init,
    )
    try:
        built.load_state_dict(weights_in(checkpoint))
    except RuntimeError as error:
        raise InvalidSpecError(
            f"the weights of {run} do not fit its model for {dataset.name}, inputs {dataset.input_shape} and outputs "
            f"{dataset.outputs}: give data of the same shapes, or the run's model ({shorten(str(error), 120)})"
        ) from None
    if config.relu_logits and dataset.classes:
        built.register_forward_hook(_relu)
    return built.eval(), config, dataset


def _dataset(run: Path | str, config: TrainConfig, given: str | None, data_dir: Path | str | None) -> Dataset:
    if given is not None:
        return load_dataset(given, data_dir or config.data_dir)
    kind = split_name(config.dataset)[0]
    if kind in (FUNCTION, GIVEN):
        raise InvalidSpecError(f"the run {run} uses your dataset {config.dataset}: pass it as `dataset`")
    name = f"idx:{data_dir}" if kind == "idx" and data_dir is not None else config.dataset
    return load_dataset(name, data_dir or config.data_dir)


def _relu(_module: nn.Module, _inputs: object, logits: Tensor) -> Tensor:
    return logits.relu()
