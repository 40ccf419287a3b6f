"""Every mistake gives one line on stderr that says what to do, nothing on stdout, and the right exit code."""

import subprocess
import sys

import pytest
from topokit_cli.main import COMMANDS
from topokit_cli.main import topokit as group
from topokit_cli.options import OnceEach

import topokit as tk

BERNOULLI = ("--family", "bernoulli", "--widths", "3,3", "--density", ".5")
ERK = ("--allocation", "erk", "--seed", "1")
RADIX = ("--radices", "2,2", "-o", "x")


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("build", "--radices", "2,1"), 2, "radices must be at least 2, not 1"),
        (("build", "--radices", "2,x"), 2, "not a list of integers"),
        (("build", "--radices", "2.5"), 2, "not a list of integers"),
        (
            ("build", "--radices", "3,4", "--radices", "5,2", "--radices", "12"),
            2,
            "system 2 [5, 2] has product 10; it must be 12",
        ),
        (("build", "--radices", "3,4", "--radices", "5"), 2, "it must divide 12"),
        (("build", "--radices", "2,2", "--kron", "1,2"), 2, "2 radices need 3 (one per node layer) or 1"),
        (("build", "--radices", "2,2", "--kron", "1,2,-1"), 2, "kron must be at least 1"),
        (("build", "--radices", "2,2", "--crop", "4,9,4"), 2, "give at most 4"),
        (("build", "--radices", "2,2", "--crop", "4,4"), 2, "crop has 2 widths; the network has 3 node layers"),
        (("build", "--radices", "2,2", "--crop-keep", "last"), 2, "--crop-keep needs --crop"),
        (("build", "--radices", "2,2", "--fan-in", "3"), 2, "--fan-in is not an option of radix-net"),
        (("build", "--radices", "2,2", "--seed", "3"), 2, "radix-net is not random"),
        (("build", "--family", "bernoulli", "--widths", "3,3", "--density", ".5"), 2, "needs --seed"),
        (("build", "--family", "bernoulli", "--widths", "3,3", "--seed", "1"), 2, "bernoulli needs --density"),
        (
            ("build", "--family", "bernoulli", "--widths", "3,3", "--density", "1.5", "--seed", "1"),
            2,
            "must be from 0 to 1",
        ),
        (
            ("build", "--family", "bernoulli", "--widths", "3,3", "--density", "nan", "--seed", "1"),
            2,
            "must be numbers",
        ),
        (
            ("build", "--family", "bernoulli", "--widths", "3,3", "--density", "1e9999999999", "--seed", "1"),
            2,
            "'--density': the values must be numbers such as 0.1 or 1/10, not '1e9999999999'",
        ),
        (
            ("build", "--radices", "2,2", "--kron", "1,2,1", "--kron", "2,2,2"),
            2,
            "--kron is given 2 times: give all in one list: --kron N,N,...",
        ),
        (("build", *BERNOULLI, "--seed", "1", "--topology-seed", "1"), 2, "--seed/--topology-seed is given 2 times"),
        (("train", "--seeds", "0", "--seeds", "1"), 2, "give all in one list: --seeds N-N,N,..."),
        (("prune", "--to", ".5", "--to", ".9"), 2, "give all in one list: --to X,X,..."),
        (("extract", __file__, "--layers", "a", "--layers", "b"), 2, "give all in one list: --layers NAME,NAME,..."),
        (("build", "--family", "fixed-fan-in", "--widths", "3,3", "--fan-in", "4", "--seed", "1"), 2, "from 0 to 3"),
        (("build", "--family", "bernoulli", "--widths", "3,3", "--density", ".5", "--allocation", "erg"), 2, "igq"),
        (("build", "--family", "bernoulli", "--widths", "3,3,3", "--density", ".5,.4", *ERK), 2, "give one number"),
        (("build", "--family", "fixed-fan-in", "--widths", "3,3", "--seed", "1"), 2, "either fan_in or density"),
        (("build", "--family", "lps", "--p", "7", "--q", "13"), 2, "p must be a prime that is 1 modulo 4"),
        (("build", "--family", "nonsense"), 2, "radix-net"),
        (("build", "--random-equivalent", "regular", "--radices", "2,2"), 2, "needs --seed"),
        (("build",), 2, "no topology: give --radices"),
        (("build", "--random-equivalent", "regular"), 2, "of which topology? Give --like FILE or the options"),
        (("build", "--radices", "2,2", "-o", "x.foo"), 2, "or choose to=FORMAT of topokit convert"),
        (
            ("info", __file__, "--topology-seed", "3"),
            2,
            "seed=3'",
        ),
        (("info", f"{__file__} seed=3"), 2, "seed has no use here: nothing is drawn of what a file"),
        (("build", *BERNOULLI, "--random-equivalent", "regular", "--like", __file__), 2, "--like is not an option of"),
        (("verify",), 2, "Missing argument 'TOPOLOGY'"),
        (("info", *BERNOULLI, "--seed", "1"), 2, "topokit info 'bernoulli widths=3,3 density=.5 seed=1'"),
        (("verify", "bernoulli widths=3,3 density=.5"), 2, "is random and has no seed: add seed=0"),
        (("verify", "missing.safetensors"), 2, "'missing.safetensors'"),
        (("verify", "radix-net radices=2,2", "--check", "nonsense"), 2, "connectivity"),
        (("draw", "radix-net radices=2,2", "-o", "x.jpg"), 2, ".png"),
        (("draw", "radix-net radices=2,2", "--trace", "9", "-o", "x.png"), 2, "inputs are 0 to 3"),
        (("draw", "radix-net radices=2,2", "--steps", "--trace", "1", "-o", "x.png"), 2, "cannot go together"),
        (("mask", "radix-net radices=2,2", "-o", "x"), 2, "--model or --names"),
        (("mask", "radix-net radices=2,2", "--names", "a,b,c", "-o", "x"), 2, "3 names for 2 layers"),
        (("train", "--epochs", "0"), 2, "--epochs must be at least 1, not 0"),
        (("train", "--optimizer", "nonsense"), 2, "is not one of 'adam', 'adamw', 'sgd'"),
        (("train", "--topology", "radix-net radices=2,2"), 2, "fc1.weight 784 -> 300"),
        (("train", "--dataset", "nonsense"), 2, "known: digits, mnist"),
        (("train", "--validation", "99999"), 2, "all 1437 training samples"),
        (("train", "--seed", "-1"), 2, "--seed must be at least 0, not -1"),
        (("train", "--kernel", "nonsense"), 2, "'masked', 'csr'"),
        (("build", "--radices", "1000,1000", "--kron", "1000", "-o", "x"), 1, "a layer needs 7,450.6 GiB"),
        (("build", "--radices", "2,2", "-o", "no/such/folder/x"), 1, "create it first"),
        (("nonsense",), 2, "No such command 'nonsense'"),
    ],
)
def test_one_line_that_says_what_to_do(topokit, tmp_path, args, code, said):
    run = topokit(*args)
    assert (run.code, run.out) == (code, "")
    assert len(run.err.splitlines()) == 1, run.err
    assert said in run.err
    assert not list(tmp_path.iterdir()), "something was written"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_an_option_once(name):
    assert isinstance(group.get_command(None, name), OnceEach)


