"""How long a training step of LeNet-5 takes: as it is mostly written, as it is here, and with sparse layers.

A step is what `topokit train` does with a batch of 100 images of 28 x 28 pixels that lie in memory: fetch them,
forward, backward, fused Adam, learning rate. `plain` is the same network with the same weights as it is mostly written:
images channels first, a ReLU before each pool, and torch's LocalResponseNorm; it is first seen to give the same
logits. `plain, our norm` has the normalisation of topokit_train in it and nothing else. `sparse` has a tenth of the
weights of conv2 and fc1, wired by a regular twin. `classic` is the network without normalisation. Printed are the
minimum over all processes, the median of the processes' medians, steps a second by that median, and the median of the
processes' speeds over the plain network's.

    python benchmarks/lenet5.py [--threads 2] [--processes 5] [--seconds 10] [--json FILE]
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from _turns import Step, main, noise, step_of

if TYPE_CHECKING:
    from torch import nn

# name: (model, whether it is written plainly, whether torch's normalisation is in it, density of conv2 and fc1)
WAYS: dict[str, tuple[str, bool, bool, str]] = {
    "plain": ("lenet-5", True, True, "1"),
    "plain, our norm": ("lenet-5", True, False, "1"),
    "lenet-5": ("lenet-5", False, False, "1"),
    "lenet-5 sparse": ("lenet-5", False, False, ".1"),
    "classic plain": ("lenet-5-classic", True, False, "1"),
    "classic": ("lenet-5-classic", False, False, "1"),
}
BASE = {name: "classic plain" if model.endswith("classic") else "plain" for name, (model, *_) in WAYS.items()}


def plain(model: Any, torchs_norm: bool) -> nn.Module:
    """A network of the same layers as it is mostly written."""
    from torch import nn

    def norm(own: nn.Module | None) -> nn.Module:
        return nn.LocalResponseNorm(9, alpha=0.001, beta=0.75, k=1) if own and torchs_norm else own or nn.Identity()

    first, second = (nn.MaxPool2d(2), norm(model.norm1)), (norm(model.norm2), nn.MaxPool2d(2))
    dense = [part for name, part in model.named_children() if name.startswith("fc")]
    hidden = [part for layer in dense[:-1] for part in (layer, nn.ReLU())]
    convolutions = (model.conv1, nn.ReLU(), *first, model.conv2, nn.ReLU(), *second)
    return nn.Sequential(*convolutions, nn.Flatten(), *hidden, dense[-1])


def trainer_of(name: str) -> Any:
    """A trainer of that way.

    Raises:
        SystemExit: the plain network gives other logits.
    """
    import torch

    from topokit import Bernoulli, Regular
    from topokit_train.config import TrainConfig
    from topokit_train.training import Trainer

    model, plainly, torchs_norm, density = WAYS[name]
    nets = [Bernoulli(widths=widths, density=density, seed=0) for widths in ((500, 50), (2450, 384))]
    wiring = [] if density == "1" else [Regular(like=net, seed=0) for net in nets]
    config = TrainConfig(model=model, epochs=10**6)
    trainer = Trainer(config, wiring, noise(), device=torch.device("cpu"), kernel="auto")
    if plainly:
        images, ours = trainer.feed.batch(torch.arange(8))[0], trainer.model
        trainer.model = plain(ours, torchs_norm)  # holds the same parameters, so the optimizer is still right
        if not torch.allclose(trainer.model(images), ours(images), atol=1e-4):
            raise SystemExit(f"{name} does not give the logits of {model}")
    return trainer


def stepper(name: str) -> Step:
    """A function that makes one step of that way."""
    return step_of(trainer_of(name))


if __name__ == "__main__":
    main(__file__, __doc__.splitlines()[0], {name: partial(stepper, name) for name in WAYS}, BASE, run=5)
