"""Tasks: their losses and metrics, those of users, and training on them."""

import math

import numpy as np
import pytest
import torch

from topokit.errors import InvalidSpecError, TopokitError
from topokit_train import dataset
from topokit_train.config import TrainConfig
from topokit_train.tasks import dead_classes, require_finite, task_of
from topokit_train.training import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
MINE = """
import torch
def loss(outputs, targets): return (outputs - targets).abs().mean()
def worst(outputs, targets): return (outputs - targets).abs().max()
def each(outputs, targets): return (outputs - targets).abs()
def number(outputs, targets): return 1.0
def nothing(outputs, targets): return torch.tensor(float("nan"))
def fails(outputs, targets): return outputs @ torch.ones(7)
def text(outputs, targets): return "high"
def half(outputs, targets): return (outputs.argmax(-1) == targets).float().mean() / 2
"""


def numbers(samples=200, outputs=None, seed=0):
    """Regression data: (inputs, targets)."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(samples, 6))
    targets = np.tanh(inputs @ random.normal(size=(6, outputs or 1)) / 3)
    return inputs, targets if outputs else targets[:, 0]


@pytest.fixture(scope="module")
def regression():
    return dataset(numbers(), numbers(seed=0), name="waves")


@pytest.fixture
def mine(tmp_path):
    """A function: the name of a function of the user."""
    (tmp_path / "mine.py").write_text(MINE)
    return lambda name: f"{tmp_path / 'mine.py'}:{name}"


def trainer(data, seeds=None, **settings):
    return Trainer(TrainConfig(epochs=30, **settings), None, data, device=CPU, kernel="auto", seeds=seeds)


def test_classification_counts_what_is_right():
    task = task_of(dataset((np.eye(3), [0, 1, 2]), (np.eye(3), [0, 1, 2])))
    outputs, targets = torch.tensor([[2.0, 1, 0], [2, 1, 0], [0, 0, 1]]), torch.tensor([0, 1, 2])
    kept = task.kept(outputs, targets)
    assert task.scores(kept, targets) == {"accuracy": 2 / 3}
    assert (task.metric, task.better) == ("accuracy", "higher")
    assert dead_classes(task, kept, targets) == [1]


def test_regression_gives_mse_and_r2():
    random = np.random.default_rng(0)
    wanted, found = random.normal(size=(50, 2)), random.normal(size=(50, 2))
    task = task_of(dataset((wanted, wanted), (wanted, wanted)))
    scores = task.scores(torch.tensor(found), torch.tensor(wanted))
    errors = ((found - wanted) ** 2).sum()
    spread = sum(((column - column.mean()) ** 2).sum() for column in wanted.T)
    assert scores == pytest.approx({"mse": errors / 100, "r2": 1 - errors / spread})
    assert list(scores) == ["mse", "r2"]
    assert (task.metric, task.better) == ("mse", "lower")
    assert dead_classes(task, torch.tensor(found), torch.tensor(wanted)) is None


@pytest.mark.parametrize(("found", "r2"), [(3.0, 1), (4.0, 0)])
def test_r2_of_constant_targets(found, r2):
    constant = torch.full((4,), 3.0)
    task = task_of(dataset((np.ones((4, 1)), constant), (np.ones((4, 1)), constant)))
    assert task.scores(torch.full((4, 1), found), constant)["r2"] == r2


def test_one_output_of_a_regression_is_no_matrix_of_differences():
    task = task_of(dataset(numbers(), numbers()))
    targets = torch.arange(5.0)
    assert float(task.loss(targets[:, None], targets)) == 0
    assert task.scores(targets[:, None], targets)["r2"] == 1


def test_next_token_gives_loss_and_perplexity():
    random = np.random.default_rng(0)
    tokens = random.integers(0, 7, (4, 9))
    task = task_of(dataset((tokens[:, :-1], tokens[:, 1:]), (tokens[:, :-1], tokens[:, 1:]), "next-token"))
    outputs, targets = torch.tensor(random.normal(size=(4, 8, 7))), torch.tensor(tokens[:, 1:])
    log = torch.log_softmax(outputs, -1)
    wanted = -np.mean([float(log[i, j, targets[i, j]]) for i in range(4) for j in range(8)])
    assert float(task.loss(outputs, targets)) == pytest.approx(wanted)
    scores = task.scores(task.kept(outputs, targets), targets)
    assert scores == pytest.approx({"loss": wanted, "perplexity": math.exp(wanted)})
    assert task.scores(torch.full((3,), 1e6), targets)["perplexity"] < math.inf


@pytest.mark.parametrize("outputs", [(4, 3), (4,), (4, 2, 2), (3, 2)])
def test_outputs_of_another_shape_are_refused(outputs):
    classes = task_of(dataset((np.eye(4), [0, 1, 1, 0]), (np.eye(4), [0, 1, 1, 0])))
    with pytest.raises(InvalidSpecError, match=r"the model gives outputs of shape .*, and the task needs \(4, 2\)"):
        classes.loss(torch.zeros(outputs), torch.tensor([0, 1, 1, 0]))


@pytest.mark.parametrize("seeds", [None, (0,)])
def test_a_regression_is_learned(regression, seeds):
    made = trainer(regression, seeds, batch_size=20)
    for _ in range(30):
        (metrics,) = made.run_epoch()
    assert metrics.metric == "mse"
    assert metrics.test_metric < 0.01
    assert metrics.test_metrics["r2"] > 0.9
    assert metrics.test_accuracy is None
    assert made.dead_classes() == [None]


def test_the_numbers_of_a_regression_are_used_as_they_are(regression):
    feed = trainer(regression, validation=50).feed
    np.testing.assert_allclose(feed.images, numbers()[0][:150], rtol=1e-6)
    np.testing.assert_allclose(feed.held_out[1], numbers()[1][150:], rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pixels": "unit"}, "pixels is for images"),
        ({"augment": "none"}, "augment is for images"),
        ({"relu_logits": True}, "relu_logits is for classes, and given:waves has none"),
    ],
)
def test_settings_of_other_data_are_refused(regression, settings, said):
    with pytest.raises(InvalidSpecError, match=said):
        trainer(regression, **settings)


def test_a_loss_and_a_metric_of_the_user(regression, mine):
    made = trainer(regression, loss=mine("loss"), metric=mine("worst"), better="lower", validation=20)
    (metrics,) = made.run_epoch()
    assert metrics.metric == "worst"
    assert [*metrics.test_metrics] == ["mse", "r2"]
    with torch.no_grad():
        errors = (made.model(made.feed.test[0]).squeeze(1) - made.feed.test[1]).abs()
    assert metrics.test_metric == pytest.approx(float(errors.max()))
    assert metrics.test_metrics["mse"] == pytest.approx(float((errors**2).mean()), rel=1e-5)
    assert metrics.validation_metric is not None
    assert (made.task.better, made.task.stacks) == ("lower", False)


def test_a_metric_of_the_user_is_that_of_each_stacked_network(digits, mine):
    made = trainer(digits, (1, 2), metric=mine("half"), better="higher")
    for metrics in made.run_epoch():
        assert metrics.test_metric == pytest.approx(metrics.test_accuracy / 2)
    assert all(isinstance(dead, list) for dead in made.dead_classes())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss": "each"}, r"loss .*mine.py:each returns a tensor of shape \(100,\): give .* a scalar tensor"),
        ({"loss": "number"}, r"loss .*mine.py:number returns float"),
        ({"loss": "nothing"}, r"returns a tensor of shape \(\): give .* with a gradient"),
        ({"loss": "fails"}, r"mine.py:fails failed in line 8 of mine.py: RuntimeError"),
        ({"loss": "lost"}, "mine.py has no function lost, but loss"),
        ({"metric": "text", "better": "higher"}, "metric .*mine.py:text returns str: .* one number"),
        ({"metric": "each", "better": "higher"}, "metric .*mine.py:each returns Tensor: .* one number"),
        ({"metric": "nothing", "better": "higher"}, "the metric nothing is nan in epoch 1 of seed 0"),
    ],
)
def test_functions_that_do_not_fit_are_refused_in_one_line(regression, mine, settings, said):
    settings = {name: value if name == "better" else mine(value) for name, value in settings.items()}
    with pytest.raises(TopokitError, match=said) as refused:
        trainer(regression, **settings).run_epoch()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss": "mse"}, "loss must be file.py:function or package.module:function, not 'mse'"),
        ({"metric": "mine.py:f"}, "give metric and better together"),
        ({"better": "higher"}, "give metric and better together"),
    ],
)
def test_settings_of_functions_are_checked_before_anything_runs(settings, said):
    with pytest.raises(InvalidSpecError, match=said):
        TrainConfig(**settings)


def test_metrics_are_finite():
    require_finite({"mse": 1.0}, "here")
    with pytest.raises(TopokitError, match="the metric r2 is -inf here"):
        require_finite({"mse": 1.0, "r2": -math.inf}, "here")
