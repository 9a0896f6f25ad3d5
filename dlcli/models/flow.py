"""Normalizing flows: an invertible map from examples to Gaussian latents, with the logarithm of its volume change."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlcli.errors import UsageError
from dlcli.models.layers import ACTIVATIONS, convolution, dense, require_numbers
from dlcli.models.splines import AFFINE, Transform, splines
from dlcli.protocols import DataSpec, Normalization
from dlcli.registry import register
from dlcli.schema import Activation, Count, Range

Change = tuple[Tensor, Tensor]  # (numbers, log |det Jacobian| (batch,))


class Flow(nn.Module):
    """Scales of invertible layers; between them half of the channels become latents."""

    def __init__(self, scales: list[list[nn.Module]], shapes: list[tuple[int, ...]]):
        """shapes: of the latents that leave after each scale; of the last one, all that is left."""
        super().__init__()
        self.scales = nn.ModuleList(map(nn.ModuleList, scales))
        self.shapes = shapes

    def forward(self, inputs: Tensor) -> Change:
        """(batch, *spec.shape) -> latents (batch, size)."""
        latents, log_det, rest = [], inputs.new_zeros(len(inputs)), inputs
        for scale in self.scales:
            for layer in scale:
                rest, change = layer(rest)
                log_det = log_det + change
            leaving = rest.shape[1] if scale is self.scales[-1] else rest.shape[1] // 2
            latents.append(rest[:, :leaving].flatten(1))
            rest = rest[:, leaving:]
        return torch.cat(latents, 1), log_det

    def inverse(self, latents: Tensor) -> Tensor:
        """(batch, size) -> (batch, *spec.shape)."""
        parts = latents.split([math.prod(shape) for shape in self.shapes], 1)
        rest: Tensor | None = None
        for scale, part, shape in zip(reversed(self.scales), reversed(parts), reversed(self.shapes), strict=True):
            numbers = part.view(-1, *shape)
            rest = numbers if rest is None else torch.cat([numbers, rest], 1)
            for layer in reversed(scale):
                rest = layer.inverse(rest)
        return rest

    def log_density(self, inputs: Tensor) -> Tensor:
        """Of the standardized inputs, in nats, (batch,)."""
        latents, log_det = self(inputs)
        return log_det - 0.5 * (latents.square().sum(1) + latents.shape[1] * math.log(2 * math.pi))


class Coupling(nn.Module):
    """The numbers that a mask holds say how the others are moved. Dinh et al. 2016, arXiv:1605.08803, section 3.3."""

    def __init__(self, mask: Tensor, transform: Transform, conditioner: nn.Module):
        super().__init__()
        # True where a number stays as it is; broadcast to (batch, *shape)
        self.register_buffer("mask", mask, persistent=False)
        self.transform = transform
        self.conditioner = conditioner  # (batch, channels, ...) -> (batch, parameters * channels, ...)

    def forward(self, numbers: Tensor) -> Change:
        moved, log_slope = self._move(numbers, inverse=False)
        return moved, log_slope.flatten(1).sum(1)

    def inverse(self, numbers: Tensor) -> Tensor:
        return self._move(numbers, inverse=True)[0]

    def _move(self, numbers: Tensor, inverse: bool) -> Change:
        raw = self.conditioner(numbers * self.mask).unflatten(1, (self.transform.parameters, -1))
        moved, log_slope = self.transform.apply(numbers, raw, inverse)
        return torch.where(self.mask, numbers, moved), log_slope.masked_fill(self.mask, 0.0)


class Affine(nn.Module):
    """A factor and a shift for each feature or channel. Kingma & Dhariwal 2018, arXiv:1807.03039, section 3.1.

    Differs: it starts as the identity, whatever the data: inputs are standardized.
    """

    def __init__(self, channels: int, dims: int):
        super().__init__()
        self.log_factor = nn.Parameter(torch.zeros(channels, *[1] * dims))
        self.shift = nn.Parameter(torch.zeros(channels, *[1] * dims))

    def forward(self, numbers: Tensor) -> Change:
        log_det = self.log_factor.sum() * math.prod(numbers.shape[2:])
        return (numbers + self.shift) * self.log_factor.exp(), log_det.expand(len(numbers))

    def inverse(self, numbers: Tensor) -> Tensor:
        return numbers * (-self.log_factor).exp() - self.shift


class Squeeze(nn.Module):
    """(batch, channels, height, width) -> (batch, 4 channels, height / 2, width / 2)."""

    def forward(self, maps: Tensor) -> Change:
        return F.pixel_unshuffle(maps, 2), maps.new_zeros(len(maps))

    def inverse(self, maps: Tensor) -> Tensor:
        return F.pixel_shuffle(maps, 2)


class Flat(nn.Module):
    """(batch, *shape) -> (batch, size)."""

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.shape = shape

    def forward(self, numbers: Tensor) -> Change:
        return numbers.flatten(1), numbers.new_zeros(len(numbers))

    def inverse(self, numbers: Tensor) -> Tensor:
        return numbers.view(-1, *self.shape)


@register("model", "flow", tasks=("density",))
def flow(
    spec: DataSpec,
    normalization: Normalization,
    *,
    couplings: Count,
    width: Count,
    depth: Count,
    scales: Count,
    activation: Activation,
    bins: Annotated[int, Range(2)] | None,
) -> Flow:
    """Normalizing flow of couplings, affine or splines, with several scales for images; the likelihood is exact.

    Points and signals pass through perceptrons that hold every other number; images through checkerboard masks and,
    squeezed, through masks of channels. The last layers of these networks start at zero, so the flow is the identity at
    first. Source: RealNVP, Dinh et al. 2016, arXiv:1605.08803.
    With `bins` each number passes through a monotone spline of so many pieces instead of an affine map, which one
    coupling needs to tell modes apart (Durkan et al. 2019, arXiv:1906.04032).
    Differs: factors per channel in place of running batch normalization between the couplings; plain convolutions.
    Raises UsageError for images that cannot be halved as often as `scales` asks.
    """
    require_numbers(spec, "flow")
    transform = AFFINE if bins is None else splines(bins)

    def alternating(mask: Tensor, channels: int, dims: int) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for turn in range(couplings):
            outputs = transform.parameters * channels
            network = conditioner(channels, outputs, dims, width, depth, normalization, activation)
            layers += [Coupling(mask if turn % 2 else ~mask, transform, network), Affine(channels, dims)]
        return layers

    if len(spec.shape) < 3:
        size = math.prod(spec.shape)
        return Flow([[Flat(spec.shape), *alternating(torch.arange(size) % 2 == 1, size, 0)]], [(size,)])
    channels, *sizes = spec.shape
    refuse_odd(spec, sizes, scales)
    levels, shapes = [], []
    for place in range(scales):
        layers = alternating(checkerboard(sizes), channels, 2)
        if place < scales - 1:
            channels, sizes = 4 * channels, [size // 2 for size in sizes]
            layers += [Squeeze(), *alternating((torch.arange(channels) % 2 == 1).view(-1, 1, 1), channels, 2)]
            channels //= 2  # half of them leave
        levels.append(layers)
        shapes.append((channels, *sizes))
    return Flow(levels, shapes)


def conditioner(
    channels: int, outputs: int, dims: int, width: int, depth: int, normalization: Normalization, activation: str
) -> nn.Module:
    """(batch, channels, *positions) -> (batch, outputs, *positions), zero at first."""
    layers: list[nn.Module] = []
    for before in [channels, *[width] * (depth - 1)]:
        layers += (
            convolution(dims, before, width, 3, 1, 1, normalization) if dims else dense(before, width, normalization)
        )
        layers.append(ACTIVATIONS[activation]())
    last = nn.Conv2d(width, outputs, 3, padding=1) if dims else nn.Linear(width, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)


def checkerboard(sizes: list[int]) -> Tensor:
    """(height, width)"""
    height, width = sizes
    return (torch.arange(height)[:, None] + torch.arange(width)) % 2 == 1


def refuse_odd(spec: DataSpec, sizes: list[int], scales: int) -> None:
    fitting = max(count for count in range(1, scales + 1) if all(size % 2 ** (count - 1) == 0 for size in sizes))
    if fitting < scales:
        raise UsageError(
            f"model 'flow' does not fit '{spec.name}': images of {'x'.join(map(str, sizes))} cannot be halved "
            f"{scales - 1} times",
            f"use model.scales={fitting}",
        )
