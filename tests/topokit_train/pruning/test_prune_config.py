"""PruneConfig: its defaults, and what it refuses."""

import json
import subprocess
import sys
from fractions import Fraction

import pytest

from topokit.errors import InvalidSpecError
from topokit_train.config import TrainConfig
from topokit_train.pruning.config import PruneConfig, config_from_json


def test_defaults_depend_on_the_method():
    def own(config):
        others = TrainConfig().to_json().keys() - {"method"}  # there it is a user's
        return {name: value for name, value in config.to_json().items() if name not in others}

    rest = {"keep": (), "biases": False, "rewind": None}
    gradual = {"method": "gradual", "to": (0.9,), "scope": "layer", "begin": 0.2, "end": 0.7}
    assert own(PruneConfig()) == gradual | {"every": None, "threshold": None} | rest
    one_time = rest | {"method": "one-time", "begin": None, "end": None, "every": None}
    assert own(PruneConfig(method="one-time")) == one_time | {"to": (0.9,), "scope": "layer", "threshold": None}
    below = {"to": None, "scope": None, "threshold": 0.1, "biases": True}
    assert own(PruneConfig(method="one-time", threshold="1/10", biases=True)) == one_time | below
    assert PruneConfig(to=(".5", Fraction(9, 10), 0.95)).to == (0.5, 0.9, 0.95)
    assert PruneConfig(to=0.5).to == (0.5,)
    assert PruneConfig(keep="fc3").keep == ("fc3",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "magic"}, "method must be one of gradual, one-time, not 'magic'"),
        ({"to": (0,)}, "to must be above 0 and below 1, not 0: nothing would be pruned"),
        ({"to": (0.5, 1)}, "to must be above 0 and below 1, not 1: no weight would be left"),
        ({"to": (-0.5,)}, "to must be above 0"),
        ({"to": (90,)}, "below 1, not 90"),
        ({"to": (0.9, 0.5)}, "to must ascend, each sparsity once: 0.5 comes after 0.9"),
        ({"to": (0.5, 0.5)}, "to must ascend, each sparsity once: 0.5 comes after 0.5"),
        ({"to": ()}, "to needs at least one sparsity"),
        ({"to": ("half",)}, "to must be numbers"),
        ({"to": (float("nan"),)}, "to must be numbers"),
        ({"scope": "node"}, "scope must be one of layer, global, not 'node'"),
        ({"begin": 0.7}, "begin 0.7 must be before end 0.7"),
        ({"begin": 0.9, "end": 0.1}, "begin 0.9 must be before end 0.1"),
        ({"begin": -0.1}, "begin must be a number from 0 to 1, not -0.1"),
        ({"end": 7000}, "end must be a number from 0 to 1, not 7000"),
        ({"every": 0}, "every must be a number above 0 and at most 1"),
        ({"every": 200}, "every must be a number above 0 and at most 1"),
        ({"threshold": 0.1}, "threshold has no use with method gradual"),
        ({"method": "one-time", "begin": 0.2}, "begin has no use with method one-time"),
        ({"method": "one-time", "end": 0.2}, "end has no use with method one-time"),
        ({"method": "one-time", "every": 0.2}, "every has no use with method one-time"),
        ({"method": "one-time", "threshold": 0.1, "to": 0.5}, "to has no use with threshold"),
        ({"method": "one-time", "threshold": 0.1, "scope": "global"}, "scope has no use with threshold"),
        ({"method": "one-time", "threshold": 0}, "threshold must be a number above 0, not 0"),
        ({"method": "one-time", "threshold": -1}, "threshold must be a number above 0, not -1"),
        ({"method": "one-time", "threshold": float("inf")}, "threshold must be a number above 0, not inf"),
        ({"method": "one-time", "threshold": 10**400}, "threshold must be a number above 0, not 1000"),
        ({"biases": True}, "biases needs threshold"),
        ({"biases": "yes"}, "biases must be true or false"),
        ({"rewind": "early"}, "rewind must be initial or a number of epochs, not 'early'"),
        ({"rewind": "-1"}, "rewind must be initial or a number of epochs"),
        ({"rewind": "0"}, "rewind must be at least 1"),
        ({"keep": (3,)}, "keep must be a name or several, not (3,)"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"model": "lenet-300"}, "did you mean lenet-300-100"),
    ],
)
def test_what_is_refused_and_how(settings, message):
    with pytest.raises(InvalidSpecError) as refused:
        PruneConfig(**settings)
    assert message in str(refused.value)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(seed=3),
        PruneConfig(to=(0.5, 0.95), keep=["fc3"], rewind="2", every=0.1),
        PruneConfig(method="one-time", threshold=0.05, biases=True),
    ],
)
def test_json_there_and_back_keeps_the_kind(config):
    back = config_from_json(json.loads(json.dumps(config.to_json())))
    assert back == config
    assert type(back) is type(config)


def test_it_loads_no_torch():
    code = (
        "import sys; from topokit_train.pruning.config import PruneConfig as C; C(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
