"""A hundred mistakes in Python: each is one error of ours that says what was given and what is allowed."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import topokit as tk
import topokit_train as tt
from topokit.errors import MissingDependencyError
from topokit_train import PruneConfig, TrainConfig

NET = tk.RadixNet(radices=[(2, 3)])
ONE = tk.Bernoulli(widths=(6, 4), density=0.5, seed=0)
MODEL = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
X, Y = np.zeros((8, 6), np.float32), np.arange(8) % 2
GRID = {"runs": [{"epochs": 1}]}


def sweep(grid, **more):
    return tt.sweep(grid, "out", **more)


def config(**settings):
    return lambda: TrainConfig(**settings)


def run(**more):
    return lambda: tt.train(TrainConfig(epochs=1), "dense", **more)


MISTAKES = [
    # families
    (lambda: tk.RadixNet(radixes=[(2, 2)]), "did you mean radices"),
    (lambda: tk.RadixNet(), "radix-net needs radices"),
    (lambda: tk.RadixNet(radices=3), "radices"),
    (lambda: tk.RadixNet(radices=[(2, 1.5)]), "1.5"),
    (lambda: tk.RadixNet(radices=[(2, 2)], kron=(1, 2)), "kron"),
    (lambda: tk.Bernoulli(widths=(6, 4), density=0.5), "bernoulli needs seed"),
    (lambda: tk.Bernoulli(widths=(6, 4), density=0.5, seed=-1), "at least 0, not -1"),
    (lambda: tk.Bernoulli(widths=(6, 4), density=0.5, seed=1.0), "seed"),
    (lambda: tk.Bernoulli(widths=(6, 4), density=1.5, seed=0), "density"),
    (lambda: tk.Bernoulli(widths=(6, 4), density="half", seed=0), "half"),
    (lambda: tk.Bernoulli(widths=6, density=0.5, seed=0), "widths"),
    (lambda: tk.Bernoulli(widths=(6,), density=0.5, seed=0), "widths"),
    (lambda: tk.Bernoulli(widths=(6, 0), density=0.5, seed=0), "widths"),
    (lambda: tk.Bernoulli(widths=(6, 4, 3), density=[0.5, 0.5, 0.5], seed=0), "3 numbers"),
    (lambda: tk.Bernoulli(widths=(6, 4), density=0.5, allocation="erdos", seed=0), "allocation"),
    (lambda: tk.Regular(like=[NET], seed=0), "must be a topology, not list"),
    (lambda: tk.FixedFanIn(widths=(6, 4), fan_in=7, seed=0), "7"),
    # descriptions and files
    (lambda: tk.topology("radix-nett radices=2,2"), "did you mean radix-net"),
    (lambda: tk.topology("radix-net radices=two"), "two"),
    (lambda: tk.topology("bernoulli widths=6,4 density=.5"), "has no seed"),
    (lambda: tk.topology(""), "empty"),
    (lambda: tk.topology("fc1: radix-net radices=2,2"), "weights of a model"),
    (lambda: tk.topology("nothing.safetensors"), "there is no file"),
    (lambda: tk.topology(b"radix-net"), "not bytes"),
    (lambda: tk.topology(MODEL), "must be a topology, not Sequential"),
    (lambda: tk.load("nothing.safetensors"), "cannot read nothing.safetensors"),
    (lambda: tk.load(3), "must be a path"),
    (lambda: tk.load(""), "empty name"),
    (lambda: tk.load(__file__), "none of the formats"),
    (lambda: tk.load(Path(__file__).parent), "no layer files"),
    (lambda: tk.save(NET, "net.xyz"), ".xyz"),
    (lambda: tk.save("net.safetensors", NET), "net.safetensors"),
    (lambda: tk.save(NET, "missing/net.npz"), "missing"),
    (lambda: tk.save(NET, "net.npz", to="numpy"), "no format named"),
    (lambda: tk.convert(NET, "net.csv"), "csv"),
    (lambda: tk.build("radix-net radices=2,2", seed=0), "not both"),
    (lambda: tk.build(), "no topology"),
    (lambda: tk.build(family="radix", radices=[(2, 2)]), "radix-net"),
    # matrices and masks
    (lambda: tk.from_dense(3), "3"),
    (lambda: tk.from_dense(np.zeros(3)), "dimension"),
    (lambda: tk.from_dense([np.ones((2, 3)), np.ones((2, 3))]), "must be equal"),
    (lambda: tk.from_scipy(np.ones((2, 3))), "scipy"),
    (lambda: tk.from_masks([np.ones((2, 3))]), "must be a dictionary"),
    (lambda: tk.from_masks({"fc1": np.full((2, 3), 0.5)}), "0 and 1"),
    (lambda: tk.from_masks({"fc1": np.ones(3)}), "shape"),
    (lambda: tk.from_masks({"a": np.ones((3, 2)), "b": np.ones((2, 4))}), "chain"),
    (lambda: tk.from_masks({}), "no masks"),
    (lambda: tk.masks(NET, "fc1"), "1 name for 2 layers"),
    (lambda: tk.masks(NET, ["a", "a"]), "must differ"),
    (lambda: tk.masks(NET, [1, 2]), "must be a name"),
    # checks, measures, comparison
    (lambda: tk.verify(NET, "densty"), "did you mean density"),
    (lambda: tk.verify(NET, method="fast"), "auto, exact, probe"),
    (lambda: tk.verify(NET, workers=0), "at least 1"),
    (lambda: tk.profile(NET, "path"), "path"),
    (lambda: tk.profile(ONE[0]), "not Layer"),
    (lambda: tk.compare(NET, twins=1), "at least 2"),
    (lambda: tk.compare(NET, kind="random"), "random"),
    (lambda: tk.crop(NET, (6, 7, 6)), "7"),
    # fit, draw, extract
    (lambda: tk.fit((784, 300, 100)), "needs density"),
    (lambda: tk.fit((784, 300, 100), 5), "at most 1"),
    (lambda: tk.fit("784-300-100"), "784-300-100 at 95 %"),
    (lambda: tk.fit((784, 300), 0.1, limit=0), "limit"),
    (lambda: tk.draw(NET, style="edge"), "edges"),
    (lambda: tk.draw(NET, trace=6), "0 to 5"),
    (lambda: tk.draw(NET, trace="all"), "trace"),
    (lambda: tk.extract("model.pt"), "read_weights"),
    (lambda: tk.extract(MODEL), "state_dict"),
    (lambda: tk.extract(MODEL.state_dict(), layers="fc9"), "fc9"),
    (lambda: tk.extract(MODEL.state_dict(), keep=2), "keep"),
    (lambda: tk.extract(MODEL.state_dict(), rule="zero"), "zero"),
    # models
    (lambda: tt.sparsify(MODEL, NET), "6 -> 6"),
    (lambda: tt.sparsify(NET, MODEL), "nn.Module"),
    (lambda: tt.sparsify(MODEL, ONE, "fc1"), "fc1"),
    (lambda: tt.sparsify(MODEL, {"fc1": ONE}), "fc1"),
    (lambda: tt.sparsify(MODEL, {"0": np.ones((3, 6))}), "shape"),
    (lambda: tt.sparsify(MODEL, ONE, kernel="fast"), "fast"),
    (lambda: tt.sparsify(MODEL, ONE, init="random"), "random"),
    # settings and data
    (config(epoch=3), "did you mean epochs"),
    (config(epochs="3"), "epochs"),
    (config(lr=-1), "lr"),
    (config(seed=-1), "seed"),
    (config(dataset="mnst"), "mnist"),
    (config(model="lenet"), "lenet-300-100"),
    (config(device="gpu"), "cuda"),
    (lambda: PruneConfig(to=90), "below 1"),
    (lambda: tt.train({"epochs": 1}), "TrainConfig"),
    (lambda: tt.train(TrainConfig(), 3), "not int"),
    (lambda: tt.prune(TrainConfig()), "PruneConfig"),
    (lambda: tt.train_seeds(TrainConfig(), "dense", 3), "seeds"),
    (lambda: tt.train_seeds(TrainConfig(), "dense", [0, 0]), "different"),
    (run(data=(X, Y)), "x_test"),
    (run(data=(X, Y, X[:3], Y)), "3"),
    (run(data=(X, Y - 1, X, Y)), "-1"),
    (run(data=(X.astype(str), Y, X, Y)), "type"),
    (run(method="Pruner"), "topokit_train.Method"),
    (run(callbacks=[print]), "topokit_train.Callback"),
    (run(model=3), "model"),
    (run(resume=True), "run"),
    (lambda: tt.evaluate("nothing"), "nothing"),
    (lambda: tt.load_run(None), "must be a path"),
    # sweeps and studies
    (lambda: sweep({"epochs": 1}), "runs"),
    (lambda: sweep({"runs": []}), "no runs"),
    (lambda: sweep({"runs": [{"epoch": 1}]}), "epochs"),
    (lambda: sweep("nothing.toml"), "cannot read"),
    (lambda: sweep(3), "TOML file or a dictionary, not int"),
    (lambda: tt.sweep(GRID), "needs out"),
    (lambda: sweep(GRID, workers=0), "at least 1"),
    (lambda: sweep(GRID, workers=None), "must be integers of at least 1, not None"),
    (lambda: sweep({1: 2}), "is named '1'"),
    (lambda: sweep({"runs": [{"model": nn.Linear}]}), "as FILE.py:NAME"),
    (lambda: sweep({"runs": [{"topology": tk.from_dense(np.eye(4))}]}), "save it to a file"),
    (lambda: tt.study("training"), "training-behavior"),
    (lambda: tt.study("training-behavior", budget="tiny"), "smoke"),
    (lambda: tt.challenge(NET, "images.tsv"), "bias"),
    (lambda: tt.challenge(NET, "images.tsv", bias=-0.3, engine="torch"), "graphblas, fast"),
]


@pytest.mark.parametrize(("mistake", "said"), MISTAKES, ids=[f"{i}-{said}" for i, (_, said) in enumerate(MISTAKES)])
def test_a_mistake_is_one_error_of_ours(mistake, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(tk.TopokitError) as caught:
        mistake()
    message = str(caught.value)
    assert said in message
    assert len(message) < 600
    assert "--" not in message, "flags are the command line's language"


def test_there_are_a_hundred():
    assert len(MISTAKES) >= 100


def test_numbers_of_numpy_and_torch_are_numbers():
    net = tk.Bernoulli(widths=np.array([6, 4]), density=np.float32(0.5), seed=np.int64(0))
    assert net == tk.Bernoulli(widths=[6, 4], density=0.5, seed=0)
    assert TrainConfig(epochs=np.int64(3), lr=np.float64(0.1), seed=np.uint8(2)).epochs == 3
    masks = {"fc1.weight": torch.ones(4, 6, dtype=torch.bool)}
    assert tk.from_masks(masks).edges == 24
    assert tk.extract(MODEL.state_dict(), layers="0").widths == (6, 4)


def test_a_missing_pandas_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match=r"topokit\[pandas\]"):
        tk.verify(NET).to_frame()
