"""Every mistake gives one line on stderr that says what to do, nothing on stdout, and the right exit code."""

import shlex
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from topokit_cli.main import COMMANDS
from topokit_cli.main import topokit as group
from topokit_cli.options import OnceEach

import topokit as tk
from topokit.formats import as_tensors

RADIX = ("--radices", "2,2", "-o", "x")


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """What the braces in MISTAKES stand for: files of many kinds, and numbers that are too long."""
    import torch

    from topokit_train import TrainConfig, train

    folder = tmp_path_factory.mktemp("f")
    files = {name: folder / name for name in ("net", "lenet", "masks", "filters", "several", "torch", "text", "empty")}
    files |= {name: folder / name for name in ("cut", "folder", "grids", "run")} | {"text": folder / "text.py"}
    tk.RadixNet(radices=[(2, 2)]).save(files["net"])
    tk.crop(tk.RadixNet(radices=[(10, 10)], kron=(8, 3, 1)), (784, 300, 100)).save(files["lenet"])
    tk.save_masks({"a.weight": np.eye(4), "b.weight": np.eye(4)}, files["masks"])
    tk.from_masks({"conv1.weight": np.ones((6, 1, 3, 3)), "conv2.weight": np.ones((8, 6, 3, 3))}).save(files["filters"])
    tensors, about = as_tensors(*(tk.Bernoulli(widths=(3, 2), density=".5", seed=seed) for seed in (0, 1)))
    save_file(tensors, files["several"], about)
    torch.save({"fc1.weight": torch.ones(3, 3)}, files["torch"])
    files["text"].write_text("hello = 1\n")
    files["empty"].touch()
    files["cut"].write_bytes(files["net"].read_bytes()[:200])
    for name in ("folder", "grids"):
        files[name].mkdir()
    for name, line in GRIDS.items():
        (files["grids"] / f"{name}.toml").write_text(f'[[runs]]\nlabel = "a"\n{line}\n')
    train(TrainConfig(epochs=1), run=files["run"])
    files["weights"] = files["run"] / "checkpoint.safetensors"
    return {name: str(path) for name, path in files.items()} | {
        "long": "9" * 5000,
        "big": "9" * 4000,
        "wide": "bernoulli widths=12,3 density=.5 seed=1",
    }


GRIDS = {
    "good": "epochs = 1",
    "key": "epochz = 3",
    "decimal": "lr = .1",
    "pattern": 'topology = "conv*: bernoulli density=.1"',
    "long": f"seed = {'9' * 5000}",
}
"""Names of grids -> the last line of each."""

