"""Variational autoencoders: two networks, of perceptrons or of convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlcli.errors import UsageError
from dlcli.models.layers import ACTIVATIONS, convolution, convolved, dense, positions, require_numbers
from dlcli.protocols import DataSpec, Normalization
from dlcli.registry import register
from dlcli.schema import Activation, Count, Natural

LEAST_DEVIATION = 1e-20  # of a posterior; the logarithm of less would soon be infinite
KERNEL, STRIDE, PADDING = 3, 2, 1  # halve the maps


class Vae(nn.Module):
    """Posterior N(mean(x), diag exp(log variance(x))) of the latents, and numbers that say how x is distributed."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, latents: int, shared: int, constant: bool, affine: bool):
        """shared: how many further numbers do not depend on the latents. constant: whether the decoder can be any
        constant, whatever the latents. affine: whether both networks are a single linear layer."""
        super().__init__()
        self.encoder = encoder  # (batch, *spec.shape) -> (batch, 2 latents)
        self.decoder = decoder  # (batch, latents) -> (batch, *spec.shape)
        self.shared = nn.Parameter(torch.zeros(shared))
        self.latents, self.constant, self.affine = latents, constant, affine

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, (batch, latents) each, float32 or better.

        The deviation is a softplus, not an exponential, of what the network says: one large output costs a large loss,
        not an overflow.
        """
        said = self.encoder(inputs)
        mean, raw = said.to(torch.promote_types(said.dtype, torch.float32)).chunk(2, 1)
        return mean, 2 * F.softplus(raw).clamp(min=LEAST_DEVIATION).log()

    def decode(self, latents: Tensor) -> Tensor:
        """(batch, latents) -> (batch, *spec.shape)."""
        return self.decoder(latents)

    @torch.no_grad()
    def place(self, weights: Tensor, bias: Tensor, variance: float) -> None:
        """Make an affine model x = weights z + bias + noise of this variance, and its encoder the posterior of that.

        weights: (size, latents) with orthogonal columns, bias: (size,).
        """
        encoder, decoder = self.encoder[-1], self.decoder[0]
        decoder.weight.copy_(weights)
        decoder.bias.copy_(bias)
        self.shared.fill_(math.log(variance))
        held = weights.double().square().sum(0) + variance  # (latents,)
        mean = weights.double().T / held[:, None]
        deviation = (variance / held).sqrt()
        encoder.weight.zero_()[: self.latents] = mean
        encoder.bias[: self.latents] = -(mean @ bias.double())
        encoder.bias[self.latents :] = deviation.expm1().log()  # the inverse of softplus


@register("model", "vae", tasks=("reconstruction",))
def vae(
    spec: DataSpec,
    normalization: Normalization,
    *,
    architecture: Literal["mlp", "convolutional"],
    width: Count,
    depth: Natural,
    latents: Count,
    activation: Activation,
) -> Vae:
    """Variational autoencoder: encoder and decoder mirror each other; depth 0 makes both linear.

    `convolutional` halves the maps and doubles the channels in each block; its decoder enlarges them by nearest
    neighbours before each convolution, which leaves no checkerboard (Odena et al. 2016, doi:10.23915/distill.00003).
    Source: Kingma & Welling 2013, arXiv:1312.6114. Raises UsageError for convolutions over a table, and for more blocks
    than the maps can be halved.
    """
    require_numbers(spec, "vae")
    shared = spec.outputs - math.prod(spec.shape)
    if architecture == "mlp":
        hidden, size = [width] * depth, math.prod(spec.shape)
        encoder = nn.Sequential(nn.Flatten(), *perceptron([size, *hidden], 2 * latents, normalization, activation))
        layers = perceptron([latents, *hidden], size, normalization, activation)
        return Vae(encoder, nn.Sequential(*layers, nn.Unflatten(1, spec.shape)), latents, shared, True, depth == 0)
    sizes = halved(spec, depth)
    channels = [width * 2**block for block in range(depth)]
    encoder = convolutional_encoder(spec, sizes, channels, latents, normalization, activation)
    decoder = convolutional_decoder(spec, sizes, channels, latents, normalization, activation)
    return Vae(encoder, decoder, latents, shared, False, depth == 0)


def perceptron(sizes: Sequence[int], outputs: int, normalization: Normalization, activation: str) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [*dense(before, after, normalization), ACTIVATIONS[activation]()]
    return [*layers, nn.Linear(sizes[-1], outputs)]


def halved(spec: DataSpec, depth: int) -> list[tuple[int, ...]]:
    """Sizes of the maps from the input on, after each block."""
    sizes = [positions(spec, "vae")]
    for block in range(depth):
        if max(sizes[-1]) == 1:
            raise UsageError(
                f"model 'vae' does not fit '{spec.name}': after {block} of {depth} blocks its maps have a single place",
                f"use model.depth={block}",
            )
        sizes.append(convolved(sizes[-1], KERNEL, STRIDE, PADDING))
    return sizes


def convolutional_encoder(
    spec: DataSpec,
    sizes: list[tuple[int, ...]],
    channels: list[int],
    latents: int,
    normalization: Normalization,
    activation: str,
) -> nn.Module:
    layers: list[nn.Module] = []
    dims = len(sizes[0])
    for before, after in pairwise([spec.shape[0], *channels]):
        layers += convolution(dims, before, after, KERNEL, STRIDE, PADDING, normalization)
        layers.append(ACTIVATIONS[activation]())
    features = [spec.shape[0], *channels][-1] * math.prod(sizes[-1])
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, 2 * latents))


def convolutional_decoder(
    spec: DataSpec,
    sizes: list[tuple[int, ...]],
    channels: list[int],
    latents: int,
    normalization: Normalization,
    activation: str,
) -> nn.Module:
    """The blocks of the encoder backwards; the last convolution, to the channels of the input, is plain."""
    dims, last = len(sizes[0]), [spec.shape[0], *channels][-1]
    layers: list[nn.Module] = [nn.Linear(latents, last * math.prod(sizes[-1])), nn.Unflatten(1, (last, *sizes[-1]))]
    for block in reversed(range(len(channels))):
        layers += [ACTIVATIONS[activation](), Enlarge(sizes[block])]
        after = channels[max(block - 1, 0)]
        layers += convolution(dims, channels[block], after, KERNEL, 1, PADDING, normalization)
    if channels:
        plain = convolution(dims, channels[0], spec.shape[0], KERNEL, 1, PADDING, NO_NORMALIZATION)
        layers += [ACTIVATIONS[activation](), *plain]
    return nn.Sequential(*layers)


class Enlarge(nn.Module):
    """Maps to a size, each place taking the number of its nearest neighbour."""

    def __init__(self, size: tuple[int, ...]):
        super().__init__()
        self.size = size

    def forward(self, maps: Tensor) -> Tensor:
        return F.interpolate(maps, self.size)


NO_NORMALIZATION = Normalization(wrap=lambda layer: layer, after=lambda channels, dims: nn.Identity())
