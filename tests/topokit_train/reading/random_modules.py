"""Random modules, pruned at random, and their edges by derivatives: the oracle of the readers of graphs.

`smooth` modules have softplus and mean pooling in place of ReLU and max pooling, and weights in float64. In them a node
has an edge from each output of a layer before it by which its pre-activation has a derivative. Attention's weights are
constants there: they are named, and not followed.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Relu(nn.Module):
    smooth = False

    def forward(self, x):
        return functional.softplus(x) if Relu.smooth else functional.relu(x)


class Pool(nn.Module):
    def __init__(self, dims):
        super().__init__()
        self.dims = dims

    def forward(self, x):
        kinds = ("avg_pool", "max_pool")
        return getattr(functional, f"{kinds[not Relu.smooth]}{self.dims}d")(x, 2)


class Ends(nn.Module):
    """Mean and maximum of each channel, one after the other."""

    def forward(self, x):
        most = functional.adaptive_avg_pool2d(x, 1) if Relu.smooth else functional.adaptive_max_pool2d(x, 1)
        return torch.cat([most, functional.adaptive_avg_pool2d(x, 1)], 1).flatten(1)


class Mean(nn.Module):
    def __init__(self, axes):
        super().__init__()
        self.axes = axes

    def forward(self, x):
        return x.mean(self.axes)


class ChannelsLast(nn.Module):
    """Flatten with the channels behind the positions, as Keras does."""

    def forward(self, x):
        return x.movedim(1, -1).flatten(1)


class ToImage(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return x.reshape(x.shape[0], *self.shape)


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class Beside(nn.Module):
    def __init__(self, one, two, axis):
        super().__init__()
        self.one, self.two, self.axis = one, two, axis

    def forward(self, x):
        return torch.cat([self.one(x), self.two(x)], self.axis)


class Shuffle(nn.Module):
    """Features back to front, and half of them dropped and put back in another order."""

    def forward(self, x):
        half = x.shape[-1] // 2
        return torch.cat([x[..., half:].flip(-1), x[..., :half]], -1)


class Decoder(nn.Module):
    """A linear layer back to the inputs with the transposed weight of another one."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, x):
        hidden = functional.softplus(self.encoder(x)) if Relu.smooth else functional.relu(self.encoder(x))
        if Relu.smooth:
            return CUTS.cut(hidden @ self.encoder.weight, -1)
        return hidden @ self.encoder.weight


class Attention(nn.Module):
    """Of a sequence to itself or, with a `width` of memory, to a linear layer of it."""

    def __init__(self, width, heads, memory=0):
        super().__init__()
        self.inner = nn.MultiheadAttention(width, heads, kdim=memory or None, vdim=memory or None, batch_first=True)
        self.memory = nn.Linear(width, memory) if memory else None

    def forward(self, x):
        other = self.memory(x) if self.memory else x
        if not Relu.smooth:
            return self.inner(x, other, other, need_weights=False)[0]
        inner, (batch, steps, width) = self.inner, x.shape
        q, k, v = (
            one.reshape(batch, steps, inner.num_heads, -1).transpose(1, 2) for one in self.projected(x, other, width)
        )
        weights = torch.softmax(q @ k.transpose(-1, -2), -1).detach()
        return inner.out_proj((weights @ v).transpose(1, 2).reshape(batch, steps, width))

    def projected(self, x, other, width):
        """Queries, keys and values: of one weight, of two parts of one, or of three."""
        inner = self.inner
        if not self.memory:
            return _linear(x, inner.in_proj_weight).split(width, -1)
        if inner.in_proj_weight is None:
            weights = inner.q_proj_weight, inner.k_proj_weight, inner.v_proj_weight
            return [_linear(one, weight) for one, weight in zip((x, other, other), weights, strict=True)]
        q = _linear(x, inner.in_proj_weight[:width])
        return [q, *_linear(other, inner.in_proj_weight[width:]).split(width, -1)]


def _linear(x, weight):
    return CUTS.cut(functional.linear(x, weight), -1)


class Lstm(nn.Module):
    def __init__(self, width, hidden, layers=1, both=False):
        super().__init__()
        self.inner = nn.LSTM(width, hidden, layers, bidirectional=both, batch_first=True)

    def forward(self, x):
        if not Relu.smooth:
            return self.inner(x)[0]
        for layer in range(self.inner.num_layers):
            ends = ["", "_reverse"] if self.inner.bidirectional else [""]
            x = torch.cat([self.direction(x, f"l{layer}{end}", back=bool(end)) for end in ends], -1)
        return x

    def direction(self, x, name, *, back):
        inner = self.inner
        weights = [[getattr(inner, f"{kind}_{of}_{name}") for kind in ("weight", "bias")] for of in ("ih", "hh")]
        keys, outs = (CUTS.new(), CUTS.new()), []
        h = c = x.new_zeros(x.shape[0], inner.hidden_size)
        for step in x.flip(1).unbind(1) if back else x.unbind(1):
            one, two = (
                CUTS.cut(functional.linear(data, *both), -1, key)
                for data, both, key in zip((step, h), weights, keys, strict=True)
            )
            i, f, g, o = (one + two).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outs.append(h)
        return torch.stack(outs[::-1] if back else outs, 1)


