"""A topology's masks on a user's own modules: what is computed, and that the masks last."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import topokit as tk
from topokit.errors import InvalidGraphError, InvalidSpecError
from topokit_train import sparsify

BY_CHANNEL = tk.Bernoulli(widths=(2, 4, 6, 5, 3), density=".5", seed=1)
BY_WEIGHT = tk.Bernoulli(widths=(36, 6), density=".5", seed=2)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.fc = nn.Sequential(nn.Linear(6 * 16, 5), nn.ReLU(), nn.Linear(5, 3))

    def forward(self, x):
        return self.fc(self.conv2(self.conv1(x).relu()).relu().flatten(1))


def model():
    torch.manual_seed(0)
    return Net()


def masked_model(net, topology, names=None):
    return sparsify(net, topology, names, masked=True)


def images(seed=0):
    return torch.randn(7, 2, 4, 4, generator=torch.Generator().manual_seed(seed))


def trained(net, steps=3):
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for step in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images(step)), torch.arange(7) % 3).backward()
        optimizer.step()
    return net


def zero_weights(net):
    """Where the weights that are used are 0, of each masked module."""
    net(images())
    return {name: part.weight == 0 for name, part in net.named_modules() if hasattr(part, "weight_mask")}


def test_the_masks_last_through_training_and_copies(tmp_path):
    masked = trained(masked_model(model(), BY_CHANNEL))
    before, logits = zero_weights(masked), masked(images(9))
    assert all(0 < zeros.float().mean() < 1 for zeros in before.values())

    for twin in (copy.deepcopy(masked), pickle.loads(pickle.dumps(masked))):
        assert torch.equal(twin(images(9)), logits)
        trained(twin)
        after = zero_weights(twin)
        assert all(torch.equal(after[name], before[name]) for name in before)
        assert not torch.equal(twin(images(9)), logits)
        assert torch.equal(masked(images(9)), logits)  # the copy is of its own

    torch.save(masked.state_dict(), tmp_path / "model.pt")
    fresh = masked_model(model(), BY_CHANNEL)
    fresh.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert torch.equal(fresh(images(9)), logits)
    arrays = {name: tensor.numpy() for name, tensor in masked.state_dict().items()}
    found = tk.extract(arrays, layers=["conv1", "conv2", "fc.0", "fc.2"])
    assert tk.fingerprint(found) == tk.fingerprint(BY_CHANNEL)


def test_no_gradient_reaches_what_is_masked():
    masked = masked_model(model(), BY_CHANNEL)
    nn.functional.cross_entropy(masked(images()), torch.arange(7) % 3).backward()
    for name, zeros in zero_weights(masked).items():
        gradient = masked.get_submodule(name).weight_orig.grad
        assert (gradient[zeros] == 0).all()
        assert (gradient[~zeros] != 0).any()


def test_prune_remove_makes_it_a_plain_model_again():
    masked = masked_model(model(), BY_CHANNEL)
    logits = masked(images())
    for module in (masked.conv1, masked.conv2, masked.fc[0], masked.fc[2]):
        prune.remove(module, "weight")
    assert torch.equal(masked(images()), logits)
    assert "conv1.weight" in masked.state_dict()
    trained(copy.deepcopy(masked))


def test_a_second_topology_takes_the_place_of_the_first():
    """What the first one masked is 0 then, and is trained if the second one keeps it, as in a sparse layer."""
    other = tk.Bernoulli(widths=BY_CHANNEL.widths, density=".5", seed=7)
    once = zero_weights(masked_model(model(), BY_CHANNEL))
    twice = masked_model(masked_model(model(), BY_CHANNEL), other)
    for name, zeros in zero_weights(twice).items():
        second = twice.get_submodule(name).weight_mask == 0
        assert torch.equal(zeros, once[name] | second)
        assert not torch.equal(zeros, second)
    trained(twice)
    assert any((zeros < once[name]).any() for name, zeros in zero_weights(twice).items())
    assert all(len(module._forward_hooks) == 1 for module in (twice.conv1, twice.fc[2]))


def test_names_and_masks():
    one = tk.Bernoulli(widths=(5, 3), density=".5", seed=3)
    assert list(zero_weights(masked_model(model(), one, ["fc.2"]))) == ["fc.2"]
    masks = tk.masks(one, ["fc.2.weight"])
    assert torch.equal(masked_model(model(), masks)(images()), masked_model(model(), one)(images()))
    four = np.random.default_rng(0).random((4, 2, 3, 3)) < 0.5
    zeros = zero_weights(masked_model(model(), {"conv1": four}))
    assert np.array_equal(~zeros["conv1"].numpy(), four)


@pytest.mark.parametrize(
    ("masks", "error", "said"),
    [
        ({"fc.2": np.full((3, 5), 0.5)}, InvalidGraphError, "values other than 0 and 1"),
        ({"fc.2": np.ones((3, 5)), "gone": np.ones((1, 1))}, InvalidSpecError, "named 'gone'"),
        ({"fc.2": np.ones((3, 5)), "conv1": np.ones((4, 2))}, InvalidSpecError, "4 x 2, but its weight has 4 x 2 x 3"),
    ],
)
def test_what_does_not_fit_leaves_the_model_as_it_was(masks, error, said):
    net_model = model()
    with pytest.raises(error, match=said):
        masked_model(net_model, masks)
    assert not prune.is_pruned(net_model)
