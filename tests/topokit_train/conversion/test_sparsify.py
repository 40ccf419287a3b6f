"""sparsify on models of other people's making, and training on several ranks."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from topokit import Bernoulli, RadixNet, verify
from topokit.errors import InvalidSpecError
from topokit_train.conversion import densify, sparsify
from topokit_train.kernels import KERNELS
from topokit_train.layers.linear import SparseLinear
from topokit_train.runs.topologies import resolve
from topokit_train.weights import extract

NET = RadixNet(radices=[(4, 5)], kron=(1, 2, 1)).build()  # 20-40-20
WEIGHTS = ("0.weight", "2.weight")


def masks(net=NET):
    return [torch.from_numpy(net.layer(i).to_dense().T.copy()) for i in range(len(net))]


def a_model(**kinds):
    return nn.Sequential(nn.Linear(20, 40, **kinds), nn.ReLU(), nn.Linear(40, 20, **kinds), nn.Linear(20, 3, **kinds))


@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_weights_on_the_edges_stay_and_the_others_go(kernel, dtype):
    model, reference = a_model(dtype=dtype), a_model(dtype=dtype)
    reference.load_state_dict(model.state_dict())
    with torch.no_grad():
        for name, mask in zip(WEIGHTS, masks(), strict=True):
            reference.get_parameter(name).mul_(mask)
    assert sparsify(model, NET, kernel=kernel) is model
    assert [type(part) for part in model] == [SparseLinear, nn.ReLU, SparseLinear, nn.Linear]
    assert model[0].kernel == kernel
    assert model[0].values.dtype == model[0].bias.dtype == dtype
    x = torch.randn(6, 20, dtype=dtype, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x), reference(x))


def test_a_pruned_model_keeps_the_weights_of_its_last_step():
    model = a_model()
    for index, mask in zip((0, 2), masks(), strict=True):
        prune.custom_from_mask(model[index], "weight", mask)
    prune.random_unstructured(model[0], "bias", 0.5)
    x = torch.randn(6, 20, generator=torch.Generator().manual_seed(0))
    model(x).sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()  # model[0].weight is still the one before this step
    sparse = sparsify(nn.Sequential(*model), NET)
    torch.testing.assert_close(sparse(x), model(x))


def test_torchs_own_random_numbers_are_left_alone():
    model, before = a_model(), torch.random.get_rng_state()
    sparsify(model, NET)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_names_limit_what_may_be_replaced():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = a_model(), a_model()

    model = sparsify(Twice(), NET, names=["right.0", "right.2"])
    assert [name for name, part in model.named_modules() if isinstance(part, SparseLinear)] == ["right.0", "right.2"]
    with pytest.raises(InvalidSpecError, match=r"no weight named 'right' that a topology can fill: did you mean right"):
        sparsify(model, NET, names=["right"])


def test_a_module_that_stands_in_two_places_is_replaced_in_both():
    shared = nn.Linear(20, 40)
    model = nn.ModuleDict({"a": shared, "b": nn.Sequential(shared), "c": nn.Linear(40, 20)})
    sparsify(model, NET)
    assert isinstance(model["a"], SparseLinear)
    assert model["b"][0] is model["a"]


def test_a_bare_layer_comes_back_as_a_new_one():
    one = Bernoulli(widths=(20, 40), density=".5", seed=1)
    sparse = sparsify(nn.Linear(20, 40), one)
    assert isinstance(sparse, SparseLinear)
    assert isinstance(densify(sparse), nn.Linear)
    with pytest.raises(InvalidSpecError, match="there is no weight that a topology can fill"):
        sparsify(nn.Sequential(nn.ReLU()), one)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_torchs_transformers_call_their_sparse_layers(norm_first, padded):
    def encoder(nested):
        layer = nn.TransformerEncoderLayer(20, 4, 40, batch_first=True, norm_first=norm_first, dtype=torch.float64)
        return nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested)

    model = copy.deepcopy(sparsify(encoder(not norm_first), [NET, NET]))
    dense = encoder(False)
    dense.load_state_dict(densify(copy.deepcopy(model)).state_dict())
    x, padding = torch.randn(3, 5, 20, dtype=torch.float64), torch.arange(5) >= torch.tensor([[5], [4], [2]])
    given = {"src_key_padding_mask": padding} if padded else {}
    for part in (model, dense):
        part.eval()
    with torch.no_grad():
        y, expected = model(x, **given), dense(x, **given)
        torch.testing.assert_close(y[~padding], expected[~padding])
        torch.testing.assert_close(model.layers[1](x), dense.layers[1](x))
    model.train()(x, **given).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


class Residual(nn.Module):
    """Three chains of layers: into, one and two, out."""

    def __init__(self):
        super().__init__()
        self.into, self.one, self.two, self.out = (nn.Linear(6, 6) for _ in range(4))

    def forward(self, x):
        x = self.into(x)
        return self.out(x + self.two(self.one(x).relu()))


def test_an_extraction_fills_the_parameters_of_its_names():
    model, x = Residual(), torch.randn(3, 6)
    for k, name in enumerate(("into", "one", "two", "out")):
        prune.random_unstructured(getattr(model, name), "weight", 5 + k)
    found = extract(model, x)
    sparse = Residual()
    sparse.load_state_dict(
        {name: model.state_dict().get(f"{name}_orig", model.state_dict().get(name)) for name in sparse.state_dict()}
    )
    sparsify(sparse, found)
    assert [getattr(sparse, name).values.numel() for name in ("into", "one", "two", "out")] == [31, 30, 29, 28]
    torch.testing.assert_close(sparse(x), model(x))
    assert resolve(found, dict) == found.chains
    with pytest.raises(InvalidSpecError, match=r"they are 3 chains .* Use chains"):
        verify(found)
