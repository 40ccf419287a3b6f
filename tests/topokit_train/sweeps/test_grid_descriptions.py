"""Descriptions in grids: equal meaning, equal run names; files, pruned topologies and patterns."""

import pytest

import topokit as tk
from topokit.errors import InvalidSpecError, TopokitError

LENET = "radix-net radices=10,10 kron=8,3,1 crop=784,300,100"
TABLE = "radices = [[10, 10]], kron = [8, 3, 1], crop = [784, 300, 100]"


@pytest.fixture
def file(tmp_path):
    net = tk.Topology.from_dense([tk.Bernoulli(widths=(784, 300), density=".1", seed=1).layer(0).to_dense()])
    tk.save(net, tmp_path / "a net.safetensors")
    tk.save(net, tmp_path / "net.safetensors")
    return net


def names(runs_of, topology, more=""):
    return [run.name for run in runs_of(f"{more}[[runs]]\ntopology = {topology}\neach.seed = [3, 4]")]


@pytest.mark.usefixtures("file")
@pytest.mark.parametrize(
    ("text", "table"),
    [
        (f'"{LENET}"', f"{{ {TABLE} }}"),
        (f'"{LENET} crop_keep=last"', f"{{ {TABLE}, crop_keep = 'last' }}"),
        (f'"{LENET} random-equivalent=regular"', f"{{ {TABLE}, random_equivalent = 'regular' }}"),
        (f'"{LENET} random-equivalent=regular seed=3"', f"{{ {TABLE}, random_equivalent = 'regular', seed = 3 }}"),
        ('"bernoulli widths=784,9 density=.1"', "{ family = 'bernoulli', widths = [784, 9], density = 0.1 }"),
        (
            '"bernoulli density=1e-1 widths=784,9 seed=5"',
            "{ family = 'bernoulli', widths = [784, 9], density = '1/10', seed = 5 }",
        ),
        ('"net.safetensors random-equivalent=regular"', "{ random_equivalent = 'regular', like = 'net.safetensors' }"),
        ('"regular like=net.safetensors"', "{ family = 'regular', like = 'net.safetensors' }"),
        ('"regular like=net.safetensors"', "{ random_equivalent = 'regular', like = 'net.safetensors' }"),
        ('"a net.safetensors"', "'net.safetensors'"),
        ("\"regular like='a net.safetensors'\"", "{ family = 'regular', like = 'net.safetensors' }"),
        (f'["{LENET}", "net.safetensors"]', f"[{{ {TABLE} }}, 'a net.safetensors']"),
    ],
)
def test_equal_meaning_has_equal_run_names(runs_of, text, table):
    assert names(runs_of, text) == names(runs_of, table)


def test_texts_and_files_are_values_of_an_axis(runs_of, file, tmp_path):
    runs = runs_of(f'[[runs]]\neach.topology = ["{LENET}", "net.safetensors", "net.safetensors crop=700,200"]')
    nets = [run.topologies[0].open(tmp_path)[0] for run in runs]
    wanted = [
        tk.crop(tk.RadixNet(radices=[(10, 10)], kron=(8, 3, 1)), (784, 300, 100)),
        file,
        tk.crop(file, (700, 200)),
    ]
    assert list(map(tk.fingerprint, nets)) == list(map(tk.fingerprint, wanted))
    tk.save(tk.Bernoulli(widths=(784, 300), density=".1", seed=2), tmp_path / "net.safetensors", force=True)
    with pytest.raises(InvalidSpecError, match="has changed since the sweep started: restore it"):
        runs[2].topologies[0].open(tmp_path)


@pytest.mark.usefixtures("file")
def test_a_random_equivalent_of_what_needs_a_file_keeps_each_seed(runs_of, tmp_path):
    (run, _) = runs_of(
        "[[runs]]\ntopology = 'regular like=net.safetensors seed=8 random-equivalent=bernoulli'\neach.seed = [3, 4]"
    )
    of = tk.Regular.twin_of(tk.load(tmp_path / "net.safetensors"), 8)
    assert tk.fingerprint(run.topologies[0].open(tmp_path)[0]) == tk.fingerprint(tk.Bernoulli.twin_of(of, 8))


