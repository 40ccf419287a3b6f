"""torchrun: two processes train the run that one would, and only one of them writes and speaks."""

import json
import re
import runpy
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np
import psutil
import pytest
import torch

from topokit.errors import InvalidSpecError, TopokitError, UnreachableError
from topokit.formats import load_all
from topokit.topologies import fingerprint
from topokit_train.config import TrainConfig
from topokit_train.feeding.feed import Feed
from topokit_train.machine import cpu_threads
from topokit_train.models.networks import model_source
from topokit_train.ranks import ALONE, VARIABLES, Ranks, answered, this_rank
from topokit_train.runs.checkpoints import load
from topokit_train.runs.folder import FolderElsewhere
from topokit_train.runs.jobs import Setup, job_of
from topokit_train.runs.parallel import require_same
from topokit_train.runs.train import train
from topokit_train.training import Trainer

WORK = Path(__file__).with_name("_ranks.py")
FILES = {".lock", "checkpoint.safetensors", "config.json", "metrics.jsonl", "result.json"}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What two processes did: their folder, and what each of them saw."""
    folder = tmp_path_factory.mktemp("together")
    # a busy machine takes many times as long as an idle one
    done = subprocess.run([*TORCHRUN, WORK, folder], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return folder, *(json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder in which one process did the same."""
    folder, work = tmp_path_factory.mktemp("alone"), runpy.run_path(str(WORK))
    with cpu_threads(1), work["IN_FLOAT64"]:
        for name, run in work["RUNS"].items():
            run(run=folder / name)
    return folder


@pytest.mark.parametrize("name", ["sparse", "convolutions", "seeds/seed3", "seeds/seed5", "pruned", "rewired"])
def test_two_processes_train_what_one_does_within_rounding(name, together, alone):
    two, one = (load(folder / name / "checkpoint.safetensors") for folder in (together[0], alone))
    assert two.tensors.keys() == one.tensors.keys()
    for key, value in one.tensors.items():
        np.testing.assert_allclose(two.tensors[key], value, rtol=0, atol=1e-9, err_msg=key)
    for ours, theirs in zip(two.metrics, one.metrics, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-6)
        assert (ours.test_accuracy, ours.lr) == (theirs.test_accuracy, theirs.lr)
    assert (two.fingerprints, two.scheduler) == (one.fingerprints, one.scheduler)
    assert (two.origin.processes, one.origin.processes) == (2, 1)
    assert replace(two.origin, processes=1) == one.origin


def test_all_processes_end_with_the_same_bits_and_results(together):
    _, first, second = together
    assert len(first["weights"]) == 8
    assert first["weights"] == second["weights"]
    assert first["results"] == second["results"]
    assert first["kernels"] == second["kernels"]
    assert first["edges"] == second["edges"]
    assert sum(map(len, first["edges"])) > 0


def test_wirings_are_those_that_one_process_prunes_to(together, alone):
    for target in (0.5, 0.9):
        ours, theirs = (
            load_all(folder / "pruned" / f"topology-{target}.safetensors") for folder in (together[0], alone)
        )
        assert list(map(fingerprint, ours)) == list(map(fingerprint, theirs))


def test_files_are_those_of_one_process_and_each_epoch_is_told_once(together, alone):
    folder = together[0]
    for name in ("sparse", "convolutions", "seeds/seed3", "pruned"):
        assert {path.name for path in (folder / name).iterdir()} == {path.name for path in (alone / name).iterdir()}
    assert {path.name for path in (folder / "sparse").iterdir()} == FILES
    epochs = [json.loads(line)["epoch"] for line in (folder / "sparse" / "metrics.jsonl").read_text().splitlines()]
    assert epochs == [1, 2]


def test_a_run_that_was_interrupted_goes_on_in_two_processes(together, assert_same_run):
    folder, *ranks = together
    assert [seen["interrupted"][0] for seen in ranks] == ["KeyboardInterrupt"] * 2
    assert_same_run(folder / "sparse", folder / "resumed")


@pytest.mark.parametrize(
    ("case", "speaker", "message"),
    [
        ("twins", 0, "the topology differs: .* in rank 1, .* in rank 0: give all processes of a run the same files"),
        ("epochs", 0, "epochs differs: 2 in rank 1, 1 in rank 0"),
        ("taken", 0, "holds checkpoint.safetensors already"),
        ("data", 1, "no network"),
    ],
)
def test_what_is_refused_is_refused_in_all_processes_said_by_one_and_nothing_is_written(
    case, speaker, message, together
):
    folder, *ranks = together
    kind, said, quiet = ranks[speaker][case]
    assert (kind != "SaidByAnotherError", quiet) == (True, False)
    assert re.search(message, said)
    assert ranks[1 - speaker][case] == ["SaidByAnotherError", f"rank {speaker}: {said}", True]
    assert case == "taken" or not (folder / case).exists()


def test_one_process_prints_the_result(together):
    folder, first, second = together
    assert json.loads(first["stdout"])["run"] == str(folder / "command")
    assert "epoch 1/1" in first["stderr"]
    assert [second[key] for key in ("stdout", "stderr", "exit")] == ["", "", 0]


