"""How many training steps of LeNet-300-100 a second: dense, sparse, and many seeds stacked in one program.

A step is what `topokit train` does with a batch of 100 images of 28 x 28 pixels that lie in memory: fetch them,
forward, backward, fused Adam, learning rate. `radix` is the default topology, 90 % sparse. A stack of K networks makes
K steps at once; `shared` networks see the same batches (`--order-seed`), `own` ones their own. Printed are the minimum
over all processes, the median of the processes' medians, network-steps a second by that median, and the median of the
processes' speeds over one dense network's.

    python benchmarks/lenet.py [--threads 2] [--processes 5] [--seconds 10] [--json FILE]
"""

from __future__ import annotations

from functools import partial

from _turns import Step, main, noise, step_of

# name: (sparse or not, kernel, networks, whether they share batches)
WAYS: dict[str, tuple[bool, str, int, bool]] = {
    "dense": (False, "auto", 1, True),
    "masked": (True, "masked", 1, True),
    "csr": (True, "csr", 1, True),
    "radix": (True, "auto", 1, True),
    "dense x 8, own": (False, "auto", 8, False),
    "dense x 8, shared": (False, "auto", 8, True),
    "radix x 8, own": (True, "auto", 8, False),
    "radix x 8, shared": (True, "auto", 8, True),
    "radix x 16, own": (True, "auto", 16, False),
    "radix x 16, shared": (True, "auto", 16, True),
}


def stepper(name: str) -> Step:
    """A function that makes one step of that way."""
    import torch

    from topokit_train.config import TrainConfig
    from topokit_train.runs.topologies import default_topology
    from topokit_train.training import Trainer

    sparse, kernel, networks, shared = WAYS[name]
    config = TrainConfig(epochs=10**6, order_seed=0 if shared else None)
    topology = default_topology() if sparse else None
    return step_of(Trainer(config, topology, noise(), device=torch.device("cpu"), kernel=kernel, seeds=range(networks)))


if __name__ == "__main__":
    main(
        __file__,
        __doc__.splitlines()[0],
        {name: partial(stepper, name) for name in WAYS},
        dict.fromkeys(WAYS, "dense"),
        {name: networks for name, (_, _, networks, _) in WAYS.items()},
    )
