"""load_run: the trained network out of a run's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from topokit.errors import InvalidSpecError, TopokitError
from topokit.formats import load_all
from topokit_train.datasets import load_dataset, split_name
from topokit_train.machine import resolve_device
from topokit_train.models import MODELS
from topokit_train.models.networks import build_model, model_source
from topokit_train.runs.checkpoints import load, weights_in
from topokit_train.runs.folder import CHECKPOINT


def load_run(
    run: Path | str,
    *,
    model: str | nn.Module | Callable[..., nn.Module] | None = None,
    device: str = "cpu",
    data_dir: Path | str | None = None,
) -> nn.Module:
    """The network of a run as it was after its last whole epoch, sparse layers and all, ready for evaluation.

    It sees images as it saw them in training: pixels are scaled as the run's setting `pixels` says. Its layers are
    named as the slots of its model, fc1, fc2 and so on; `densify` makes plain torch modules of them.

    Args:
        run: the run's folder, with its checkpoint.safetensors.
        model: of a run whose model is the user's: its function, file.py:function, or a module, which takes the
            weights. A file that a run names is not imported unless it is given here.
        device: where the network is to live, as the setting `device`.
        data_dir: where the dataset's files are looked for first, which say what images are like; of idx:FOLDER the
            folder itself. Where None, the one that the run had.

    Returns:
        The network in evaluation mode. Its outputs are the logits, behind a ReLU where the run's are. All of it can
        be trained on: make an optimizer, and call `train()`.

    Raises:
        FileFormatError: a damaged checkpoint.
        InvalidSpecError: no such device.
        TopokitError: the folder holds no checkpoint, or the dataset is not to be had.
    """
    path = Path(run) / CHECKPOINT
    if not path.exists():
        raise TopokitError(f"{run} holds no {CHECKPOINT}: give the folder of a run that has begun")
    checkpoint = load(path)
    origin, place = checkpoint.origin, resolve_device(device)
    name = origin.config.dataset
    if data_dir is not None and split_name(name)[0] == "idx":
        name = f"idx:{data_dir}"
    dataset = load_dataset(name, data_dir or origin.config.data_dir)
    recorded = origin.config.model
    if model is None and recorded not in MODELS:
        raise InvalidSpecError(f"the run {run} has a model of yours, {recorded}: give it, `model`")
    built = build_model(
        model_source(recorded if model is None else model),
        load_all(path) if checkpoint.fingerprints else None,
        dataset,
        kernel=origin.kernels if torch.device(origin.device).type == place.type else "auto",
        device=place,
        generator=torch.Generator(),  # the draw is overwritten: leave torch's global generator alone
        init=origin.config.init,
    )
    built.load_state_dict(weights_in(checkpoint))
    if origin.config.relu_logits:
        built.register_forward_hook(_relu)
    return built.eval()


def _relu(_module: nn.Module, _inputs: object, logits: Tensor) -> Tensor:
    return logits.relu()