def test_a_killed_process_ends_all_and_the_checkpoint_is_whole(tmp_path):
    folder = tmp_path / "run"
    topokit = [sys.executable, "-c", "from topokit_cli.main import main; main()"]
    command = [*TORCHRUN, "--no-python", "--", *topokit, "train", "--epochs", "5000", "--run", str(folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as torchrun:
        try:
            checkpoint = folder / "checkpoint.safetensors"
            while not checkpoint.exists() or not load(checkpoint).metrics:
                assert torchrun.poll() is None, torchrun.stderr.read()
                time.sleep(0.05)
            ranks = [child for child in psutil.Process(torchrun.pid).children() if child.environ().get("RANK") == "1"]
            ranks[0].send_signal(signal.SIGKILL)
            out, told = torchrun.communicate(timeout=300)
        finally:
            torchrun.kill()
    assert (torchrun.returncode, out) == (1, ""), told
    assert 1 <= len(load(checkpoint).metrics) < 5000
    assert not list(folder.glob(".topokit-*"))


def test_a_process_that_loses_another_says_how_to_go_on(short, tmp_path, monkeypatch, capsys):
    def lost(*_):
        with answered():
            raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(Trainer, "run_epoch", lost)
    with pytest.raises(UnreachableError, match=r"does not answer \(Connection closed") as failure:
        train(short, None, run=tmp_path)
    assert not failure.value.quiet
    assert f"stopped: continue with --run {tmp_path} --resume" in capsys.readouterr().err
    for name, value in zip(VARIABLES, ("1", "2", "1", "localhost", "29500"), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(UnreachableError) as failure:
        lost()
    assert failure.value.quiet


@pytest.fixture
def compared(digits, tmp_path):
    """Compare what two processes are given, the second after `change` was done; both use the same folder."""

    def compare(config, change, resume=False):
        said = []

        class InTurn(Ranks):
            def agreed(self, make):
                return make()

            def gathered(self, value):
                said.append(value)
                return said

        for ranks in (InTurn(0, 2), InTurn(1, 2)):
            setup = Setup(model_source(config.model), (), lambda: digits, resume=resume, ranks=ranks)
            require_same([job_of(config, setup, FolderElsewhere(tmp_path), force=False)], setup)
            if ranks.first:
                change()

    return compare


def test_a_checkpoint_of_as_many_epochs_that_is_another_is_refused(compared, tmp_path):
    config = TrainConfig(epochs=1, batch_size=500, threads=1)
    train(config, None, run=tmp_path)
    compared(config, lambda: None, resume=True)

    def change():
        checkpoint = load(tmp_path / "checkpoint.safetensors")
        with patch.object(Trainer, "run_epoch", twisted):
            train(config, None, run=tmp_path, force=True)
        assert load(tmp_path / "checkpoint.safetensors").origin == checkpoint.origin

    with pytest.raises(InvalidSpecError, match=r'the checkpoint differs: \["[0-9a-f]{64}"\] in rank 1, '):
        compared(config, change, resume=True)


def twisted(self, *arguments, run_epoch=Trainer.run_epoch):
    """An epoch that ends in other weights."""
    metrics = run_epoch(self, *arguments)
    with torch.no_grad():
        self.parameters[0].add_(1)
    return metrics


def test_weights_are_compared_by_what_they_are(compared, tmp_path):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"one")
    config = TrainConfig(epochs=1, weights=weights)
    compared(config, lambda: None)
    with pytest.raises(InvalidSpecError, match="weights differs: "):
        compared(config, lambda: weights.write_bytes(b"two"))
    weights.write_bytes(b"one")
    with pytest.raises(TopokitError, match=r"cannot read .*weights.safetensors: No such file"):
        compared(config, weights.unlink)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("images", [0, 1, 2, 7, 100])
def test_shares_are_the_batch_and_differ_by_one_at_most(size, images):
    shares = [Ranks(rank, size).share(5, 5 + images) for rank in range(size)]
    assert (shares[0].start, shares[-1].stop) == (5, 5 + images)
    assert all(one.stop == two.start for one, two in pairwise(shares))
    lengths = [share.stop - share.start for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_augmented_images_are_those_that_one_process_sees(digits):
    cropped = replace(digits, crop=(24, 24))
    config = TrainConfig(batch_size=301, epochs=1)
    feeds = [Feed(config, cropped, (0,), torch.device("cpu"), ranks) for ranks in (ALONE, Ranks(0, 2), Ranks(1, 2))]
    for (images, labels), *shares in zip(*(feed.batches(3) for feed in feeds), strict=True):
        torch.testing.assert_close(torch.cat([share[0] for share in shares]), images, rtol=0, atol=1e-4)
        assert torch.equal(torch.cat([share[1] for share in shares]), labels)


def test_one_device_for_several_processes_is_refused():
    assert ALONE.device(torch.device("cuda", 1)) == torch.device("cuda", 1)
    for device in (torch.device("cuda", 1), torch.device("mps")):
        with pytest.raises(InvalidSpecError, match="is one device, but torchrun started 2 processes: give cuda"):
            Ranks(0, 2).device(device)


def test_where_a_process_stands_is_read_from_what_torchrun_sets(monkeypatch):
    for name, value in zip(VARIABLES, ("3", "4", "1", "localhost", "29500"), strict=True):
        assert this_rank() == ALONE
        monkeypatch.setenv(name, value)
    assert this_rank() == Ranks(3, 4, 1)
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(InvalidSpecError, match="must be numbers, as torchrun sets them"):
        this_rank()