MISTAKES = {
    "": [
        ("nonsense", 2, "No such command 'nonsense'"),
        ("--verison", 2, "No such option"),
    ],
    "build": [
        ("--radices 2,1", 2, "radices must be at least 2, not 1"),
        ("--radices 2,x", 2, "not a list of integers"),
        ("--radices 3,4 --radices 5,2 --radices 12", 2, "system 2 [5, 2] has product 10; it must be 12"),
        ("--radices 3,4 --radices 5", 2, "it must divide 12"),
        ("--radices 2,2 --kron 1,2", 2, "2 radices need 3 (one per node layer) or 1"),
        ("--radices 2,2 --crop 4,9,4", 2, "give at most 4"),
        ("--radices 2,2 --crop 4,4", 2, "crop has 2 widths; the network has 3 node layers"),
        ("--radices 2,2 --crop-keep last", 2, "--crop-keep needs --crop"),
        ("--radices 2,2 --fan-in 3", 2, "--fan-in is not an option of radix-net"),
        ("--radices 2,2 --seed 3", 2, "radix-net is not random"),
        ("--family bernoulli --widths 3,3 --density .5", 2, "needs --seed"),
        ("--family bernoulli --widths 3,3 --seed 1", 2, "bernoulli needs --density"),
        ("--family bernoulli --widths 3,3 --density 1.5 --seed 1", 2, "must be from 0 to 1"),
        ("--family bernoulli --widths 3,3 --density 1e9999999999 --seed 1", 2, "must be numbers such as 0.1 or 1/10"),
        ("--radices 2,2 --kron 1,2,1 --kron 2,2,2", 2, "--kron is given 2 times: give all in one list: --kron N,N,..."),
        ("--radices 2,2 --seed 1 --topology-seed 1", 2, "--seed/--topology-seed is given 2 times"),
        ("--family fixed-fan-in --widths 3,3 --fan-in 4 --seed 1", 2, "from 0 to 3"),
        ("--family bernoulli --widths 3,3 --density .5 --allocation erg", 2, "igq"),
        ("--family bernoulli --widths 3,3,3 --density .5,.4 --allocation erk --seed 1", 2, "give one number"),
        ("--family fixed-fan-in --widths 3,3 --seed 1", 2, "either --fan-in or --density"),
        ("--family lps --p 7 --q 13", 2, "p must be a prime that is 1 modulo 4"),
        ("", 2, "no topology: give --radices"),
        ("--random-equivalent regular", 2, "of which topology? Give --like FILE or the options"),
        ("--radices 2,2 -o x.foo", 2, "or choose to=FORMAT of topokit convert"),
        ("--radices 1000,1000 --kron 1000 -o x", 1, "7,450.6 GiB and "),
        ("--radices 2,2 -o no/such/folder/x", 2, "create it first"),
        ("--radice 2,2", 2, "'--radices'"),
        ("--radices 2 2", 2, "lists have commas and no blanks"),
        ("--radices 2,2 --kron=", 2, "integers separated by commas"),
        ("--family Bernoulli --widths 3,3", 2, "'n-of-m', 'block', 'bernoulli'"),
        ("--family bernoulli --widths 784 --density .5 --seed 1", 2, "of at least 2 node layers, not 1"),
        ("--family bernoulli --widths 3,3 --density 0,5 --seed 1", 2, "2 numbers: give one; a decimal has a point"),
        ("--family bernoulli --widths 3,3 --density .5 --seed abc", 2, "not a valid integer"),
        ("--family bernoulli --widths 3,3 --density .5 --seed -2", 2, "must be at least 0"),
        ("--family small-world --widths 4,4 --fan-in 5/2 --rewire .1 --seed 1", 2, "a whole number from 0 to 4"),
        ("--family butterfly --nodes 6", 2, "must be a power of 2"),
        ("--family graph-challenge --neurons 1000 --layers 12", 2, "one of 1024, 4096, 16384, 65536"),
        ("--family lps --p 5 --q 5", 2, "two different primes"),
        ("--family regular --seed 1", 2, "needs --like"),
        ("--radices 2,2 -o {text}", 2, "unknown extension"),
        ("--radices 2,2 -o {folder}", 2, "is a folder: give a file's name"),
        ("--radices 2,2 -o ''", 2, "name a file"),
        ("--radices 2,2 --output", 2, "requires an argument"),
        ("--like {net}", 2, "known: radices, kron"),
        ("--radices {long}", 2, "5,000 digits is too large"),
    ],
    "verify": [
        ("", 2, "Missing argument 'TOPOLOGY'"),
        ("'bernoulli widths=3,3 density=.5'", 2, "is random and has no seed: add seed=0"),
        ("'radix-net radices=2,2' --check nonsense", 2, "connectivity"),
        ("{folder}", 1, "as .mtx or .tsv files"),
        ("{empty}", 1, "empty: give a file of one of the formats"),
        ("{cut}", 1, "get it again from where it came from"),
        ("{torch}", 1, "take a topology out of it with `topokit extract`"),
        ("{net} --workers 2000", 2, "<=1024"),
        ("{net} --workers 2 --scheduler tcp://x:1", 2, "not both"),
        ("radix-net", 2, "needs radices"),
        ("'radix-net radices=2,2 radices'", 2, "is not KEY=VALUE"),
        ("'radix-net radices=2,2 krons=1,2,1'", 2, "did you mean kron?"),
        ("'radix-net radices=2,2 kron=1,2,1 kron=1,2,1'", 2, "given twice: give it once"),
        ('"radix-net radices=\'2,2"', 2, "has no end: close it"),
        ("'radixnet radices=2,2'", 2, "did you mean radix-net?"),
        ("' '", 2, "an empty text describes no topology"),
        ("'{net} crop=2'", 2, "1 width; the network has 3 node layers"),
        ("'{net} widths=3'", 2, "known: chain, crop, crop-keep, random-equivalent, seed"),
        ("'concatenate of={net}'", 2, "at least two networks"),
        ("dense", 2, "is a model without topologies"),
    ],
    "info": [
        ("{text} --topology-seed 3", 2, "seed=3'"),
        ("'{text} seed=3'", 2, "seed has no use here: nothing is drawn of what a file"),
        ("--family butterfly --nodes 4", 2, "topokit info 'butterfly nodes=4'"),
        ("'{several} chain=2'", 2, "has no chain '2': give one of chain=0 (3-2); chain=1 (3-2)"),
        ("/dev/null", 1, "copy what it gives to a file"),
    ],
    "compare": [
        ("{net} --twins 1", 2, "x>=2"),
        ("{net} {net} --kind regular", 2, "--kind needs --twins"),
        ("{net} missing.safetensors", 2, "give a file that exists"),
        ("{net} --topology-seed -1", 2, "x>=0"),
    ],
    "fit": [
        ("", 2, "or a target such as '784-300-100 at 95 %'"),
        ("784-300-100", 2, "widths and a sparsity in percent"),
        ("--widths 784,300,100", 2, "or a target such as"),
        ("--widths 784,300 --density 3/2", 2, "at most 1, not 1.5"),
        ("--widths 784,300 --density .05 --limit 0", 2, "at least 1"),
        ("784-300-100 at 95 % --density .05", 2, "not both"),
        ("'5-5 at 100 %'", 2, "below 100 %"),
        ("--widths 5,5 --density .5 --tolerance -1", 2, "tolerance must be at least 0"),
    ],
    "draw": [
        ("'radix-net radices=2,2' --trace 9 -o x.png", 2, "inputs are 0 to 3"),
        ("'radix-net radices=2,2' --steps --trace 1 -o x.png", 2, "cannot go together"),
        ("{net}", 2, "Missing option '-o'"),
        ("{net} -o x.gif", 2, "must end in .png, .svg, .pdf"),
        ("{net} -o -", 2, "name a file that ends in .png, .svg or .pdf"),
        ("{net} -o x.png --image 28", 2, "such as 28x28"),
        ("{net} -o x.png --image 28x28", 2, "is for the style pixels"),
        ("{net} -o x.png --style pattern --trace 1", 2, "or take the style edges"),
        ("'bernoulli widths=3,3 density=.5 seed=1' --steps -o x.png", 2, "built from radices"),
        ("'butterfly nodes=65536' --style edges -o x.png", 2, "at most 100,000; take the style pattern"),
        ("{wide} --style pixels -o x.png", 2, "12 inputs are not a square image: give --image, such as 2x2x3"),
        ("{wide} --style pixels --image 5x5 -o x.png", 2, "has 25 pixels, but there are 12 inputs: 2x2x3 fits"),
        ("{wide} --style pixels --image 0x12 -o x.png", 2, "image must be at least 1, not 0"),
    ],
    "convert": [
        ("{several} x.npz", 1, 'chain=0": chain=0 (3-2); chain=1 (3-2)'),
        ("{net}", 2, "Missing argument 'TARGET'"),
        ("{net} x.json", 2, "end it in .safetensors, .npz, .graphml"),
        ("{net} x.npz --to graphml", 2, "give one of the two"),
        ("{net} x.mtx", 2, "give the folder's name, such as"),
        ("{net} folder/", 2, "choose --to=matrix-market or tsv"),
        ("{net} folder/ --to npz", 2, "is the name of a folder"),
        ("{net} - --to tsv", 2, "stdout takes one file"),
        ("{net} {net}", 1, "replace it with --force"),
        ("'bernoulli widths=400,400 density=1 seed=1' x.graphml", 1, "limits to 100,000 of each"),
    ],
    "mask": [
        ("'radix-net radices=2,2' -o x", 2, "--model or --names"),
        ("{net} -o x --names a --model lenet-5", 2, "give either"),
        ("{net} -o x --model lenet", 2, "did you mean lenet-5?"),
        ("{net} -o x --names a,a", 2, "must differ: a.weight, a.weight"),
        ("{net} -o x.pt --names a,b", 2, "end it in .safetensors"),
        ("{net} -o x/ --names a,b", 2, "is the name of a folder"),
        ("{net} -o x --names a,b --apply {torch}", 1, "safetensors.torch.save_file("),
        ("{masks} -o x --apply {folder}", 2, "Is a directory"),
        ("{net} -o x --names a", 2, "1 name for 2 layers"),
        ("{filters} -o x", 2, "only a model says how large"),
        ("{net} -o x --names a --image 1,2,3", 2, "--image is three numbers"),
        ("{net} -o x --model lenet-5 --image 28,28", 2, "--image is three numbers"),
    ],
    "extract": [
        ("{text} --layers a --layers b", 2, "give all in one list: --layers NAME,NAME,..."),
        ("{text}", 2, "text.py is Python code: name the function that returns the model, "),
        ("{empty}", 1, "give a checkpoint, a state dict, an ONNX model or a .pt2 program"),
        ("{net}", 1, "is a topology, and has no weights"),
        ("{weights} -o x --keep 2", 2, "more than 0 and less than 1"),
        ("{weights} -o x --above .1 --keep .1", 2, "are two rules: give one"),
        ("{weights} -o x --above -1", 2, "from 0 on"),
        ("{weights} -o x --layers fc9", 2, "the weights are fc1.weight"),
        ("{weights} -o x --above 1e9", 1, "choose a smaller --above"),
    ],
    "train": [
        ("--seeds 0 --seeds 1", 2, "give all in one list: --seeds N-N,N,..."),
        ("--epochs 0", 2, "--epochs must be at least 1, not 0"),
        ("--topology 'radix-net radices=2,2'", 2, "fc1.weight 784 -> 300"),
        ("--dataset nonsense", 2, "one of digits, mnist"),
        ("--validation 99999", 2, "all 1437 training samples"),
        ("--seed -1", 2, "--seed must be at least 0, not -1"),
        ("--seed 18446744073709551616", 2, "--seed must be at most 9223372036854775807, not 18446744073709551616"),
        ("--seeds 0-18446744073709551616", 2, "seeds must be at most 9223372036854775807, not 18446744073709551616"),
        ("--epochs three", 2, "is not an integer"),
        ("--epochs {big}", 2, "must be at most"),
        ("--lr 0", 2, "a number above 0, not 0"),
        ("--momentum .9", 2, "belongs to --optimizer sgd"),
        ("--weight-decay .1", 2, "adamw, not to adam"),
        ("--dataset cifar100", 2, "did you mean cifar10?"),
        ("--dataset {text}", 2, "FILE.py:FUNCTION"),
        ("--dataset mnist --data-dir missing", 2, "correct --data-dir or TOPOKIT_DATA_DIR"),
        ("--dataset idx", 2, "idx:FOLDER"),
        ("--dataset idx:missing", 2, "there is no folder"),
        ("--dataset idx:{folder}", 1, "put them there"),
        ("--dataset text:{empty}", 1, "or a smaller block"),
        ("--dataset text:my file.txt block=4", 2, "other values with blanks need quotes"),
        ("--dataset 'text:\"my file.txt\" block=4'", 2, "leave out the quotes"),
        ("--dataset text:missing.txt", 2, "No such file or directory"),
        ("--dataset {text}:nothing", 2, "has no function"),
        ("--model resnet5", 2, "did you mean lenet-5?"),
        ("--model lenet-5 --init own", 2, "use he"),
        ("--seed 1 --seeds 2", 2, "not both"),
        ("--seeds 5-1", 2, "not a range of"),
        ("--seeds all", 2, "numbers or ranges such as 0-7"),
        ("--seeds 1,1", 2, "must be different numbers"),
        ("--topology dense --topology {net}", 2, "a model without topologies: give no other"),
        ("--topology {lenet} --topology {lenet}", 2, "another topology fills fc1.weight already"),
        ("--topology 'fc1:bernoulli density=.1 seed=0'", 2, "followed by a colon and a blank"),
        ("--topology 'fc9: bernoulli density=.1 seed=0'", 2, "did you mean fc"),
        ("--topology 'conv*: bernoulli density=.1 seed=0'", 2, "the model has fc1.weight"),
        ("--topology 'fc1: bernoulli density=.1 seed=0' --topology {net}", 2, "write 'PATTERN: DESCRIPTION' for all"),
        ("--weights {net}", 1, "needs all of a dense lenet-300-100"),
        ("--run {run}", 1, "continue that run with --resume"),
        ("--run {run} --resume --force", 2, "which continues a run, or"),
        ("--run {run} --resume --epochs 5", 2, "was started with 1"),
        ("--resume", 2, "--run DIR"),
        ("--resume {run}", 2, "--resume takes no value"),
        ("--run -", 2, "name one"),
        ("--tune --kernel csr", 2, "not both"),
        ("--device gpu", 2, "auto, cpu, cuda, mps"),
        ("--better higher", 2, "give --metric and"),
        ("--loss crossentropy", 2, "must be file.py:function or package.module:function"),
        ("--method rigl", 2, "file.py:Class, package.module:Class"),
        ("--callback wandb", 2, "must be one of tensorboard"),
        ("--topology 'dense seed=1'", 2, "not a topology: use it alone"),
        ("--topology 'pruned=a sparsity=.5'", 2, "of a run in the same grid"),
    ],
    "prune": [
        ("--to 90", 2, "no weight would be left"),
        ("--to 0", 2, "nothing would be pruned"),
        ("--to .5,.3", 2, "must ascend, each sparsity once"),
        ("--every 0", 2, "above 0 and at most 1"),
        ("--begin .8 --end .2", 2, "must be before"),
        ("--keep fc9", 2, "it has fc1.weight"),
        ("--rewind {long}", 2, "initial or a number of epochs"),
        ("--method one-time --begin .1", 2, "--begin has no use with --method one-time"),
        ("--every .001", 2, "more often than once a step, of which there are 600"),
    ],
    "evaluate": [
        ("missing", 2, "does not exist"),
        ("{folder}", 2, "give the folder of a run"),
        ("{text}", 1, "topokit writes its checkpoints as such"),
        ("{run} --device tpu", 2, "this machine has"),
    ],
    "sweep": [
        ("missing.toml", 2, "does not exist"),
        ("{folder}", 2, "is a directory"),
        ("{net}", 1, "is not TOML"),
        ("{grids}/key.toml --status", 2, "did you mean epochs?"),
        ("{grids}/decimal.toml --status", 1, "numbers are like 0.5, not .5"),
        ("{grids}/pattern.toml --status", 2, "the model has fc1.weight"),
        ("{grids}/long.toml --status", 1, "more than 4,300 digits"),
        ("{grids}/good.toml --status --retry", 2, "runs nothing: omit"),
        ("{grids}/good.toml --out {run}", 1, "Choose another --out"),
        ("{grids}/good.toml --known {folder}", 2, "give the folder that the tables were written to"),
        ("{grids}/good.toml --data-dir none", 2, "does not exist"),
        ("{grids}/good.toml --device tpu", 2, "--device must be one of"),
        ("{empty}", 1, "contains no runs: write [[runs]]"),
    ],
    "study": [
        ("training-behavior --budget huge", 2, "smoke, small, full"),
        ("training-behavior --tables {folder} --out x --data-dir {folder}", 2, "--tables runs nothing: omit"),
        ("training-behavior --tables {folder}", 2, "needs --out"),
        ("training-behavior --tables {folder} --out x", 2, "runs.csv is missing"),
    ],
    "challenge": [
        ("{net}", 2, "Missing option '--images'"),
        ("{net} --images {empty}", 2, "for 1024, 4096, 16384, 65536: give --bias"),
        ("{net} --images {empty} --bias 1", 2, "must be negative"),
        ("{net} --images {text} --bias -.1", 1, "line 1 is 'hello = 1'; it must be 3 numbers"),
        ("{net} --images {empty} --bias -.1 --device cuda", 2, "graphblas runs on the CPU alone"),
        ("'radix-net radices=2,3' --images mnist --bias -.3", 2, "square images"),
        ("{net} --images {empty} --bias -.3 --engine fast --device nonsense", 2, "nonsense does not exist"),
    ],
}
"""Command -> what follows it, the exit code, and a part of the message; words in braces are files of `samples`."""


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [(f"{name} {rest}".strip(), code, said) for name, rows in MISTAKES.items() for rest, code, said in rows],
)
def test_one_line_that_says_what_to_do(topokit, tmp_path, samples, command, code, said):
    run = topokit(*(word.format_map(samples) for word in shlex.split(command)))
    assert (run.code, run.out) == (code, "")
    lines = [line for line in run.err.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1, run.err
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
    assert topokit("mask", "x", "--names", "a,b", "-o", "masks").code == 0
    before = (tmp_path / "x").read_bytes()
    for args in (
        ("build", "--radices", "3,3", "-o", "x"),
        ("draw", "x", "-o", "x"),
        ("mask", "x", "--names", "a,b", "-o", "x"),
        ("extract", "masks", "-o", "x"),
        ("extract", "masks", "--masks", "-o", "x"),
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


def contents(path):
    """The tensors and the metadata of a file."""
    with safe_open(path, "numpy") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118 (it is no mapping)


def test_one_moved_edge_fails_with_a_witness_that_a_recount_confirms(topokit, tmp_path):
    topokit("build", "--radices", "2,3", "--kron", "2,2,2", "-o", "net.safetensors")
    path = tmp_path / "net.safetensors"
    tensors, metadata = contents(path)
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
    topokit("build", "--radices", "2,3", "-o", "net.safetensors")
    path = tmp_path / "net.safetensors"
    tensors, metadata = contents(path)
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
        assert "give the folder of all layers, folder" in run.err
    assert (run.code == 0) == (to != "tsv")
