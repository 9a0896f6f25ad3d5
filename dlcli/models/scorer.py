"""One number per example: what a discriminator and an energy have in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from torch import nn

from dlcli.errors import UsageError
from dlcli.models.layers import convolution, convolved
from dlcli.protocols import DataSpec, Normalization

PLAIN = Normalization(wrap=lambda layer: layer, after=lambda channels, dims: nn.Identity())


def scorer(
    model: str, spec: DataSpec, pack: int, width: int, depth: int, activation: Callable[[], nn.Module]
) -> list[nn.Module]:
    """Layers from (batch, pack * channels, *positions) to (batch, 1): perceptrons for points, convolutions for maps.

    `depth` hidden layers, or halvings of the maps that double the channels from `width` on.
    """
    if len(spec.shape) == 1:
        return perceptron(pack * spec.shape[0], width, depth, activation)
    refuse_halved_away(model, spec, depth)
    return pyramid(pack * spec.shape[0], spec.shape[1:], width, depth, activation)


def perceptron(features: int, width: int, depth: int, activation: Callable[[], nn.Module]) -> list[nn.Module]:
    """(batch, features) -> (batch, 1)."""
    body: list[nn.Module] = []
    for inputs, outputs in pairwise([features, *[width] * depth]):
        body += [nn.Linear(inputs, outputs), activation()]
    return [*body, nn.Linear(width, 1)]


def pyramid(
    channels: int, sizes: tuple[int, ...], width: int, depth: int, activation: Callable[[], nn.Module]
) -> list[nn.Module]:
    """(batch, channels, *sizes) -> (batch, 1)."""
    body: list[nn.Module] = []
    widths = [width << stage for stage in range(depth)]
    for inputs, outputs in pairwise([channels, *widths]):
        body += [*convolution(len(sizes), inputs, outputs, 4, 2, 1, PLAIN), activation()]
        sizes = convolved(sizes, 4, 2, 1)
    return [*body, nn.Flatten(), nn.Linear(widths[-1] * math.prod(sizes), 1)]


def refuse_halved_away(model: str, spec: DataSpec, depth: int) -> None:
    most = min(spec.shape[1:]).bit_length() - 1
    if depth > most:
        sizes = "x".join(map(str, spec.shape[1:]))
        raise UsageError(
            f"model '{model}' with model.depth={depth} halves the maps of '{spec.name}' ({sizes}) away to nothing",
            f"use model.depth={most}" if most else "use a data set of larger images",
        )