def test_pruned_topologies_in_words(runs_of):
    pruned = "[[runs]]\nlabel = 'p'\ncommand = 'prune'\nto = [0.5, 0.9]\neach.seed = [3, 4]\n"
    for text, table in (
        ("'pruned=p sparsity=.9'", "{ pruned = 'p', sparsity = 0.9 }"),
        ("'pruned=p sparsity=1/2 seed=4'", "{ pruned = 'p', sparsity = 0.5, seed = 4 }"),
        (
            "'pruned=p sparsity=9e-1 random-equivalent=regular'",
            "{ pruned = 'p', sparsity = 0.9, random_equivalent = 'regular' }",
        ),
    ):
        assert names(runs_of, text, pruned) == names(runs_of, table, pruned)
    for text, message in (
        ("pruned=q sparsity=.9", "must be the label of a pruning entry"),
        ("pruned=p sparsity=.7", r"one that p saves \(0.5, 0.9\), not 0.7"),
        ("pruned=p", "not None"),
        ("pruned=p spasity=.9", r"did you mean sparsity\? \(at character 10"),
        ("pruned=p sparsity=.9 crop=2,2", "no option 'crop'"),
    ):
        with pytest.raises(InvalidSpecError, match=message):
            names(runs_of, f"'{text}'", pruned)


def test_patterns_give_parameters_their_topologies(runs_of, tmp_path):
    text = "[[runs]]\ntopology = ['fc1: bernoulli density=.1 seed=7', 'fc3: bernoulli density=1/2']\neach.seed = [3, 4]"
    three, four = runs_of(text)
    nets = three.topologies[0].open(tmp_path)
    assert [net.names for net in nets] == [("fc1.weight",), ("fc3.weight",)]
    wanted = [
        tk.Bernoulli(widths=(784, 300), density=".1", seed=7),
        tk.Bernoulli(widths=(100, 10), density=".5", seed=3),
    ]
    assert list(map(tk.fingerprint, nets)) == list(map(tk.fingerprint, wanted))
    assert three.name != four.name
    spelled = text.replace("density=1/2", "density=5e-1").replace("density=.1 seed=7", "seed=7 density=1/10")
    assert [run.name for run in runs_of(spelled)] == [three.name, four.name]


def test_several_parameters_of_one_pattern_differ_and_share_a_density(runs_of, tmp_path):
    (run,) = runs_of("[[runs]]\ntopology = 'fc*: fixed-fan-in density=.05 allocation=erk seed=7'")
    nets = run.topologies[0].open(tmp_path)
    assert [net.names[0] for net in nets] == ["fc1.weight", "fc2.weight", "fc3.weight"]
    assert [net.edges for net in nets] == [9051, 3340, 919]  # as `build --allocation erk` divides 784-300-100-10


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ("['fc9: bernoulli density=.1', 'fc1: bernoulli density=.1']", "no weight named 'fc9' .* did you mean fc"),
        ("['fc1: bernoulli density=.1', 'fc*: bernoulli density=.1']", "both match fc1.weight"),
        ("['fc1: bernoulli density=.1', 'fc1: bernoulli density=.2']", "fc1 is given twice"),
        ("['fc1: bernoulli density=.1', 'bernoulli widths=300,100 density=.1']", "names no parameters, but others do"),
        ("'fc1: radix-net radices=2,2'", "layer 0 is 4 -> 4, but no remaining weight has that shape"),
        ("'fc1: bernoulli desity=.1'", r"did you mean density\? \(at character 11"),
    ],
)
def test_patterns_that_do_not_fit_are_refused(runs_of, tmp_path, topology, message):
    with pytest.raises(TopokitError, match=message):
        runs_of(f"[[runs]]\ntopology = {topology}")[0].topologies[0].open(tmp_path)