def test_help_is_given_whatever_else_is_wrong(topokit):
    run = topokit("build", "--kron", "1,2,1", "--kron", "2,2,2", "--help")
    assert run.code == 0
    assert run.out == topokit("build", "--help").out


def test_flags_may_be_given_again(topokit):
    assert topokit("build", *RADIX, "--force", "--force").code == 0


def test_no_command_is_told_which_there_are(topokit):
    run = topokit()
    assert (run.code, run.out) == (2, "")
    assert run.err == topokit("--help").out


def test_nothing_is_overwritten_without_force(topokit, tmp_path):
    assert topokit("build", *RADIX).code == 0
    before = (tmp_path / "x").read_bytes()
    for args in (
        ("build", "--radices", "3,3", "-o", "x"),
        ("draw", "x", "-o", "x"),
        ("mask", "x", "--names", "a,b", "-o", "x"),
    ):
        run = topokit(*args)
        assert run.code in (1, 2)
        assert (tmp_path / "x").read_bytes() == before
    assert "--force" in topokit("build", "--radices", "3,3", "-o", "x").err
    assert topokit("build", "--radices", "3,3", "-o", "x", "--force").code == 0
    assert tk.load(tmp_path / "x").widths == (9, 9, 9)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "bad is empty"),
        (b"nonsense", "bad is none of the formats"),
        (b"\x80\x04\x95pickle", "bad is none of the formats"),
        (b"PK\x03\x04broken", "bad is damaged"),
        (b"\xff" * 64, "bad is none of the formats"),
    ],
)
def test_a_file_that_is_no_topology(topokit, tmp_path, content, said):
    (tmp_path / "bad").write_bytes(content)
    for args in (("verify", "bad"), ("info", "bad"), ("draw", "bad", "-o", "x.png"), ("train", "--topology", "bad")):
        run = topokit(*args)
        assert (run.code, run.out) == (1, "")
        assert len(run.err.splitlines()) == 1
        assert said in run.err


