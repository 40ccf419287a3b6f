"""Each command's options are the parameters of its Python call, with the same defaults."""

import dataclasses
import inspect
from fractions import Fraction
from importlib import import_module

import numpy as np
import pytest
from click import Option
from topokit_cli.main import COMMANDS

import topokit as tk
import topokit_train as tt

SCREEN = "how results are printed"
FILES = {"as_json": SCREEN, "quiet": SCREEN, "verbose": SCREEN}
SAVE = {"output": "Python saves with topokit.save", "force": "of topokit.save"}
CORES = "spawned processes import the caller's program, so Python starts none unasked"

CALLS = {
    "build": (tk.build, {"topology_seed": "seed"}, {}),
    "verify": (tk.verify, {"source": "net"}, {}),
    "info": (tk.profile, {"source": "net"}, {"wanted": "topokit.fingerprint"}),
    "compare": (tk.compare, {"files": "net"}, {"twins": "the command compares files with each other too"}),
    "fit": (tk.fit, {"target": "widths"}, {"widths": "or the target"}),
    "draw": (tk.draw, {"source": "net"}, SAVE | dict.fromkeys(["steps", "kron_steps"], "topokit.drawing.draw_steps")),
    "convert": (tk.convert, {}, {}),
    "mask": (
        tk.masks,
        {"source": "net"},
        SAVE | dict.fromkeys(["model", "image", "applied"], "sparsify(model, net, masked=True) does it to a model"),
    ),
    "extract": (
        tt.extract,
        {},
        SAVE | {"as_masks": "the result's masks", "dry_run": "the result prints the table"},
    ),
    "train": (
        tt.train,
        {"topologies": "topology"},
        {"tune": "kernel='tuned'", "explain_kernel": "topokit_train.explain_kernels"},
    ),
    "prune": (tt.train, {}, {}),
    "evaluate": (tt.evaluate, {"dataset": "data"}, {}),
    "sweep": (tt.sweep, {}, {"workers": CORES}),
    "study": (tt.study, {}, {"workers": CORES}),
    "challenge": (tt.challenge, {}, {"categories": "compare `categories` of the result"}),
}
"""Command -> its call, the options that have other names there, and the exceptions with their reasons."""

SETTINGS = {"train": tt.TrainConfig, "prune": tt.PruneConfig}
SEEDS = "topokit_train.train_seeds"


def empty(value):
    """Whether a default stands for nothing given; click has a sentinel of its own for that."""
    return value is None or value is False or type(value).__name__ == "Sentinel" or value in ((), "default")


def same(one, two):
    if empty(one) and empty(two):
        return True
    return Fraction(str(one)) == two if isinstance(two, Fraction) else one == two


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_options_are_its_calls_parameters(name):
    call, renamed, excepted = CALLS[name]
    parameters = dict(inspect.signature(call).parameters)
    defaults = {key: one.default for key, one in parameters.items()}
    if name in SETTINGS:
        defaults |= {field.name: field.default for field in dataclasses.fields(SETTINGS[name])}
    takes_options = name == "build"  # those of every family, by their own names
    used = set()
    for param in import_module(f"topokit_cli.{name}").command.params:
        if param.name in {**FILES, **excepted} or (name in SETTINGS and param.name == "seeds"):
            assert SEEDS
            used.add(param.name)
            continue
        key = renamed.get(param.name, param.name)
        assert key in defaults or takes_options, f"{call.__name__} has no parameter {key}"
        if isinstance(param, Option) and not param.required and key in defaults:
            assert same(param.default, defaults[key]), f"{key}: {param.default!r} and {defaults[key]!r}"
    assert set(excepted) <= used, "an exception that is none"


def test_the_table_of_calls_is_complete():
    assert set(CALLS) == set(COMMANDS)


def test_one_text_with_commas_names_several_as_on_the_command_line():
    nn = pytest.importorskip("torch.nn")
    net = tk.build(radices=[(2, 2)])
    assert list(tk.masks(net, "a, b")) == list(tk.masks(net, ["a", "b"])) == ["a", "b"]
    assert [*tk.masks(tk.Topology.from_dense([np.eye(2)]), "a,b")] == ["a,b"]  # one layer has one name
    assert tk.Topology.from_dense([np.eye(2)] * 2, names="a,b").names == ("a", "b")
    assert tk.Topology.from_dense([np.eye(2)], names="a,b").names == ("a,b",)
    assert [one.check for one in tk.verify(net, "density,regularity").results] == ["regularity", "density"]
    assert {*tk.profile(net, "reach,paths").measures} == {"reach", "paths"}
    assert tt.PruneConfig(to=[0.5], keep="fc1,fc2").keep == ("fc1", "fc2")
    model = tt.sparsify(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)), net, "0,2", masked=True)
    assert [name for name, _ in model.named_buffers()] == ["0.weight_mask", "2.weight_mask"]
    state = {"a.weight": np.eye(4), "b.weight": np.ones((2, 4))}
    assert tt.extract(state, layers="a,b").topology == tk.extract(state, layers=["a", "b"])
    with pytest.raises(tk.TopokitError, match="no check named 'b'"):
        tk.verify(net, "density,b")
