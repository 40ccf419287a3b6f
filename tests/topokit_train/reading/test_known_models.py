"""Well-known models, small and with random weights: layers and edges by formulas computed by hand."""

import importlib.util
import math
import sys
import warnings
from collections import Counter
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

import topokit_train  # noqa: E402 (skipped without torch)
from topokit.formats import load_all, save_all  # noqa: E402

IMAGE, TOKENS = torch.zeros(1, 3, 224, 224), torch.zeros(1, 6, dtype=torch.long)
CLASSES, WIDTH, INNER, WORDS, DEPTH = 5, 8, 16, 20, 2


def resnet18():
    """Two blocks of two convolutions for each width; the first block of a width has one more beside it."""
    from torchvision.models import resnet18

    chains = [(3, 64), (64, 64, 64), (64, 64, 64)]
    for width in (128, 256, 512):
        chains += [(width // 2, width, width), (width // 2, width), (width, width, width)]
    return resnet18(num_classes=CLASSES), IMAGE, [*chains, (512, CLASSES)], {"added": 8}


def vgg16():
    """Thirteen convolutions and three linear layers, with an eighth of the channels."""
    from torchvision.models.vgg import VGG, cfgs, make_layers

    model = VGG(make_layers([one if one == "M" else one // 8 for one in cfgs["D"]]), num_classes=CLASSES)
    model.classifier[0], model.classifier[3] = torch.nn.Linear(64 * 49, 32), torch.nn.Linear(32, 32)
    model.classifier[6] = torch.nn.Linear(32, CLASSES)
    return model, IMAGE, [(3, 8, 8, 16, 16, 32, 32, 32, 64, 64, 64, 64, 64, 64, 32, 32, CLASSES)], {}


def mobilenet_v2():
    """Blocks of a pointwise, a depthwise and a pointwise convolution, with a quarter of the channels."""
    from torchvision.models import MobileNetV2

    outs = [8, 8, *3 * [8], *4 * [16], *3 * [24], *3 * [40], 80]
    outs.insert(2, 8)
    chains, into = [(3, 8), (8, 8, 8)], 8
    for out in outs[1:]:
        chains.append((into, 6 * into, 6 * into, out))
        into = out
    chains[-1] += (1280, CLASSES)
    return MobileNetV2(num_classes=CLASSES, width_mult=0.25), IMAGE, chains, {"added": 11}


def vit_b_16():
    """Patches of 16 x 16, and blocks of attention, whose three projections are one weight, and of two layers."""
    from torchvision.models import VisionTransformer

    sizes = {"num_layers": DEPTH, "num_heads": 2, "hidden_dim": WIDTH, "mlp_dim": INNER, "num_classes": CLASSES}
    block = [(WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, INNER, WIDTH)]
    chains = [(3, WIDTH), *DEPTH * block, (WIDTH, CLASSES)]
    return VisionTransformer(image_size=224, patch_size=16, **sizes), IMAGE, chains, _joints()


def bert():
    """Blocks whose queries, keys and values are three layers; the values' is in series with the output's."""
    from transformers import BertConfig, BertModel

    config = BertConfig(WORDS, WIDTH, DEPTH, num_attention_heads=2, intermediate_size=INNER, max_position_embeddings=12)
    block = [(WIDTH, WIDTH), (WIDTH, WIDTH), (WIDTH, WIDTH, WIDTH), (WIDTH, INNER, WIDTH)]
    return BertModel(config), TOKENS, [(WORDS, WIDTH), *DEPTH * block, (WIDTH, WIDTH)], _joints()


def gpt2():
    """Blocks as the transformer's for images, and the transposed embedding at the end."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(WORDS, 12, WIDTH, DEPTH, 2, use_cache=False)
    block = [(WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, 4 * WIDTH, WIDTH)]
    return GPT2LMHeadModel(config), TOKENS, [(WORDS, WIDTH), *DEPTH * block, (WIDTH, WORDS)], _joints()


def _joints():
    return {"added": 2 * DEPTH, "attention": DEPTH}


def exported(module, example, path):
    """Write an ONNX file, by the newer exporter if it is installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        newer = importlib.util.find_spec("onnxscript") is not None
        torch.onnx.export(module, (example,), path, dynamo=newer, external_data=False)
    return path


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Call as command("info", path), in a fresh folder; returns what it printed."""
    main = pytest.importorskip("topokit_cli.main").main
    monkeypatch.chdir(tmp_path)

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["topokit", *map(str, args)])
        with pytest.raises(SystemExit) as exit_:
            main()
        printed = capsys.readouterr()
        assert exit_.value.code == 0, printed.err
        return printed.out

    return run


@pytest.mark.long
@pytest.mark.parametrize("form", ["module", "onnx"])
@pytest.mark.parametrize("make", [resnet18, vgg16, mobilenet_v2, vit_b_16, bert, gpt2])
def test_a_known_model(make, form, tmp_path, command):
    package = "transformers" if make in (bert, gpt2) else "torchvision"
    pytest.importorskip(package, reason=f"needs {package}: pip install topokit[test-models]")
    module, example, chains, joints = make()
    for parameter in module.parameters():
        torch.nn.init.uniform_(parameter, 0.5, 1.5)  # of many normal numbers some are 0
    if form == "onnx":
        pytest.importorskip("onnx")
        if make is gpt2:  # the older exporter cannot follow its masks
            pytest.importorskip("onnxscript", reason="needs onnxscript: pip install topokit[test-models]")
        module = exported(module.eval(), example, tmp_path / "model.onnx")
    found = topokit_train.extract(module, *([example] if form == "module" else []))
    assert [chain.widths for chain in found.chains] == chains
    edges = [[math.prod(pair) for pair in pairwise(widths)] for widths in chains]
    for number, widths in enumerate(chains if make is mobilenet_v2 else ()):
        if number:
            edges[number][min(len(widths) - 3, 1)] = widths[1]  # of the depthwise convolution
    assert [list(chain.layer_edges) for chain in found.chains] == edges
    kinds = Counter(joint["kind"] for joint in found.joints)
    assert {kind: kinds[kind] for kind in joints} == joints

    save_all(found.chains, tmp_path / "net.safetensors", found.joints)
    described = command("info", "net.safetensors")
    assert all("-".join(map(str, widths)) in described for widths in chains if len(widths) < 6)
    assert len(load_all(tmp_path / "net.safetensors")) == len(chains)
    command("draw", "net.safetensors", "-o", "net.svg")
    assert (tmp_path / "net.svg").stat().st_size > 1000


class Block(torch.nn.Module):
    """A transformer's block, as GPT-2 has it, with plain operators."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.one, self.two = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.qkv, self.out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.up, self.down = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)

    def forward(self, x):
        batch, steps, width = x.shape
        q, k, v = (
            one.view(batch, steps, self.heads, -1).transpose(1, 2) for one in self.qkv(self.one(x)).split(width, -1)
        )
        weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(width // self.heads), -1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(batch, steps, width))
        return x + self.down(torch.nn.functional.gelu(self.up(self.two(x))))


class Language(torch.nn.Module):
    """Tokens to tokens, with tied embeddings."""

    def __init__(self, words=11, width=4, depth=2):
        super().__init__()
        self.embedding = torch.nn.Embedding(words, width)
        self.places = torch.nn.Parameter(torch.randn(1, 5, width))
        self.blocks = torch.nn.ModuleList(Block(width, 2) for _ in range(depth))
        self.norm = torch.nn.LayerNorm(width)

    def forward(self, tokens):
        x = self.embedding(tokens) + self.places
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.embedding.weight.T


class Tokens(torch.nn.Module):
    """A class token before a sequence, read at the end; with one feature per head."""

    def __init__(self, width=4, depth=2):
        super().__init__()
        self.token = torch.nn.Parameter(torch.randn(1, 1, width))
        self.first, self.last = torch.nn.Linear(3, width), torch.nn.Linear(width, 2)
        self.blocks = torch.nn.Sequential(*(Block(width, width) for _ in range(depth)))

    def forward(self, x):
        x = torch.cat([self.token.expand(len(x), -1, -1), self.first(x)], 1)
        return self.last(self.blocks(x)[:, 0])


@pytest.mark.parametrize("form", ["module", "onnx"])
def test_a_class_token_adds_no_nodes(form, tmp_path):
    module, example = Tokens().eval(), torch.zeros(1, 5, 3)
    if form == "onnx":
        pytest.importorskip("onnx")
        exported(module, example, tmp_path / "model.onnx")
        found = topokit_train.extract(tmp_path / "model.onnx")
    else:
        found = topokit_train.extract(module, example)
    assert [chain.widths for chain in found.chains] == [(3, 4), *2 * [(4, 12), (4, 4), (4, 16, 4)], (4, 2)]


@pytest.mark.parametrize("form", ["module", "onnx"])
def test_a_language_model(form, tmp_path):
    module, tokens = Language().eval(), torch.zeros(1, 5, dtype=torch.long)
    if form == "onnx":
        pytest.importorskip("onnx")
        exported(module, tokens, tmp_path / "model.onnx")
        found = topokit_train.extract(tmp_path / "model.onnx")
    else:
        found = topokit_train.extract(module, tokens)
    edges = [layer["edges"] for layer in found.layers]
    assert edges == [11 * 4, *2 * [4 * 12, 4 * 4, 4 * 16, 16 * 4], 4 * 11]
    assert [chain.widths for chain in found.chains] == [(11, 4), *2 * [(4, 12), (4, 4), (4, 16, 4)], (4, 11)]
    kinds = [joint["kind"] for joint in found.joints]
    assert (kinds.count("added"), kinds.count("attention"), kinds.count("part")) == (4, 2, 2)
