"""sparsify on models of other people's making, and training on several ranks."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from topokit import Bernoulli, RadixNet
from topokit.errors import InvalidSpecError
from topokit_train.conversion import densify, sparsify
from topokit_train.kernels import KERNELS
from topokit_train.layers.convolution import SparseConv2d
from topokit_train.layers.linear import SparseLinear

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


def test_modules_without_bias_frozen_ones_and_the_mode_are_kept():
    model = nn.Sequential(nn.Linear(20, 40, bias=False), nn.Linear(40, 20)).eval()
    model[0].weight.requires_grad_(False)
    model[1].bias.requires_grad_(False)
    sparsify(model, NET)
    assert model[0].bias is None
    assert [parameter.requires_grad for parameter in model.parameters()] == [False, True, False]
    assert not model[0].training


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


@pytest.mark.parametrize(
    ("net", "kernel", "message"),
    [
        (
            RadixNet(radices=[(5, 5)], kron=(1, 2, 1)),
            "auto",
            r"layer 0 is 25 -> 50.*0.weight 20 -> 40.*crop=20,40,20 fits",
        ),
        (NET, "crs", "no kernel named 'crs'"),
    ],
)
def test_a_model_that_is_refused_is_unchanged(net, kernel, message):
    model = a_model()
    with pytest.raises(InvalidSpecError, match=message):
        sparsify(model, net, kernel=kernel)
    assert not any(isinstance(part, SparseLinear) for part in model)


def test_a_bare_layer_comes_back_as_a_new_one():
    one = Bernoulli(widths=(20, 40), density=".5", seed=1)
    sparse = sparsify(nn.Linear(20, 40), one)
    assert isinstance(sparse, SparseLinear)
    assert isinstance(densify(sparse), nn.Linear)
    with pytest.raises(InvalidSpecError, match="there is no weight that a topology can fill"):
        sparsify(nn.Sequential(nn.ReLU()), one)


def a_convolutional_model(**options):
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, **options), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1, dtype=options.get("dtype"))
    )


WIRED = {  # (the topologies, each module's mask)
    "by channel": [Bernoulli(widths=(2, 6, 8), density=".5", seed=1)],
    "by weight": [Bernoulli(widths=(18, 6), density=".5", seed=2), Bernoulli(widths=(54, 8), density=".3", seed=3)],
}


def convolution_masks(nets):
    layers = [net.layer(i) for net in nets for i in range(len(net))]
    edges = [torch.from_numpy(layer.to_dense().T.copy()) for layer in layers]
    shapes = ((6, 2, 3, 3), (8, 6, 3, 3))
    return [
        mask[:, :, None, None].expand(shape) if mask.shape == shape[:2] else mask.reshape(shape)
        for mask, shape in zip(edges, shapes, strict=True)
    ]


@pytest.mark.parametrize("kernel", ["masked", "csr", "block"])
@pytest.mark.parametrize("nets", WIRED.values(), ids=WIRED)
@pytest.mark.parametrize(
    "options", [{}, {"stride": 2, "dilation": 2, "padding": 1, "padding_mode": "replicate"}], ids=str
)
def test_the_weights_of_convolutions_on_the_edges_stay(kernel, nets, options):
    model = a_convolutional_model(dtype=torch.float64, **options)
    reference = copy.deepcopy(model)
    with torch.no_grad():
        for index, mask in zip((0, 2), convolution_masks(nets), strict=True):
            reference[index].weight.mul_(mask)
    sparsify(model, nets if len(nets) > 1 else nets[0], kernel=kernel)
    assert [type(part) for part in model] == [SparseConv2d, nn.ReLU, SparseConv2d]
    assert model[0].kernel == kernel
    x = torch.randn(3, 2, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(model(x), reference(x))
    torch.testing.assert_close(copy.deepcopy(model)(x), reference(x))


def test_a_pruned_convolution_keeps_the_weights_of_its_last_step():
    model = a_convolutional_model()
    for index, mask in zip((0, 2), convolution_masks(WIRED["by weight"]), strict=True):
        prune.custom_from_mask(model[index], "weight", mask)
    x = torch.randn(3, 2, 9, 9)
    model(x).sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    sparse = sparsify(nn.Sequential(*model), WIRED["by weight"])
    torch.testing.assert_close(sparse(x), model(x))


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


@pytest.mark.parametrize("kernel", ["masked", "csr"])
@pytest.mark.parametrize(("widths", "filters"), [((3, 8), (3, 2)), ((18, 8), (3, 2))], ids=["by channel", "by weight"])
def test_a_dense_state_dict_makes_the_same_of_plain_modules(kernel, widths, filters):
    def plain():
        return nn.Sequential(
            nn.Conv2d(3, 8, filters, padding=1), nn.Flatten(), nn.Linear(8 * 4 * 5, 6), nn.BatchNorm1d(6)
        )

    nets = [Bernoulli(widths=widths, density=".4", seed=1), Bernoulli(widths=(160, 6), density=".2", seed=2)]
    model, images = sparsify(plain(), nets, kernel=kernel).eval(), torch.randn(7, 3, 4, 4)
    dense = plain().eval()
    dense.load_state_dict(densify(copy.deepcopy(model)).state_dict())
    torch.testing.assert_close(dense(images), model(images))
    assert int((dense[2].weight != 0).sum()) == nets[1].edges
    assert densify(model[2]).state_dict().keys() == {"weight", "bias"}
