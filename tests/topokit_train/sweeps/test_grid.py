"""Grids: which runs they ask for, and what is refused."""

import pytest

import topokit as tk
from topokit.errors import FileFormatError, InvalidSpecError, TopokitError
from topokit_train.pruning.config import PruneConfig
from topokit_train.sweeps.grid import read_grid

NET = {"radices": [[2, 2]], "kron": [196, 4, 4]}


def test_axes_are_combined_and_the_last_changes_fastest(runs_of):
    runs = runs_of("""
        [[runs]]
        each.recipe = ["modern", "paper"]
        each.seed = "0-1,7"
    """)
    assert [(run.config.recipe, run.config.seed) for run in runs] == [
        (recipe, seed) for recipe in ("modern", "paper") for seed in (0, 1, 7)
    ]
    assert [run.axes for run in runs] == ["recipe=modern"] * 3 + ["recipe=paper"] * 3
    assert {run.label for run in runs} == {"runs-1"}


def test_an_entry_prevails_over_the_defaults_and_an_axis_over_both(runs_of):
    runs = runs_of("""
        [defaults]
        epochs = 3
        lr = 0.5
        to = [0.5]
        [[runs]]
        epochs = 4
        each.lr = [0.1, 0.2]
        [[runs]]
        command = "prune"
    """)
    assert [(run.config.epochs, run.config.lr) for run in runs] == [(4, 0.1), (4, 0.2), (3, 0.5)]
    assert isinstance(runs[2].config, PruneConfig)
    assert runs[2].config.to == (0.5,)


def test_a_topology_is_a_default_of_the_runs_that_train(runs_of):
    runs = runs_of("""
        [defaults]
        topology = "bernoulli widths=784,10 density=.1 seed=0"
        [[runs]]
        [[runs]]
        topology = "dense"
        [[runs]]
        command = "prune"
    """)
    assert [len(run.topologies) for run in runs] == [1, 0, 0]


def test_axes_reach_into_a_topology(runs_of, tmp_path):
    runs = runs_of("""
        [[runs]]
        topology = { family = "bernoulli", widths = [784, 10] }
        each.topology.density = [0.1, 0.2]
        each.topology.seed = [5, 6]
    """)
    nets = [run.topologies[0].open(tmp_path)[0] for run in runs]
    expected = [tk.Bernoulli(widths=(784, 10), density=d, seed=s) for d in ("0.1", "0.2") for s in (5, 6)]
    assert list(map(tk.fingerprint, nets)) == list(map(tk.fingerprint, expected))
    assert runs[3].axes == "topology.density=0.2, topology.seed=6"


def test_what_is_random_is_drawn_by_the_runs_seed_unless_it_has_one(runs_of, tmp_path):
    table = "{ radices = [[2, 2]], kron = [196, 4, 4], random_equivalent = 'regular' "
    runs = runs_of(f"""
        [[runs]]
        label = "drawn"
        topology = {table}}}
        each.seed = "3-4"
        [[runs]]
        label = "one"
        topology = {table}, seed = 4 }}
        each.seed = "3-4"
    """)
    found = [tk.fingerprint(run.topologies[0].open(tmp_path)[0]) for run in runs]
    net = tk.RadixNet(**NET)
    three, four = (tk.fingerprint(tk.Regular.twin_of(net, seed)) for seed in (3, 4))
    assert found == [three, four, four, four]


