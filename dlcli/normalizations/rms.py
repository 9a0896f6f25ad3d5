"""Root-mean-square normalization: layer normalization without centring and without a shift."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlcli.protocols import Normalization
from dlcli.registry import register
from dlcli.schema import Positive


class RMSNorm(nn.Module):
    """Divides each example by its root mean square over all channels and positions; one scale per channel.

    Input and output: (batch, channels, *positions).
    """

    def __init__(self, channels: int, dims: int, eps: float):
        super().__init__()
        self.eps = eps
        self.broadcast = (-1, *[1] * dims)
        self.axes = tuple(range(1, dims + 2))
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, inputs: Tensor) -> Tensor:
        mean_square = inputs.square().mean(self.axes, keepdim=True)  # (batch, 1, *ones)
        return inputs * torch.rsqrt(mean_square + self.eps) * self.weight.view(self.broadcast)


@register("normalization", "rms")
def rms(*, eps: Positive) -> Normalization:
    """Root-mean-square normalization: each example by its root mean square over channels and positions, no shift.

    Source: Zhang & Sennrich 2019, arXiv:1910.07467. For signals and images the statistics are those of
    `normalization=layer`, so that the two differ in the centring alone.
    """
    return Normalization(wrap=lambda layer: layer, after=lambda channels, dims: RMSNorm(channels, dims, eps))
