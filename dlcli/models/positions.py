"""Where a token stands: what is added to its features, or how queries and keys are turned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BASE = 10000.0  # ratio of the longest to the shortest wavelength, in both sources below


class Learned(nn.Module):
    """Adds a trained vector to each position. (batch, length, width) -> the same; length up to that of the table."""

    def __init__(self, length: int, width: int, deviation: float):
        super().__init__()
        self.table = nn.Parameter(deviation * torch.randn(length, width))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.table[: features.shape[1]]


class Sinusoidal(nn.Module):
    """Adds sines and cosines of geometric wavelengths (Vaswani et al. 2017, arXiv:1706.03762, section 3.5)."""

    def __init__(self, length: int, width: int):
        super().__init__()
        angles = position_angles(length, width + width % 2)
        table = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width]
        self.register_buffer("table", table, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.table[: features.shape[1]]


class Rotary(nn.Module):
    """Turns pairs of features by angles that grow with the position, so that products see differences of positions.

    (batch, heads, length, head width) -> the same; the head width is even.
    Source: Su et al. 2021, arXiv:2104.09864, equation 34. Differs: a pair is one feature of each half, not two
    neighbours, which is the same up to the order of the features.
    """

    def __init__(self, length: int, head_width: int):
        super().__init__()
        angles = position_angles(length, head_width)
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)

    def forward(self, vectors: Tensor) -> Tensor:
        cosines, sines = self.cosines[: vectors.shape[2]], self.sines[: vectors.shape[2]]
        first, second = vectors.chunk(2, dim=3)
        return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=3)


def position_angles(length: int, width: int) -> Tensor:
    """(length, width / 2): position / BASE^(2 i / width)."""
    frequencies = BASE ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.outer(torch.arange(length, dtype=torch.float64), frequencies).float()
