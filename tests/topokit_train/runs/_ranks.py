"""What each process does that torchrun starts for test_parallel.py: `_ranks.py FOLDER` trains runs into that folder.

What a process saw goes to FOLDER/rank<N>.json. Networks are trained in float64, see the fixture `float64`.
"""

import hashlib
import json
import runpy
import sys
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from click.testing import CliRunner
from topokit_cli.main import topokit

from topokit import Bernoulli
from topokit.errors import TopokitError
from topokit.topologies import fingerprint
from topokit_train import dataset, load_dataset
from topokit_train.config import TrainConfig
from topokit_train.layers import choice
from topokit_train.pruning.config import PruneConfig
from topokit_train.ranks import this_rank
from topokit_train.runs import jobs
from topokit_train.runs.topologies import default_topology
from topokit_train.runs.train import train, train_seeds
from topokit_train.training import Trainer

# 397 images: four batches whose halves differ, and a last one of a single image, of which one process gets nothing
UNEVEN = {"epochs": 2, "batch_size": 99, "validation": 1040}
DIGITS = load_dataset("digits")
FEW = dataset(
    (DIGITS.train_inputs[:100], DIGITS.train_targets[:100]), (DIGITS.test_inputs[:60], DIGITS.test_targets[:60])
)
REWIRE = f"{Path(__file__).parents[3] / 'docs' / 'examples' / 'rewire.py'}:Rewire every=2 fraction=.2"
RUNS = {
    "sparse": partial(train, TrainConfig(**UNEVEN), default_topology()),
    "convolutions": partial(
        train, TrainConfig(model="lenet-5", epochs=1, batch_size=33, lr=0.002, l2=0.01), None, data=FEW
    ),
    "seeds": partial(train_seeds, TrainConfig(**UNEVEN, relu_logits=True), None, (3, 5)),
    "rewired": partial(train, TrainConfig(**UNEVEN, method=REWIRE), default_topology()),
    "pruned": partial(train, PruneConfig(**UNEVEN, to=(0.5, 0.9), rewind="initial"), None),
}


def digest(tensors):
    return hashlib.sha256(b"".join(tensor.detach().numpy().tobytes() for tensor in tensors)).hexdigest()


def ended(work):
    """How a piece of work failed."""
    try:
        work()
    except (TopokitError, KeyboardInterrupt) as error:
        return [type(error).__name__, str(error), getattr(error, "quiet", None)]
    return None


class Seen:
    """The weights and masks of each network that is trained, at its end."""

    def __init__(self):
        self.results_of, self.weights, self.kernels, self.edges = jobs.results_of, [], [], []

    def __call__(self, trainer, folders):
        self.weights.append(digest(trainer.parameters))
        self.kernels.append(trainer.kernels)
        self.edges.append([fingerprint(net) for net in trainer.topologies])
        return self.results_of(trainer, folders)


def interrupted(self, *arguments):
    if self.epochs_done:
        raise KeyboardInterrupt
    return run_epoch(self, *arguments)


def disturbed(self, *arguments):
    """A step whose last bits, and more, depend on the machine."""
    losses = step(self, *arguments)
    with torch.no_grad():
        for parameter in self.parameters:
            parameter.add_(1e-4 * torch.randn(parameter.shape) * this_rank().rank)
    return losses


def stopwatch(_work, _layer, _device, _dtype, name):
    """Times of kernels that are not alike in two processes."""
    return float((name == "csr") == this_rank().first)


run_epoch, step = Trainer.run_epoch, Trainer.step
CONFTEST = Path(__file__).parents[1] / "conftest.py"
IN_FLOAT64 = patch.object(Trainer, "__init__", runpy.run_path(str(CONFTEST))["in_float64"])


def main(folder):
    seen, told = Seen(), {}
    with patch.object(jobs, "results_of", seen):
        told["results"] = {}
        for name, run in RUNS.items():
            results = run(run=folder / name)
            each = results if isinstance(results, list) else [results]
            told["results"][name] = [result.to_json() | {"train_seconds": 0} for result in each]

        again = partial(RUNS["sparse"], run=folder / "resumed")
        with patch.object(Trainer, "run_epoch", interrupted):
            told["interrupted"] = ended(again)
        again(resume=True)

        with patch.object(Trainer, "step", disturbed):
            RUNS["pruned"](run=folder / "disturbed")
        with patch.object(choice, "measured", stopwatch), patch.object(choice, "_remembered", times):
            train(TrainConfig(epochs=1, batch_size=300, kernel="tuned"), default_topology(), run=folder / "tuned")

        twin = Bernoulli(widths=(784, 300, 100), density=".1", seed=this_rank().rank)
        told["twins"] = ended(lambda: train(TrainConfig(epochs=1), twin, run=folder / "twins"))
        told["taken"] = ended(lambda: train(TrainConfig(epochs=1), None, run=folder / "sparse"))
        epochs = TrainConfig(epochs=1 + this_rank().rank)
        told["epochs"] = ended(lambda: train(epochs, None, run=folder / "epochs"))
        no_data = TrainConfig(dataset="mnist" if this_rank().rank else "digits", data_dir=folder)
        with patch("topokit_train.datasets.published.Published._download", side_effect=TopokitError("no network")):
            told["data"] = ended(lambda: train(no_data, None, run=folder / "data"))
    command = CliRunner().invoke(topokit, ["train", "--epochs", "1", "--json", "--run", str(folder / "command")])
    told |= {"stdout": command.stdout, "stderr": command.stderr, "exit": command.exit_code}
    told |= {"weights": seen.weights, "kernels": seen.kernels, "edges": seen.edges}
    (folder / f"rank{this_rank().rank}.json").write_text(json.dumps(told))


def times(layer, device, dtype, names, work):
    return {name: choice.measured(work, layer, device, dtype, name) for name in names}


if __name__ == "__main__":
    with IN_FLOAT64:
        main(Path(sys.argv[1]))
