"""The block of a transformer: attention between positions, then a small network at each of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlcli.models.positions import Rotary
from dlcli.models.sequences import EachPosition
from dlcli.protocols import Normalization

DEVIATION = 0.02  # of initial weights, as in GPT-2


class Shape(NamedTuple):
    """What the blocks of one transformer have in common."""

    width: int
    depth: int
    heads: int
    hidden: int  # units of the network at each position
    gated: bool  # SwiGLU instead of GELU
    prenorm: bool
    bias: bool
    dropout: float
    causal: bool


class Block(nn.Module):
    """Attention and a network at each position, each beside a shortcut. (batch, length, width) -> the same.

    Source: Vaswani et al. 2017, arXiv:1706.03762. Pre-norm normalizes what enters a branch (Xiong et al. 2020,
    arXiv:2002.04745), post-norm the sum behind it, as the source does.
    """

    def __init__(self, shape: Shape, rotary: Rotary | None, normalization: Normalization):
        super().__init__()
        self.attention = SelfAttention(shape, rotary, normalization)
        self.feedforward = (GatedFeedForward if shape.gated else FeedForward)(shape, normalization)
        self.attention_norm = EachPosition(normalization, shape.width)
        self.feedforward_norm = EachPosition(normalization, shape.width)
        self.dropout = nn.Dropout(shape.dropout)
        self.prenorm = shape.prenorm

    def forward(self, features: Tensor) -> Tensor:
        if self.prenorm:
            features = features + self.dropout(self.attention(self.attention_norm(features)))
            return features + self.dropout(self.feedforward(self.feedforward_norm(features)))
        features = self.attention_norm(features + self.dropout(self.attention(features)))
        return self.feedforward_norm(features + self.dropout(self.feedforward(features)))


class SelfAttention(nn.Module):
    """Every position reads from all others, or from those before it where the model is causal."""

    def __init__(self, shape: Shape, rotary: Rotary | None, normalization: Normalization):
        super().__init__()
        self.project = linear(shape, shape.width, 3 * shape.width, normalization)
        self.out = linear(shape, shape.width, shape.width, normalization, closes_branch=True)
        self.heads, self.causal, self.dropout = shape.heads, shape.causal, shape.dropout
        self.rotary = rotary  # shared by the blocks; it has no parameters

    def forward(self, features: Tensor) -> Tensor:
        batch, length, _ = features.shape
        parts = self.project(features).chunk(3, dim=2)  # whose gradients autograd joins in one pass
        queries, keys, values = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in parts)
        if self.rotary is not None:  # each is (batch, heads, length, head width)
            queries, keys = self.rotary(queries), self.rotary(keys)
        dropout = self.dropout if self.training else 0.0
        mixed = attend(queries, keys, values, dropout, self.causal)
        return self.out(mixed.transpose(1, 2).flatten(2))


def attend(queries: Tensor, keys: Tensor, values: Tensor, dropout: float, causal: bool) -> Tensor:
    """Fused attention, (batch, heads, length, head width). On a CPU always in float32: its kernel for the gradients in
    bfloat16 takes several times as long."""
    if queries.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout, is_causal=causal)
    with torch.autocast("cpu", enabled=False):
        wide = (part.float() for part in (queries, keys, values))
        return F.scaled_dot_product_attention(*wide, dropout_p=dropout, is_causal=causal)


class FeedForward(nn.Module):
    """Two layers with a GELU between."""

    def __init__(self, shape: Shape, normalization: Normalization):
        super().__init__()
        self.into = linear(shape, shape.width, shape.hidden, normalization)
        self.out = linear(shape, shape.hidden, shape.width, normalization, closes_branch=True)

    def forward(self, features: Tensor) -> Tensor:
        return self.out(F.gelu(self.into(features)))


class GatedFeedForward(nn.Module):
    """SwiGLU: one half of the hidden layer, through SiLU, multiplies the other (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, shape: Shape, normalization: Normalization):
        super().__init__()
        self.into = linear(shape, shape.width, 2 * shape.hidden, normalization)
        self.out = linear(shape, shape.hidden, shape.width, normalization, closes_branch=True)

    def forward(self, features: Tensor) -> Tensor:
        gate, value = self.into(features).chunk(2, dim=2)
        return self.out(F.silu(gate) * value)


def linear(
    shape: Shape, inputs: int, outputs: int, normalization: Normalization, closes_branch: bool = False
) -> nn.Module:
    """A layer with GPT-2's initial weights (Radford et al. 2019): normal, and smaller by sqrt(2 depth) where the layer
    adds to the shortcut, so that the variance of the sum does not grow with the depth. Biases start at zero."""
    layer = nn.Linear(inputs, outputs, bias=shape.bias)
    nn.init.normal_(layer.weight, std=DEVIATION / (math.sqrt(2 * shape.depth) if closes_branch else 1.0))
    if shape.bias:
        nn.init.zeros_(layer.bias)
    return normalization.wrap(layer)
