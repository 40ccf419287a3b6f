"""The optimizer and the schedule of its learning rate, as the settings say."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import nn
from torch.optim import lr_scheduler

from topokit_train.config import TrainConfig
from topokit_train.conversion import parameter_groups
from topokit_train.initialisation import is_convolution, weights_of

MILESTONES = (10_000, 20_000)  # steps at which the schedule "steps" halves the learning rate


def without_compiler(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """Return a class of optimizers that computes the same and does not import torch's compiler.

    torch wraps these methods so that torch.compile leaves them alone, and each wrapper imports torch._dynamo when it is
    first called: 1.4 to 2.3 seconds, more than a short run needs. `functools.wraps` keeps the method as __wrapped__.
    Outside the wrapper of `step` gradients would be recorded. If torch wraps a method no longer, nothing is unwrapped.
    """
    methods = {
        name: inspect.unwrap(getattr(kind, name)) for name in ("add_param_group", "state_dict", "load_state_dict")
    }
    step = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), {**methods, "step": step})


def make_optimizer(config: TrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of a model's parameters, of which the weights of linear layers are penalised with `config.l2`.

    What torch calls weight_decay in SGD and Adam is the gradient of weight_decay / 2 times the sum of squares, added
    to the loss's gradient before anything else is done with it. So the loss need not hold it. AdamW's is another thing.
    """
    if config.optimizer == "adamw":
        return without_compiler(torch.optim.AdamW)(
            parameter_groups(model, config.weight_decay or 0.0), lr=config.lr, fused=True
        )
    penalised = [parameter for _, parameter, module in weights_of(model) if not is_convolution(module)]
    members = {id(parameter) for parameter in penalised}
    groups = [{"params": list(model.parameters())}]
    if config.l2:
        others = [parameter for parameter in model.parameters() if id(parameter) not in members]
        groups = [{"params": penalised, "weight_decay": config.l2}, {"params": others}]  # type: ignore[dict-item]
    # fused: one call for all parameters of a group, half the time of a step of a small network
    if config.optimizer == "sgd":
        return without_compiler(torch.optim.SGD)(groups, lr=config.lr, momentum=config.momentum or 0.0, fused=True)
    return without_compiler(torch.optim.Adam)(groups, lr=config.lr, fused=True)


def make_scheduler(config: TrainConfig, optimizer: torch.optim.Optimizer, steps: int) -> lr_scheduler.LRScheduler:
    """The schedule of the learning rate over so many steps."""
    if config.schedule == "constant":
        return lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)
    if config.schedule == "steps":
        return lr_scheduler.MultiStepLR(optimizer, milestones=MILESTONES, gamma=0.5)
    return lr_scheduler.OneCycleLR(optimizer, max_lr=config.lr, total_steps=steps, cycle_momentum=False)