def test_one_moved_edge_fails_with_a_witness_that_a_recount_confirms(topokit, tmp_path):
    from safetensors import safe_open
    from safetensors.numpy import save_file

    topokit("build", "--radices", "2,3", "--kron", "2,2,2", "-o", "net.safetensors")
    path = tmp_path / "net.safetensors"
    with safe_open(path, "numpy") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
        metadata = file.metadata()
    row = tensors["layer.1.indices"][:6]
    free = min(set(range(12)) - set(row.tolist()))
    row[-1] = free
    row.sort()
    save_file(tensors, path, metadata)
    run = topokit("verify", "net.safetensors", "--json")
    assert run.code == 3
    checks = {check["check"]: check for check in run.json["checks"]}
    assert checks["soundness"]["verdict"] == "fails"
    original = [layer.to_dense() for layer in tk.RadixNet(radices=[(2, 3)], kron=(2, 2, 2)).stream()]
    moved = [layer.to_dense() for layer in tk.load(path).stream()]
    witness = checks["soundness"]["witness"]
    where = witness["layer"], witness["source"], witness["target"]
    assert moved[where[0]][where[1:]] == witness["in_net"] != original[where[0]][where[1:]]
    paths = moved[0].astype(int) @ moved[1].astype(int)
    symmetry = checks["path-symmetry"]
    assert symmetry["verdict"] == "fails"
    assert (int(symmetry["values"]["min"]), int(symmetry["values"]["max"])) == (paths.min(), paths.max())
    assert paths.min() < paths.max()


def test_a_recipe_that_says_something_else_than_the_edges(topokit, tmp_path):
    from safetensors import safe_open
    from safetensors.numpy import save_file

    topokit("build", "--radices", "2,3", "-o", "net.safetensors")
    path = tmp_path / "net.safetensors"
    with safe_open(path, "numpy") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
        metadata = file.metadata()
    for recipe in ("[3, 2]", "[20000, 30000]"):
        save_file(
            tensors, path, {**metadata, "recipe": metadata["recipe"].replace("[2, 3]", recipe).replace("[2,3]", recipe)}
        )
        run = topokit("verify", "net.safetensors", "--json")
        assert run.code == 3
        assert next(check for check in run.json["checks"] if check["check"] == "soundness")["verdict"] == "fails"


def test_random_nets_that_are_not_symmetric_are_reported_and_exit_0(topokit):
    run = topokit("verify", "bernoulli widths=20,20,20 density=.1 seed=1", "--json")
    assert run.code == 0
    assert next(check for check in run.json["checks"] if check["check"] == "path-symmetry")["verdict"] == "fails"


def test_a_required_check_that_was_not_promised_exits_4(topokit):
    run = topokit("verify", "bernoulli widths=20,20 density=.1 seed=1", "--require", "regularity", "--json")
    assert run.code == 4
    assert run.json["verdict"] == "not promised"


def test_a_reader_that_leaves_early_is_no_traceback():
    command = f'{sys.executable} -c "from topokit_cli.main import main; main()" info "butterfly nodes=4" | head -c 5'
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert len(run.stdout) == 5
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(("to", "layer"), [("tsv", "n4-l1.tsv"), ("matrix-market", "layer-1.mtx")])
def test_one_layer_of_a_folder(topokit, to, layer):
    topokit("build", "--radices", "2,2", "-o", "net.safetensors")
    topokit("convert", "net.safetensors", "folder", "--to", to)
    run = topokit("info", f"folder/{layer}")
    if to == "tsv":  # the other kind of file says its widths itself
        assert "give the folder of all, folder" in run.err
    assert (run.code == 0) == (to != "tsv")
