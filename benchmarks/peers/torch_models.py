"""The four models in plain torch, for every peer that is built on it; sizes as in `tasks.py`."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BATCH = {"mlp": 128, "lenet": 128, "lstm": 128, "transformer": 12}
CLIP = {"transformer": 1.0}  # norm of the gradient


class LastStep(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(28, 128, batch_first=True), nn.Linear(128, 10)

    def forward(self, rows: Tensor) -> Tensor:
        return self.head(self.lstm(rows)[0][:, -1])


class Block(nn.Module):
    def __init__(self, width: int = 128, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = (nn.LayerNorm(width, bias=False) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = self.qkv(self.norm1(x)).chunk(3, 2)
        heads = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Decoder(nn.Module):
    def __init__(self, vocabulary: int, width: int = 128, depth: int = 4, window: int = 64):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(window, width)
        self.blocks, self.norm = nn.Sequential(*(Block() for _ in range(depth))), nn.LayerNorm(width, bias=False)
        self.apply(
            lambda part: hasattr(part, "weight") and part.weight.dim() == 2 and nn.init.normal_(part.weight, 0, 0.02)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1]))
        return F.linear(self.norm(self.blocks(x)), self.tokens.weight).transpose(1, 2)  # (batch, tokens, length)


def build(task: str, targets: Tensor) -> nn.Module:
    if task == "mlp":
        sizes = (784, 256, 256)
        body = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(*body, nn.Linear(256, 10))
    if task == "lenet":
        maps = [
            part for a, b in ((1, 6), (6, 16)) for part in (nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        ]
        dense = [part for a, b in ((784, 120), (120, 84)) for part in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(*maps, nn.Flatten(), *dense, nn.Linear(84, 10))
    return LastStep() if task == "lstm" else Decoder(int(targets.max()) + 1)


def optimizer(task: str, model: nn.Module, fused: bool = False) -> torch.optim.Optimizer:
    fast = {"fused": True} if fused else {}
    if task == "transformer":
        return torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, **fast)
    return torch.optim.Adam(model.parameters(), lr=1e-3, **fast)


def clip(task: str, model: nn.Module) -> None:
    if task in CLIP:
        nn.utils.clip_grad_norm_(model.parameters(), CLIP[task])
