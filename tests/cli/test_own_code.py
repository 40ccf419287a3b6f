"""Mistakes in a user's own files: the message names the part that failed, its line, and what to do."""

import pytest

MINE = """
import math
import numpy as np
import topokit_train
from torch import nn

def net(input_shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), outputs))

def lazy(input_shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(outputs))

def narrow(input_shape, outputs):
    return nn.Sequential(net(input_shape, outputs), Narrow())

class Narrow(nn.Module):
    def forward(self, x):
        return x @ x

def undefined(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets) * math.nan

class Breaks(topokit_train.Method):
    def after_step(self, trainer):
        raise ValueError("no more")

class Forgets(topokit_train.Method):
    def end(self, trainer):
        return None

def data():
    return np.zeros((40, 1, 3, 3), np.float32), np.arange(40) % 4, np.zeros((8, 1, 3, 3), np.float32), np.arange(8) % 4

def negative():
    inputs, targets, *test = data()
    return topokit_train.dataset((inputs, targets - 1), tuple(test))
"""
DATA = ("--dataset", "mine.py:data", "--epochs", "1")
NET = (*DATA, "--model", "mine.py:net")
NARROW = (*DATA, "--model", "mine.py:narrow")


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("train", *NET, "--method", "mine.py:Breaks"), 1, "topokit: Breaks failed in line 25 of mine.py: ValueError"),
        (("train", *NARROW), 1, "topokit: mine.py:narrow failed in line 18 of mine.py: RuntimeError"),
        (("train", *NARROW, "--method", "mine.py:Breaks"), 1, "topokit: mine.py:narrow failed in line 18 of mine.py"),
        (("train", *NET, "--method", "mine.py:Forgets"), 1, "Forgets.end() takes 2 positional arguments"),
        (("train", *NET, "--loss", "mine.py:undefined"), 1, "the loss mine.py:undefined is nan in epoch 1 of seed 0"),
        (
            ("train", *DATA, "--model", "mine.py:lazy", "--topology", "bernoulli widths=9,4 density=.5 seed=0"),
            2,
            "call the model once, such as model(torch.zeros(1, *input_shape))",
        ),
        (("prune", *DATA, "--model", "mine.py:lazy", "--to", ".5"), 2, "1.weight has no shape yet"),
        (
            ("train", "--dataset", "mine.py:negative"),
            2,
            "4 classes are labelled 0 to 3; correct it or classes (in line",
        ),
    ],
)
def test_the_part_that_failed_is_named(topokit, tmp_path, args, code, said):
    (tmp_path / "mine.py").write_text(MINE)
    run = topokit(*args, "--run", "run")
    assert (run.code, run.out) == (code, "")
    assert "Traceback" not in run.err
    assert said in run.err.splitlines()[-1]
