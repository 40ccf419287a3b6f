"""evaluate: a run's network on the test samples of its dataset or of another."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from topokit.errors import InvalidSpecError, TopokitError
from topokit_train import TrainConfig, dataset, evaluate, load_run, train
from topokit_train.datasets import load_dataset
from topokit_train.runs.topologies import default_topology

OLD = Path(__file__).parents[2] / "data" / "0.1.0" / "run"
DIGITS = load_dataset("digits")
pytestmark = pytest.mark.usefixtures("one_thread")


def waves(samples=150):
    random = np.random.default_rng(0)
    inputs = random.normal(size=(samples, 6))
    return inputs, np.tanh(inputs[:, 0] - inputs[:, 1])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(the folder of a run on digits, with held-out images, its result)."""
    folder = tmp_path_factory.mktemp("evaluated")
    return folder, train(TrainConfig(epochs=2, validation=200), default_topology(), run=folder)


def test_it_gives_what_the_run_gave(run):
    folder, result = run
    found = evaluate(folder)
    assert (found.dataset, found.samples) == ("digits", 360)
    for name in ("metric", "better", "test_metric", "test_metrics", "dead_classes", "dead_units"):
        assert getattr(found, name) == getattr(result, name)
    assert evaluate(folder / "checkpoint.safetensors").test_metric == result.test_metric


def test_each_class_is_counted(run):
    folder, _ = run
    found = evaluate(folder)
    network, mean = load_run(folder), DIGITS.train_inputs[:-200].mean()
    images = (DIGITS.test_inputs - mean) / DIGITS.train_inputs[:-200].std()
    with torch.no_grad():
        predicted = network(torch.tensor(images, dtype=torch.float32)).argmax(1).numpy()
    for label, one in enumerate(found.classes):
        wanted, there = predicted == label, DIGITS.test_targets == label
        assert (one.label, one.count, one.predicted) == (label, there.sum(), wanted.sum())
        assert one.recall == (wanted & there).sum() / there.sum()
        assert one.precision == (wanted & there).sum() / wanted.sum()
    assert sum(one.count * one.recall for one in found.classes) == pytest.approx(360 * found.test_metric)


def test_a_class_without_samples_or_predictions_has_no_share(run):
    folder, _ = run
    ones = DIGITS.test_targets == 1
    data = dataset(
        (DIGITS.train_inputs, DIGITS.train_targets), (DIGITS.test_inputs[ones], DIGITS.test_targets[ones]), name="ones"
    )
    found = evaluate(folder, data)
    assert (found.dataset, found.samples) == ("given:ones", ones.sum())
    assert found.classes[1].count == ones.sum()
    assert found.classes[0].recall is None
    assert all(found.classes[label].precision is None for label in found.dead_classes)


def test_a_run_on_data_of_ones_own(tmp_path):
    data = dataset(waves(), waves(), name="waves")
    result = train(TrainConfig(epochs=3, dataset="given:waves"), None, data=data, run=tmp_path)
    assert (result.dataset, result.metric, result.test_accuracy) == ("given:waves", "mse", None)
    found = evaluate(tmp_path, data)
    assert found.test_metric == pytest.approx(result.test_metric)
    assert found.test_metrics == pytest.approx(result.test_metrics)
    assert found.classes is found.dead_classes is None
    assert [*found.dead_units] == ["fc1", "fc2"]
    with pytest.raises(InvalidSpecError, match=r"uses your dataset given:waves: pass it as dataset"):
        evaluate(tmp_path)


def test_a_run_of_0_1_0(tmp_path):
    found = evaluate(shutil.copytree(OLD, tmp_path / "run"))
    assert found.metric == "accuracy"
    assert len(found.classes) == 10


def test_a_metric_of_the_user(run, tmp_path):
    (tmp_path / "mine.py").write_text("def right(outputs, targets): return (outputs.argmax(1) == targets).sum()\n")
    found = evaluate(run[0], metric=f"{tmp_path / 'mine.py'}:right")
    assert (found.metric, found.test_metric) == ("right", run[1].test_accuracy * 360)
    assert found.test_metrics == {"accuracy": run[1].test_accuracy}
    assert len(found.classes) == 10


def test_what_does_not_fit_is_refused_in_one_line(run):
    folder, _ = run
    for data, said in ((dataset(waves(), waves()), "."), ("minst", "dataset must be one of .* not 'minst'")):
        with pytest.raises(TopokitError, match=said) as refused:
            evaluate(folder, data)
        assert "\n" not in str(refused.value)
    fewer = dataset((DIGITS.train_inputs[:9], [0] * 9), (DIGITS.test_inputs[:9], [0] * 9), name="fewer")
    with pytest.raises(InvalidSpecError, match=r"do not fit its model for given:fewer, inputs \(1, 28, 28\) and outp"):
        evaluate(folder, fewer)