@pytest.mark.parametrize(
    "how", ["family = 'regular'", "random_equivalent = 'regular'", "random_equivalent = 'bernoulli'"]
)
def test_twins_of_a_file_are_drawn_by_the_runs_seed_and_named_by_what_it_holds(runs_of, tmp_path, how):
    net = tk.Topology.from_dense([tk.Bernoulli(widths=(30, 20), density=".3", seed=1).layer(0).to_dense()])
    tk.save(net, tmp_path / "net.safetensors")
    text = f"[[runs]]\ntopology = {{ {how}, like = 'net.safetensors' }}\neach.seed = [3, 4]\n"
    runs = runs_of(text)
    family = tk.Bernoulli if "bernoulli" in how else tk.Regular
    found = [tk.fingerprint(run.topologies[0].open(tmp_path)[0]) for run in runs]
    assert found == [tk.fingerprint(family.twin_of(net, seed)) for seed in (3, 4)]
    (tmp_path / "net.safetensors").rename(tmp_path / "renamed.safetensors")
    assert [run.name for run in runs_of(text.replace("net.", "renamed."))] == [run.name for run in runs]
    tk.save(tk.reverse(net), tmp_path / "net.safetensors")
    assert not {run.name for run in runs_of(text)} & {run.name for run in runs}
    with pytest.raises(InvalidSpecError, match="has changed since the sweep started: restore it"):
        runs[0].topologies[0].open(tmp_path)


def test_a_twin_of_what_a_pruning_run_leaves_waits_for_it_too(runs_of, tmp_path):
    runs = runs_of("""
        [[runs]]
        label = "pruned"
        command = "prune"
        each.seed = "0-1"
        [[runs]]
        topology = { pruned = "pruned", sparsity = 0.9, random_equivalent = "regular" }
        each.seed = "0-1"
    """)
    assert [run.needs for run in runs[2:]] == [(run.name,) for run in runs[:2]]
    net = tk.Bernoulli(widths=(30, 20), density=".3", seed=1)
    (tmp_path / runs[1].name).mkdir()
    tk.save(net, tmp_path / runs[1].name / "topology-0.9.safetensors")
    twin = runs[3].topologies[0].open(tmp_path)[0]
    assert tk.fingerprint(twin) == tk.fingerprint(tk.Regular.twin_of(net, 1))


def test_files_are_looked_for_beside_the_grid(runs_of, tmp_path, monkeypatch):
    net = tk.RadixNet(**NET)
    tk.save(net, tmp_path / "net.safetensors")
    tk.save(tk.RadixNet(radices=[(2,)], kron=(2, 5)), tmp_path / "other.safetensors")
    monkeypatch.chdir(tmp_path.parent)
    text = """
        [[runs]]
        topology = ["net.safetensors", "other.safetensors"]
    """
    runs = runs_of(text)
    assert tk.fingerprint(runs[0].topologies[0].open(tmp_path)[0]) == tk.fingerprint(net)


def test_images_are_looked_for_beside_the_grid_and_must_be_there(runs_of, tmp_path, make_idx, monkeypatch):
    text = "[[runs]]\ndataset = 'idx:data'"
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(TopokitError, match=r"grid.toml, runs-1: .* there is no folder .*/data: give"):
        runs_of(text)
    make_idx(tmp_path / "data", 1)
    assert runs_of(text)[0].config.dataset == f"idx:{tmp_path / 'data'}"
    assert runs_of(f"[[runs]]\ndataset = 'idx:{tmp_path}/data'")[0].config.dataset == f"idx:{tmp_path / 'data'}"


def test_a_pruned_topology_is_that_of_the_run_with_the_same_seed(runs_of):
    runs = runs_of("""
        [[runs]]
        label = "pruned"
        command = "prune"
        to = [0.5, 0.9]
        each.seed = "0-1"
        [[runs]]
        topology = { pruned = "pruned" }
        each.seed = "0-1"
        each.topology.sparsity = [0.5, 0.9]
        [[runs]]
        topology = { pruned = "pruned", sparsity = 0.9, seed = 1 }
        seed = 7
    """)
    zero, one = (run.name for run in runs[:2])
    assert [(run.needs, run.topologies[0].sparsity) for run in runs[2:]] == [
        ((zero,), 0.5),
        ((zero,), 0.9),
        ((one,), 0.5),
        ((one,), 0.9),
        ((one,), 0.9),
    ]


