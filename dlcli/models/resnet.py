"""Residual networks with the stem of small images."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlcli.models.layers import convolution, positions
from dlcli.models.predictor import Predictor
from dlcli.protocols import DataSpec, Normalization
from dlcli.registry import register
from dlcli.schema import Count


class Subsample(nn.Module):
    """The shortcut without parameters: every other position, zeros for the new channels (He et al.'s option A)."""

    def __init__(self, dims: int, new_channels: int):
        super().__init__()
        self.positions = (..., *[slice(None, None, 2)] * dims)
        self.padding = (*[0] * (2 * dims), 0, new_channels)

    def forward(self, maps: Tensor) -> Tensor:
        return F.pad(maps[self.positions], self.padding)


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut. (batch, inputs, *positions) -> (batch, outputs, *positions / stride)."""

    def __init__(self, dims: int, inputs: int, outputs: int, projection: bool, normalization: Normalization):
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.residual = nn.Sequential(
            *convolution(dims, inputs, outputs, 3, stride, 1, normalization),
            nn.ReLU(),
            *convolution(dims, outputs, outputs, 3, 1, 1, normalization),
        )
        if stride == 1:
            self.shortcut = nn.Identity()
        elif projection:
            self.shortcut = nn.Sequential(*convolution(dims, inputs, outputs, 1, stride, 0, normalization))
        else:
            self.shortcut = Subsample(dims, outputs - inputs)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.relu(self.shortcut(maps) + self.residual(maps))


class GlobalAverage(nn.Module):
    """(batch, channels, *positions) -> (batch, channels)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.flatten(2).mean(2)


@register("model", "resnet", normalization="batch")
def resnet(
    spec: DataSpec,
    normalization: Normalization,
    *,
    depth: Literal[8, 14, 18, 20, 26, 32, 38, 44, 50, 56],
    width: Count | Literal["auto"],
) -> Predictor:
    """Residual network: depth 6n+2 in three stages as for CIFAR, or 18 in four stages as for ImageNet.

    Source: He, Zhang, Ren & Sun 2016, arXiv:1512.03385: section 4.2 with shortcuts of option A (0.27 million
    parameters at depth 20), and table 1 with option B at depth 18. Takes images or, with 1-D layers, signals.
    Differs: at depth 18 the stem is the 3x3 convolution of the CIFAR networks, without pooling.
    """
    dims = len(positions(spec, "resnet"))
    imagenet = depth == 18
    stages, blocks, usual = (4, 2, 64) if imagenet else (3, (depth - 2) // 6, 16)
    first = usual if width == "auto" else width
    body = [*convolution(dims, spec.shape[0], first, 3, 1, 1, normalization), nn.ReLU()]
    channels = first
    for stage in range(stages):
        for _ in range(blocks):
            body.append(Block(dims, channels, first << stage, imagenet, normalization))
            channels = first << stage
    return Predictor(nn.Sequential(*body, GlobalAverage()), channels, spec.outputs)
