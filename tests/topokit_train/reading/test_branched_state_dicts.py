"""State dicts of modules with branches: what is proposed, against which layers change the inputs of which others."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 (skipped without torch)

import topokit_train  # noqa: E402
from topokit.errors import InvalidSpecError  # noqa: E402
from topokit.extraction.weights import from_arrays  # noqa: E402

N = 8


class Branched(nn.Module):
    """Layers by name and a function of them and of an input; a dot in a name makes a module of modules."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            owner, _, own = name.rpartition("__")
            if owner and not hasattr(self, owner):
                setattr(self, owner, nn.ModuleDict())
            (getattr(self, owner) if owner else self).add_module(own, layer)

    def forward(self, x):
        return self.function(self, x)


def linear(*names):
    return {name: nn.Linear(N, N, bias=False) for name in names}


def attended(m, x):
    weights = torch.softmax(m.to_q(x) @ m.to_k(x).transpose(-1, -2), -1)
    return m.to_out(weights @ m.to_v(x))


def mixed(m, x):
    h = m.body(x)
    by = torch.softmax(m.gate(h), -1)
    return m.out(sum(by[..., i : i + 1] * m.experts[str(i)](h) for i in (0, 1)))


MODULES = {
    "variational": (lambda m, x: m.dec(m.mu(h := m.enc(x)) + m.logvar(h).exp()), linear("enc", "mu", "logvar", "dec")),
    "dueling": (lambda m, x: m.val(h := m.feat(x)) + m.advantage(h), linear("feat", "advantage", "val")),
    "two heads": (lambda m, x: (m.cls_head(h := m.body(x)), m.bbox_head(h)), linear("body", "cls_head", "bbox_head")),
    "dictionary of heads": (
        lambda m, x: [head(m.body(x)) for head in m.heads.values()],
        linear("body", "heads__depth", "heads__flow"),
    ),
    "actor and critic": (
        lambda m, x: (m.policy_head(h := m.body(x)), m.value_head(h)),
        linear("body", "policy_head", "value_head"),
    ),
    "film": (
        lambda m, x: m.fc2(m.fc1(x) * m.film["gamma"](x) + m.film["beta"](x)),
        linear("fc1", "film__gamma", "film__beta", "fc2"),
    ),
    "recurrent": (lambda m, x: m.h2o(m.i2h(x) + m.h2h(x.flip(0))), linear("i2h", "h2h", "h2o")),
    "attention": (attended, linear("to_q", "to_k", "to_v", "to_out")),
    "experts": (mixed, {**linear("body", "experts__0", "experts__1", "gate", "out"), "gate": nn.Linear(N, 2)}),
    "residual": (
        lambda m, x: m.fc(m.conv2(m.conv1(m.stem(x))).add(m.conv_res(m.stem(x))).mean((2, 3))),
        {
            "stem": nn.Conv2d(3, N, 3),
            **{name: nn.Conv2d(N, N, 1) for name in ("conv1", "conv2", "conv_res")},
            **linear("fc"),
        },
    ),
    "excited": (
        lambda m, x: m.fc2((h := m.fc1(x)) * torch.sigmoid(m.se["up"](m.se["down"](h)))),
        {"fc1": nn.Linear(N, N), "se__down": nn.Linear(N, N), "se__up": nn.Linear(N, N), "fc2": nn.Linear(N, N)},
    ),
    "values": (lambda m, x: m.value(h := m.feat(x)) + m.advantage(h), linear("feat", "advantage", "value")),
    "normal": (
        lambda m, x: (m.mean_linear(h := m.fc(x)), m.log_std_linear(h)),
        linear("fc", "mean_linear", "log_std_linear"),
    ),
    "numbered": (
        lambda m, x: m.fc4(m.fc3(m.fc21(h := m.fc1(x)) + m.fc22(h).exp())),
        {
            "fc1": nn.Linear(N, 6),
            "fc21": nn.Linear(6, 3),
            "fc22": nn.Linear(6, 3),
            "fc3": nn.Linear(3, 6),
            "fc4": nn.Linear(6, N),
        },
    ),
    "wide and deep": (
        lambda m, x: m.wide(x) + m.deep["1"](m.deep["0"](x)),
        linear("wide", "deep__0", "deep__1"),
    ),
    "two speeds": (
        lambda m, x: m.head(m.slow_path(x) + m.fast_path(x)),
        linear("slow_path", "fast_path", "head"),
    ),
    "graph": (lambda m, x: m.out(m.fc_self(x) + m.fc_neigh(x.flip(0))), linear("fc_self", "fc_neigh", "out")),
    "adaptive": (lambda m, x: m.scale(h := m.fc(x)) * h + m.shift(h), linear("fc", "scale", "shift")),
    "language": (
        lambda m, x: m.lm_head(m.fc(m.tok(x) + m.pos(torch.arange(2)))),
        {"tok": nn.Embedding(20, N), "pos": nn.Embedding(2, N), **linear("fc"), "lm_head": nn.Linear(N, 20)},
    ),
}


def inputs_of(model, name, x):
    """What a layer reads."""
    seen = []
    hook = model.get_submodule(name).register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    model(x)
    hook.remove()
    return torch.cat([one.flatten().double() for one in seen])


def reads(model, first, second, x):
    """Whether the inputs of a layer change with the weight of another one."""
    before = inputs_of(model, second, x)
    weight = model.get_submodule(first).weight
    kept = weight.data.clone()
    weight.data += torch.rand_like(weight)
    after = inputs_of(model, second, x)
    weight.data = kept
    return not torch.equal(before, after)


def model_of(name):
    torch.manual_seed(0)
    function, layers = MODULES[name]
    x = torch.rand(2, 3, 5, 5) if name == "residual" else torch.rand(2, N)
    return Branched(function, **layers), torch.tensor([[1, 2]]) if name == "language" else x


def lines_for(weights):
    with pytest.raises(InvalidSpecError, match=r" stands? beside other layers") as raised:
        topokit_train.extract(weights)
    said, _, rest = str(raised.value).partition(" choose ")
    lines = re.findall(r"layers (\S+?)(?=; or|$)", rest)
    assert lines, said
    return lines


@pytest.mark.parametrize("name", MODULES)
def test_each_layer_of_a_proposed_line_reads_the_one_before(name):
    model, x = model_of(name)
    for line in lines_for(model.state_dict()):
        names = line.split(",")
        assert len(names) > 1
        assert all(reads(model, one, two, x) for one, two in pairwise(names)), line
        assert len(topokit_train.extract(model.state_dict(), layers=line).topology) == len(names)


@pytest.mark.parametrize("name", MODULES)
def test_without_an_order_each_layer_of_the_first_line_reads_the_one_before(name):
    model, x = model_of(name)
    arrays = {one: tensor.numpy() for one, tensor in sorted(model.state_dict().items())}
    names = lines_for(replace(from_arrays(arrays), order=""))[0].split(",")
    assert len(names) > 1
    assert all(reads(model, one, two, x) for one, two in pairwise(names)), names
