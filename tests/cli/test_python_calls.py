"""Each command's options are the parameters of its Python call, with the same defaults."""

import dataclasses
import inspect
from fractions import Fraction
from importlib import import_module

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
