"""Runs' names: equal for equal work, and unlike for unlike work; test_release_0_1_0.py has those of a release."""

import dataclasses

import numpy as np
import pytest
import safetensors.numpy

import topokit as tk
from topokit.fields import option
from topokit_train.config import FUNCTIONS, TrainConfig
from topokit_train.pruning.config import PruneConfig
from topokit_train.sweeps.planned import NAMED, WHERE


def test_where_a_run_is_done_is_not_in_its_name(runs_of):
    (here,), (there,) = runs_of("[[runs]]"), runs_of("[[runs]]", data_dir="x", device="cpu", threads=3)
    assert (there.config.threads, there.name) == (3, here.name)


@pytest.mark.parametrize("change", ["epochs = 2", "seed = 1", "lr = 0.1", "kernel = 'csr'", "topology = 'net'"])
def test_whatever_changes_the_result_changes_the_name(runs_of, tmp_path, change):
    tk.save(tk.RadixNet(radices=[(2,)]), tmp_path / "net")
    one, two = runs_of(f"[[runs]]\n[[runs]]\n{change}")
    assert one.name != two.name


def test_labels_and_tags_are_not_in_the_name(runs_of):
    one, two = runs_of("[[runs]]\nlabel = 'a'\ntags = { arm = 'x' }\n[[runs]]")
    assert one.name == two.name


def test_a_file_counts_by_what_is_in_it(runs_of, tmp_path):
    net = tk.RadixNet(radices=[(2, 3)])
    tk.save(net, tmp_path / "one.safetensors")
    tk.save(net, tmp_path / "two.npz", to="npz")
    tk.save(tk.reverse(net), tmp_path / "three.safetensors")
    for name, value in (("w1", 1), ("w2", 1), ("w3", 2)):
        (tmp_path / name).write_bytes(safetensors.numpy.save({"fc1.weight": np.full((2, 2), value, np.float32)}))
    files = ("one.safetensors", "two.npz", "three.safetensors")
    runs = runs_of("".join(f"[[runs]]\ntopology = '{name}'\n" for name in files))
    assert runs[0].name == runs[1].name != runs[2].name
    runs = runs_of("[[runs]]\neach.weights = ['w1', 'w2', 'w3']")
    assert len(runs) == 2
    assert len({run.name for run in runs}) == 2


def test_images_of_ones_own_count_by_what_they_are(runs_of, tmp_path, make_idx):
    for name, brightness in (("one", 1), ("two", 1), ("three", 3)):
        make_idx(tmp_path / name, brightness)
    runs = runs_of("[[runs]]\neach.dataset = ['idx:one', 'idx:two', 'idx:three']")
    assert len(runs) == 2
    (run,) = runs_of("[[runs]]\ndataset = 'idx:one'")
    assert run.name == runs[0].name
    make_idx(tmp_path / "one", 3)
    (run,) = runs_of("[[runs]]\ndataset = 'idx:one'")
    assert run.name == runs[1].name


def test_seeds_of_one_wiring_are_a_stack(runs_of):
    runs = runs_of("""
        [[runs]]
        each.lr = [0.1, 0.2]
        each.seed = "0-1"
        [[runs]]
        model = "lenet-5"
        each.seed = "0-1"
        [[runs]]
        topology = { family = "bernoulli", widths = [784, 300, 100], density = 0.1 }
        each.seed = "0-1"
    """)
    assert runs[0].stack == runs[1].stack
    assert len({run.stack for run in runs}) == 2 + 2 + 2


def test_a_later_setting_renames_no_run_that_leaves_it_at_its_default(runs_of):
    (run,) = runs_of("[[runs]]\nepochs = 1")

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Later(TrainConfig):
        clip: float | None = option("Clipping.", kind="number", default=1.0)
        rule: str | None = option("Rule.", kind="text", default=None)

    settings = run.config.to_json()
    names = [
        dataclasses.replace(run, config=Later(**settings, **later)).name
        for later in ({}, {"clip": 1.0, "rule": None}, {"clip": 2.0}, {"rule": "x"})
    ]
    assert names[:2] == [run.name] * 2
    assert len({run.name, *names}) == 3


@pytest.mark.parametrize("config", [TrainConfig(), PruneConfig()])
def test_every_setting_of_today_is_in_the_names(config):
    new = {*FUNCTIONS, "better", "weight_decay"}  # since 0.1.0: in the name only if they are given
    assert set(config.to_json()) - set(WHERE) - new <= NAMED
