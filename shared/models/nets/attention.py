"""A small transformer encoder (Vaswani et al., NeurIPS 2017) over the features of a row or the steps of a sequence.

A row of a table becomes one token for each feature, its value times a learned vector plus another (Gorishniy et al.,
"Revisiting Deep Learning Models for Tabular Data", NeurIPS 2021, section 3.3). Norms come before the attention and the
perceptron (Xiong et al., ICML 2020).
Differs: the mean over the tokens is classified, not a token of its own; no dropout, so that the same round gives the
same update; attention is written out, since the gradient of torch's fused kernels is not deterministic on a GPU.

B is the batch, T the tokens, F the features of a step, D the width, C the number of outputs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

WIDTH = 64
HEADS = 4
LAYERS = 2
HIDDEN = 128


class FeatureTokens(nn.Module):
    """[B, T] numbers -> [B, T, D]: token t is x_t * scale_t + shift_t."""

    def __init__(self, features: int, width: int) -> None:
        """One pair of vectors for each feature."""
        super().__init__()
        self.scale = nn.Parameter(torch.randn(features, width) / math.sqrt(width))
        self.shift = nn.Parameter(torch.randn(features, width) / math.sqrt(width))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x[:, :, None] * self.scale + self.shift


class AttentionSteps(nn.Module):
    """[B, T, F] floats, or [B, T] token ids -> [B, T, D], with learned positions."""

    def __init__(self, steps: int, embed: nn.Module, width: int) -> None:
        """`embed` makes one step wide."""
        super().__init__()
        self.embed = embed
        self.position = nn.Parameter(0.02 * torch.randn(steps, width))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.embed(x) + self.position


class Layer(nn.Module):
    """Attention, then a perceptron, each added to what came in."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        """`heads` divide `width`."""
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        x = x + self.out(self._attend(self.norm1(x)))
        return x + self.perceptron(self.norm2(x))

    def _attend(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        parts = self.query_key_value(x).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each [B, heads, T, D / heads]
        weight = (query @ key.transpose(-1, -2) / math.sqrt(width // self.heads)).softmax(dim=-1)
        return (weight @ value).transpose(1, 2).reshape(batch, tokens, width)


class Transformer(nn.Module):
    """Tokens, layers, a norm, the mean over the tokens, and a linear layer."""

    def __init__(self, tokens: nn.Module, num_outputs: int, *, rows: bool = False) -> None:
        """`tokens` gives [B, T, D]; `rows`: examples are images, and each of their lines is a step."""
        super().__init__()
        self.rows = rows
        self.tokens = tokens
        self.layers = nn.Sequential(*(Layer(WIDTH, HEADS, HIDDEN) for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.fc = nn.Linear(WIDTH, num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, ...] -> [B, C]."""
        if self.rows:
            x = x.transpose(1, 2).flatten(2)  # [B, channels, H, W] -> [B, H, channels * W]
        return self.fc(self.norm(self.layers(self.tokens(x))).mean(dim=1))
