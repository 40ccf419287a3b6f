"""Modules whose arrays and layers differ: permuted inputs, orientations, weights of positions, own masks."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402 (skipped without torch)
from torch import nn  # noqa: E402

import topokit as tk  # noqa: E402
import topokit_train  # noqa: E402
from topokit.errors import InvalidSpecError  # noqa: E402


def pruned(model):
    """The model with half of its weights, of two dimensions or more."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape) * (torch.rand(parameter.shape) < 0.5))
    return model.eval()


class Then(nn.Module):
    """Two linear layers with a function between them."""

    def __init__(self, function):
        super().__init__()
        self.one, self.function, self.two = nn.Linear(4, 4), function, nn.Linear(4, 4)

    def forward(self, x):
        return self.two(self.function(self.one(x)))


def flattened_last():
    last = nn.Linear(8, 4)
    return nn.Sequential(nn.Conv2d(4, 2, 1), nn.Unflatten(1, (2,)), Move(), nn.Flatten(), last)


class Move(nn.Module):
    def forward(self, x):
        return x.movedim(1, -1)


PERMUTED = {
    "shuffled": lambda: nn.Sequential(nn.Conv2d(4, 4, 1, groups=2), nn.ChannelShuffle(2), nn.Conv2d(4, 4, 1)),
    "flipped": lambda: Then(lambda y: y.flip(1)),
    "taken": lambda: Then(lambda y: y[:, [2, 0, 3, 1]]),
    "halves": lambda: Then(lambda y: torch.cat(y.chunk(2, 1)[::-1], 1)),
    "channels last": flattened_last,
}


@pytest.mark.parametrize("name", PERMUTED)
def test_a_permuted_topology_is_not_put_on_other_weights(name, topokit, tmp_path):
    model, x = (
        pruned(PERMUTED[name]()),
        torch.randn(2, 4, 2, 2) if name in ("shuffled", "channels last") else torch.randn(2, 4),
    )
    found = topokit_train.extract(model, x)
    again = PERMUTED[name]().eval()
    again.load_state_dict(model.state_dict())
    layer = found.layers[1]["name"]
    found.topology.save(tmp_path / "net.safetensors")
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    for given in (found, found.topology, tmp_path / "net.safetensors"):
        with pytest.raises(InvalidSpecError, match=f"the model permutes the inputs of {layer}"):
            topokit_train.sparsify(again, given)
    with pytest.raises(InvalidSpecError, match="the model permutes"):
        tk.masks(tk.reverse(tk.reverse(found.topology)))
    run = topokit("mask", "net.safetensors", "--apply", "model.safetensors", "-o", "masked.safetensors")
    assert (run.code, f"the model permutes the inputs of {layer}" in run.err) == (2, True)
    topokit_train.sparsify(again, found.masks)
    torch.testing.assert_close(again(x), model(x))


class Transposed(nn.Module):
    """A linear layer that is stored as (in, out), as in GPT-2."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(6, 6))

    def forward(self, x):
        return x @ self.weight


def test_the_topology_of_a_module_knows_how_its_arrays_are_stored(topokit, tmp_path):
    model = pruned(nn.Sequential(Transposed(), nn.GELU(), Transposed()))
    topokit_train.extract(model, torch.zeros(1, 6)).topology.save(tmp_path / "net.safetensors")
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    assert topokit("mask", "net.safetensors", "--apply", "model.safetensors", "-o", "again.safetensors").code == 0
    again = load_file(tmp_path / "again.safetensors")
    for key, value in model.state_dict().items():
        assert torch.equal(again[key], value)
    assert topokit("verify", "net.safetensors", "--check", "soundness").code == 0


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.token, self.b = nn.Linear(4, 5), nn.Linear(6, 6), nn.Linear(5, 3)

    def forward(self, x):
        return self.b(self.token(self.a(x).mT).mT)


def test_weights_of_positions_keep_the_nodes():
    model = pruned(Mixer())
    found = topokit_train.extract(model, torch.zeros(1, 6, 4))
    assert found.topology.names == ("a.weight", "b.weight")
    assert "multiplies the positions of the same nodes" in found.left["token.weight"][1]
    a, b = ((one.weight != 0).numpy().astype(int) for one in (model.a, model.b))
    assert np.array_equal(tk.path_counts(found.topology), (b @ a).T)


class Masked(nn.Module):
    def __init__(self, mask, function):
        super().__init__()
        self.weight, self.function = nn.Parameter(torch.randn(4, 4)), function
        self.name = mask
        self.register_buffer(mask, (torch.rand(4, 4) < 0.5).float())

    def forward(self, x):
        return nn.functional.linear(x, self.function(getattr(self, self.name), self.weight))


@pytest.mark.parametrize("name", ["mask", "m", "weight_mask"])
@pytest.mark.parametrize(
    "function",
    [
        lambda m, w: m * w,
        lambda m, w: w * m,
        lambda m, w: torch.where(m > 0, w, 0.0),
        lambda m, w: w.masked_fill(m == 0, 0),
    ],
)
def test_a_weight_and_its_mask_have_the_name_of_the_weight(name, function):
    model = Masked(name, function)
    found = topokit_train.extract(model, torch.zeros(1, 4))
    assert [one["name"] for one in found.layers] == ["weight"]
    assert np.array_equal(found.masks["weight"], getattr(model, name).numpy() > 0)


def test_a_chain_with_an_embedding_is_refused_by_name():
    model = pruned(nn.Sequential(nn.Embedding(20, 16), nn.Linear(16, 5)))
    found = topokit_train.extract(model, torch.zeros(2, 3, dtype=torch.long))
    assert found.topology.widths == (20, 16, 5)
    with pytest.raises(InvalidSpecError, match=r"0.weight belongs to Embedding: a topology can fill nn.Linear"):
        topokit_train.sparsify(model, found)


@pytest.mark.parametrize("options", [None, 3, {"layouts": [1]}, {"permuted": 7}])
def test_a_damaged_recipe_of_an_extraction_is_no_traceback(options, topokit, tmp_path):
    recipe = {"extraction": "module"} if options is None else {"extraction": "module", "options": options}
    tk.Topology.from_dense([np.eye(2)], recipe=recipe, names=["w"]).save(tmp_path / "net.safetensors")
    save_file({"w": torch.ones(2, 2)}, tmp_path / "model.safetensors")
    run = topokit("mask", "net.safetensors", "--apply", "model.safetensors", "-o", "masked.safetensors")
    assert (run.code, "Traceback" in run.err) == (0, False)
