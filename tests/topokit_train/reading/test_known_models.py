"""Well-known models, small and with random weights: layers and edges by formulas computed by hand."""

import math
import warnings
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

import topokit_train  # noqa: E402 (skipped without torch)

IMAGE = torch.zeros(1, 3, 64, 64)


def resnet18(classes):
    """Channels of ResNet-18's convolutions, in the order of the data: two blocks of two for each width."""
    pairs = [(3, 64)] + 4 * [(64, 64)]
    for width in (128, 256, 512):
        pairs += [(width // 2, width), (width, width), (width // 2, width), (width, width), (width, width)]
    return [*pairs, (512, classes)]


def vgg16(classes):
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512, 4096, 4096, classes]
    return list(pairwise(widths))


@pytest.mark.long
@pytest.mark.parametrize(("name", "pairs", "chains"), [("resnet18", resnet18(10), 13), ("vgg16", vgg16(10), 1)])
def test_torchvision(name, pairs, chains, tmp_path):
    models = pytest.importorskip("torchvision.models", exc_type=Exception)
    module = getattr(models, name)(num_classes=10).eval()
    expected = sum(math.prod(pair) for pair in pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (IMAGE,), tmp_path / "model.onnx", dynamo=False)
    for found in (topokit_train.extract(module, IMAGE), topokit_train.extract(tmp_path / "model.onnx")):
        assert len(found.layers) == len(pairs)
        assert sorted(layer["edges"] for layer in found.layers) == sorted(map(math.prod, pairs))
        assert (sum(layer["edges"] for layer in found.layers), len(found.chains)) == (expected, chains)


@pytest.mark.long
def test_gpt2():
    transformers = pytest.importorskip("transformers", exc_type=Exception)
    width, words, depth = 8, 50, 2
    config = transformers.GPT2Config(vocab_size=words, n_embd=width, n_layer=depth, n_head=2, n_positions=20)
    ids = {"input_ids": torch.zeros(1, 6, dtype=torch.long), "use_cache": False}
    found = topokit_train.extract(transformers.GPT2LMHeadModel(config), ids)
    block = width * 3 * width + width * width + 2 * width * 4 * width
    assert sum(layer["edges"] for layer in found.layers) == 2 * words * width + depth * block


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


@pytest.mark.parametrize("form", ["module", "onnx"])
def test_a_language_model(form, tmp_path):
    module, tokens = Language().eval(), torch.zeros(1, 5, dtype=torch.long)
    if form == "onnx":
        pytest.importorskip("onnx")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(module, (tokens,), tmp_path / "model.onnx", dynamo=False)
        found = topokit_train.extract(tmp_path / "model.onnx")
    else:
        found = topokit_train.extract(module, tokens)
    edges = [layer["edges"] for layer in found.layers]
    assert edges == [11 * 4, *2 * [4 * 12, 4 * 4, 4 * 16, 16 * 4], 4 * 11]
    assert [chain.widths for chain in found.chains] == [(11, 4), *2 * [(4, 12), (4, 4), (4, 16, 4)], (4, 11)]
    kinds = [joint["kind"] for joint in found.joints]
    assert (kinds.count("added"), kinds.count("attention"), kinds.count("part")) == (4, 2, 2)