class Cuts:
    """The outputs of layers: what is computed of them starts anew, so that derivatives are by these alone."""

    def __init__(self):
        self.before, self.after, self.axes = [], [], []

    def new(self):
        self.before.append([])
        self.after.append([])
        self.axes.append(-1)
        return len(self.before) - 1

    def cut(self, output, axis, key=None):
        key = self.new() if key is None else key
        leaf = output.detach().requires_grad_()
        self.before[key].append(output)
        self.after[key].append(leaf)
        self.axes[key] = axis
        return leaf


CUTS = Cuts()
LAYERS = (nn.Linear, nn.modules.conv._ConvNd)


def edges_by_derivatives(module, example, runs=3):
    """Return {layer number: {(source, source node): set of nodes}}; the source "input" has the element as its node."""
    global CUTS
    module = module.double().eval()
    Relu.smooth, found = True, {}
    hooks = [
        one.register_forward_hook(lambda one, _, out: CUTS.cut(out, -1 if isinstance(one, nn.Linear) else 1))
        for one in module.modules()
        if isinstance(one, LAYERS)
    ]
    try:
        for run in range(runs):
            CUTS = Cuts()
            generator = torch.Generator().manual_seed(run)
            x = torch.randn(example.shape, dtype=torch.float64, generator=generator).requires_grad_()
            module(x)
            for number, outputs in enumerate(CUTS.before):
                _add_edges(found.setdefault(number, {}), outputs, CUTS.axes[number], x, generator)
    finally:
        Relu.smooth = False
        for hook in hooks:
            hook.remove()
    return found


def _add_edges(found, outputs, axis, x, generator):
    leaves = [("input", x, None)]
    leaves += [(key, leaf, CUTS.axes[key]) for key, several in enumerate(CUTS.after) for leaf in several]
    for output in outputs:
        if output.grad_fn is None:
            continue
        nodes = output.movedim(axis, 0).flatten(1)
        for node in range(len(nodes)):
            factors = torch.rand(nodes.shape[1], dtype=torch.float64, generator=generator) + 0.5
            gradients = torch.autograd.grad(
                (nodes[node] * factors).sum(), [leaf for _, leaf, _ in leaves], retain_graph=True, allow_unused=True
            )
            for (key, _, leaf_axis), gradient in zip(leaves, gradients, strict=True):
                if gradient is None:
                    continue
                by = gradient.flatten() if leaf_axis is None else gradient.movedim(leaf_axis, 0).flatten(1).abs().sum(1)
                for source in by.nonzero().ravel().tolist():
                    found.setdefault((key, source), set()).add(node)