def test_a_run_that_is_asked_for_twice_is_there_once_in_each_entry(runs_of):
    runs = runs_of("""
        [[runs]]
        tags = { arm = "a", density = 0.05 }
        each.seed = [1, 2]
        each.lr = [0.1, 0.10]
        [[runs]]
        lr = 0.1
        each.seed = "2-2"
    """)
    assert [(run.label, run.config.seed) for run in runs] == [("runs-1", 1), ("runs-1", 2), ("runs-2", 2)]
    assert runs[1].name == runs[2].name
    assert runs[0].tags == {"arm": "a", "density": "0.05"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "contains no runs: write"),
        ("runs = []", "contains no runs"),
        ("runs = 3", "contains no runs"),
        ("runs = [3]", "contains no runs"),
        ("[[runs]]\nlabel =", "is not TOML"),
        ("[[runs]]\nlabel = 'a'\nlr = .5", r"is not TOML: .*line 3.*; numbers are like 0\.5, not \.5"),
    ],
)
def test_what_holds_no_runs_is_refused(runs_of, text, message):
    with pytest.raises(FileFormatError, match=message):
        runs_of(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[default]\n[[runs]]", "no key of .*grid.toml is named 'default': did you mean defaults"),
        ("[[runs]]\nlable = 'a'", "grid.toml, runs-1: no key of runs to train is named 'lable': did you mean label"),
        ("[[runs]]\nepoch = 3", "did you mean epochs"),
        ("[[runs]]\nto = [0.9]", "no key of runs to train is named 'to'"),
        ("[defaults]\nbatchsize = 3\n[[runs]]", "defaults: .*'batchsize': did you mean batch_size"),
        ("[defaults]\nto = [0.9]\n[[runs]]", "defaults: no key of the defaults is named 'to'"),
        ("[defaults]\neach.seed = '0-2'\n[[runs]]", r"defaults: axes \(each\.\) belong in \[\[runs\]\]"),
        ("[defaults]\ntags.a = 3\n[[runs]]", r"defaults: tags belongs in \[\[runs\]\], not in \[defaults\]"),
        ("defaults = 3\n[[runs]]", "defaults must be a table, not 3"),
        ("[[runs]]\neach.sede = [1]", "no key of each is named 'sede': did you mean seed"),
        ("[[runs]]\neach.sede = '0-4'", "no key of each is named 'sede': did you mean seed"),
        ("[[runs]]\neach = 3", "each must be a table"),
        ("[[runs]]\neach.lr = 0.1", "each.lr must be a list of values, not 0.1"),
        ("[[runs]]\neach.lr = []", "each.lr has no values: give at least one"),
        ("[[runs]]\neach.seed = [0, 1, 1]", r"each.seed must be different numbers, not \[0,1,1\]"),
        ("[[runs]]\neach.seed = '0-3,2'", r"each.seed must be different numbers, not \[0,1,2,3,2\]"),
        ("[[runs]]\neach.seed = '3-1'", "3-1 is not a range"),
        ("[[runs]]\neach.topology.density = [0.1]", "each.topology.density needs a table topology"),
        ("[[runs]]\nseed = '0-4'", 'seed is one number: for a run of each seed, give each.seed = "0-4"'),
        ("[[runs]]\ndataset = 'idx:'", "runs-1: the dataset idx needs the place of its data"),
        ("[[runs]]\ndataset = 'mnits'", "runs-1: dataset must be one of digits"),
        ("[[runs]]\ndataset = 3", "dataset must be a text, not 3"),
        ("[[runs]]\nepochs = 'x'", "epochs must be integers"),
        ("[[runs]]\ncommand = ['x']", r"command must be one of train, prune, not \['x'\]"),
        ("[[runs]]\ncommand = 'tune'", "command must be one of train, prune, not 'tune'"),
        ("[[runs]]\ndevice = 'cpu'", "device does not change what a run computes: give device to the sweep"),
        ("[defaults]\nthreads = 1\n[[runs]]", "defaults: threads does not change what"),
        ("[[runs]]\nlabel = 'a'\n[[runs]]\nlabel = 'a'", "a: another entry has this label"),
        ("[[runs]]\nlabel = 3", "a label must be a text, not 3"),
        ("[[runs]]\ntags = 'a'", "tags must be a table"),
        ("[[runs]]\ntags = { seed = 1 }", "the tables have a column seed already"),
        ("[[runs]]\ncommand = 'prune'\nkeep = 3", "keep must be a name or several, not 3"),
        ("[[runs]]\ncommand = 'prune'\ntopology = { radices = [[2]] }", "a pruning run starts from a dense model"),
        ("[[runs]]\nweights = 'none.safetensors'", "there is no file of weights .*none.safetensors"),
        ("[[runs]]\ntopology = 3", 'topology must be a text, a table or "dense", not 3'),
        ("[[runs]]\ntopology = ['dense', 'dense']", "name no other"),
        ("[[runs]]\ntopology = { radixes = [[2]] }", "radixes is not an option of radix-net: did you mean radices"),
        ("[[runs]]\ntopology = { family = 'bernouli' }", "did you mean bernoulli"),
        ("[[runs]]\ntopology = { family = ['a'] }", "no family named"),
        ("[[runs]]\ntopology = { radices = [[2]], crop_keep = 'last' }", "crop_keep needs crop"),
        ("[[runs]]\ntopology = { radices = [[2]], seed = 1 }", "seed has no use here: radix-net is not random"),
        ("[[runs]]\ntopology = { radices = [[2]], random_equivalent = 'twin' }", "random_equivalent must be one of"),
        ("[[runs]]\ntopology = { like = 'a' }", "no file, family or transform"),
        ("[[runs]]\ntopology = { like = 'grid.toml' }", "like is not an option of radix-net"),
        ("[[runs]]\ntopology = { like = 'grid.toml', family = 'bernoulli' }", "like is not an option of bernoulli"),
        ("[[runs]]\ntopology = { radices = [[2]], crap = 2 }", "crap is not an option"),
        ("[[runs]]\ntopology = { pruned = 'a', sparsity = 0.5 }", r"further up \(there is none\), not 'a'"),
    ],
)
def test_what_does_not_fit_is_refused(runs_of, text, message):
    with pytest.raises(InvalidSpecError, match=message):
        runs_of(text)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("topology = { pruned = 'b', sparsity = 0.5 }", r"there are p\), not 'b'"),
        ("topology = { pruned = 'p', sparsity = 0.7 }", r"must be one that p saves \(0.5, 0.9\), not 0.7"),
        ("topology = { pruned = 'p' }", "not None"),
        ("topology = { pruned = 'p', sparsity = 0.5 }\nseed = 9", "exactly one run of p with seed 9, but there are 0"),
        ("topology = { pruned = 'p', spasity = 0.5 }", "did you mean sparsity"),
    ],
)
def test_a_pruned_topology_that_will_not_be_is_refused(runs_of, entry, message):
    with pytest.raises(InvalidSpecError, match=message):
        runs_of(f"[[runs]]\nlabel = 'p'\ncommand = 'prune'\nto = [0.5, 0.9]\n[[runs]]\n{entry}")


def test_too_many_runs_are_refused_before_they_are_made(runs_of):
    many = list(range(1100))
    with pytest.raises(InvalidSpecError, match="each asks for 1,210,000 runs; the most is 1,000,000"):
        runs_of(f"[[runs]]\neach.seed = {many}\neach.epochs = {many}")


def test_files_that_are_not_there_are_named(runs_of, tmp_path):
    with pytest.raises(TopokitError, match=r"no file, family or transform .*net.safetensors"):
        runs_of("[[runs]]\ntopology = 'net.safetensors'")
    with pytest.raises(TopokitError, match=r"cannot read .*none.toml"):
        read_grid(tmp_path / "none.toml")
