"""A small transformer that predicts the next token of a sequence.

Use it from the command line, with a text file of your own:

    topokit train --dataset text:book.txt --model transformer.py:transformer \
        --topology 'layers.*: bernoulli density=.2 seed=0'
"""

from torch import nn


class Transformer(nn.Module):
    """Decoder layers over the embeddings of tokens and of their places."""

    def __init__(self, length, tokens, width, heads, layers):
        super().__init__()
        self.token = nn.Embedding(tokens, width)
        self.place = nn.Embedding(length, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, tokens)

    def forward(self, numbers):
        """Return the logits, shape (batch, length, tokens), of numbers of tokens, shape (batch, length)."""
        length = numbers.shape[1]
        x = self.token(numbers) + self.place.weight[:length]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=numbers.device, dtype=x.dtype)
        for layer in self.layers:
            x = layer(x, src_mask=mask, is_causal=True)
        return self.head(self.norm(x))


def transformer(input_shape, classes):
    """Return the network for sequences of a length, whose tokens are the classes."""
    return Transformer(input_shape[0], classes, width=64, heads=4, layers=2)