def random_module(seed):
    """Return a pruned module, an example input, and the axis of its features."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    start = rng.choice(["image", "vector", "sequence", "volume", "signal"], p=[0.45, 0.2, 0.2, 0.05, 0.1])
    blocks = {"image": _image, "vector": _vector, "sequence": _sequence, "volume": _volume, "signal": _signal}
    module, example = blocks[start](rng)
    for parameter in {id(one): one for one in module.parameters()}.values():
        _prune(parameter, rng)
    return module.eval(), example, -1 if start in ("vector", "sequence") else 1


def _prune(parameter, rng):
    with torch.no_grad():
        shape = tuple(parameter.shape)
        size = rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)
        kept = rng.random(shape) < rng.choice([0.2, 0.5, 0.8])
        if len(shape) > 1:
            kept &= (rng.random(shape[:2]) < 0.7).reshape(*shape[:2], *(1,) * (len(shape) - 2))
            kept.flat[0] = True
            parameter.copy_(torch.from_numpy(size * kept))


def _count(rng, low, high):
    return int(rng.integers(low, high))


def _head(rng, layers, width):
    for _ in range(_count(rng, 1, 4)):
        kind = rng.choice(
            ["linear", "residual", "twice", "tied", "shuffle", "beside"], p=[0.4, 0.12, 0.12, 0.12, 0.12, 0.12]
        )
        if kind == "linear":
            out = _count(rng, 2, 8)
            layers += [nn.Linear(width, out, bias=bool(rng.integers(2))), Relu()]
            width = out
        elif kind == "residual":
            layers += [Residual(nn.Sequential(nn.Linear(width, width), Relu()))]
        elif kind == "twice":
            shared = nn.Linear(width, width)
            layers += [shared, Relu(), shared, Relu()]
        elif kind == "tied":
            layers += [Decoder(nn.Linear(width, _count(rng, 2, 6), bias=False)), Relu()]
        elif kind == "shuffle":
            layers += [Shuffle()]
        else:
            one, two = _count(rng, 2, 5), _count(rng, 2, 5)
            layers += [Beside(nn.Linear(width, one), nn.Linear(width, two), -1), nn.Dropout(0.1)]
            width = one + two
    return [*layers, nn.Linear(width, _count(rng, 2, 5))]


def _vector(rng):
    width = _count(rng, 3, 8)
    if rng.random() < 0.3:
        channels, out = _count(rng, 2, 4), _count(rng, 2, 5)
        layers = [nn.Linear(width, channels * 16), Relu(), ToImage(channels, 4, 4)]
        layers += [nn.ConvTranspose2d(channels, out, 2, stride=2), Relu(), nn.Conv2d(out, 3, 1)]
        module = nn.Sequential(*layers)
    else:
        module = nn.Sequential(*_head(rng, [], width))
    return module, torch.randn(2, width)


def _convolution(rng, channels, dims=2):
    kind = getattr(nn, f"Conv{dims}d")
    size = int(rng.choice([1, 3]))
    groups = int(rng.choice([1, 1, 2, channels]))
    groups = groups if channels % groups == 0 else 1
    out = groups * _count(rng, 1, 4)
    return kind(channels, out, size, padding=size // 2, groups=groups, bias=bool(rng.integers(2))), out


def _image(rng):
    channels, side = int(rng.choice([1, 3])), 8
    example = torch.randn(1, channels, side, side)
    first = _count(rng, 2, 7)
    layers, channels = [nn.Conv2d(channels, first, 3, padding=1), Relu()], first
    for _ in range(_count(rng, 0, 4)):
        kind = rng.choice(["conv", "residual", "beside", "norm", "pool", "up"])
        if kind == "conv":
            one, channels = _convolution(rng, channels)
            layers += [one, Relu()]
        elif kind == "residual":
            layers += [Residual(nn.Conv2d(channels, channels, 3, padding=1))]
        elif kind == "beside":
            one, two = _count(rng, 1, 4), _count(rng, 1, 4)
            layers += [Beside(nn.Conv2d(channels, one, 1), nn.Conv2d(channels, two, 3, padding=1), 1)]
            channels = one + two
        elif kind == "norm":
            layers += [nn.BatchNorm2d(channels), Relu()]
        elif kind == "pool" and side > 4:
            layers += [Pool(2)]
            side //= 2
        elif kind == "up" and side < 8:
            groups = int(rng.choice([1, channels]))
            out = groups * _count(rng, 1, 4)
            layers += [nn.ConvTranspose2d(channels, out, 2, stride=2, groups=groups), Relu()]
            channels, side = out, side * 2
    end = rng.choice(["flatten", "last", "ends", "mean", "none"])
    if end == "none":
        return nn.Sequential(*layers, nn.Conv2d(channels, 2, 1)), example
    flat = {"flatten": nn.Flatten(), "last": ChannelsLast(), "ends": Ends(), "mean": Mean((2, 3))}[end]
    width = {"flatten": channels * side**2, "last": channels * side**2, "ends": 2 * channels, "mean": channels}[end]
    out = _count(rng, 2, 6)
    return nn.Sequential(*_head(rng, [*layers, flat, nn.Linear(width, out), Relu()], out)), example


def _volume(rng):
    one, channels = _convolution(rng, 3, 3)
    layers = [one, Relu(), Pool(3), nn.Flatten(), nn.Linear(channels * 8, 4)]
    return nn.Sequential(*layers), torch.randn(1, 3, 4, 4, 4)


def _signal(rng):
    first = _count(rng, 2, 5)
    layers = [nn.Conv1d(3, first, 3, padding=1), Relu()]
    one, channels = _convolution(rng, first, 1)
    layers += [one, nn.BatchNorm1d(channels), Relu(), Pool(1), nn.ConvTranspose1d(channels, 3, 2, stride=2), Relu()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(3 * 8, 3)), torch.randn(1, 3, 8)


def _sequence(rng):
    width = 4
    example = torch.randn(2, 5, width)
    layers = [nn.Linear(width, width), Relu()] if rng.random() < 0.5 else []
    for _ in range(_count(rng, 1, 3)):
        kind = rng.choice(["attention", "lstm", "linear", "residual"])
        if kind == "attention":
            attention = Attention(width, 2, int(rng.choice([0, 0, width, 3])))
            layers += [Residual(attention) if rng.random() < 0.5 else attention]
        elif kind == "lstm":
            hidden, both = 2 * _count(rng, 1, 3), bool(rng.integers(2))
            layers += [Lstm(width, hidden, _count(rng, 1, 3), both)]
            width = (1 + both) * hidden
        elif kind == "linear":
            out = 2 * _count(rng, 1, 4)
            layers += [nn.Linear(width, out), Relu()]
            width = out
        else:
            layers += [Residual(nn.Sequential(nn.Linear(width, 2 * width), Relu(), nn.Linear(2 * width, width)))]
    return nn.Sequential(*_head(rng, [*layers, Mean(1)], width)), example
