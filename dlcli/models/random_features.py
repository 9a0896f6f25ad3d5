"""Random features: finite maps z with z(x) . z(y) near a kernel k(x, y), the nearer the more of them."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F


class FourierFeatures(nn.Module):
    """sqrt(2 / width) cos(W x + b): shift-invariant kernels, by the frequencies of Bochner's theorem.

    Source: Rahimi & Recht 2007 (NeurIPS), algorithm 1.
    """

    def __init__(self, frequencies: Tensor, generator: Generator):
        super().__init__()
        self.register_buffer("frequencies", frequencies)  # (width, inputs)
        self.register_buffer("phases", 2 * math.pi * torch.rand(len(frequencies), generator=generator))

    def forward(self, inputs: Tensor) -> Tensor:
        waves = torch.cos(F.linear(inputs, self.frequencies, self.phases))
        return waves * math.sqrt(2 / len(self.phases))  # (batch, width)


class ThresholdFeatures(nn.Module):
    """sqrt(2 / width) step(W x) (W x)^order: arc-cosine kernels, as one random layer of step or ReLU units.

    Source: Cho & Saul 2009 (NeurIPS), equation 1.
    """

    def __init__(self, frequencies: Tensor, order: int):
        super().__init__()
        self.register_buffer("frequencies", frequencies)  # (width, inputs)
        self.order = order

    def forward(self, inputs: Tensor) -> Tensor:
        currents = F.linear(inputs, self.frequencies)
        responses = torch.relu(currents) if self.order else (currents > 0).to(inputs.dtype)
        return responses * math.sqrt(2 / len(self.frequencies))  # (batch, width)


def random_features(
    generator: Generator, features: int, kernel: str, gamma: float, order: int, width: int, depth: int
) -> list[nn.Module]:
    """Levels from (batch, features) to (batch, width), drawn from `generator`, each over the one before."""
    levels: list[nn.Module] = []
    for level in range(depth):
        inputs = width if level else features
        if kernel == "arccosine":
            levels.append(ThresholdFeatures(torch.randn(width, inputs, generator=generator), order))
        elif kernel == "laplace" and level == 0:
            frequencies = torch.empty(width, inputs).cauchy_(sigma=gamma, generator=generator)
            levels.append(FourierFeatures(frequencies, generator))
        else:
            spread = math.sqrt(2 * (1 if level else gamma))
            levels.append(FourierFeatures(spread * torch.randn(width, inputs, generator=generator), generator))
    return levels
