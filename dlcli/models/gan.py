"""Generative adversarial networks: a generator and a discriminator for points, signals and images."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from dlcli.models.averaged import Averaged
from dlcli.models.layers import ACTIVATIONS, convolution, dense, require_numbers
from dlcli.models.scorer import PLAIN, scorer
from dlcli.protocols import DataSpec, Normalization
from dlcli.registry import register
from dlcli.schema import Activation, Count, Range

SLOPE = 0.2  # of the discriminator's units below zero: a real and a generated example both leave a gradient
OUTPUTS = {"linear": nn.Identity, "sigmoid": nn.Sigmoid}


class Gan(nn.Module):
    """The two players, and the average of the generator's weights, which samples are drawn from."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module, latent: int, pack: int, average: float):
        super().__init__()
        self.generator = generator  # (batch, latent) -> (batch, *spec.shape)
        self.discriminator = discriminator  # (packs, pack * channels, *positions) -> (packs, 1)
        self.average = Averaged(generator, average)
        self.latent, self.pack = latent, pack

    def forward(self, latents: Tensor) -> Tensor:
        """What evaluation sees."""
        return self.average(latents)

    def generate(self, latents: Tensor) -> Tensor:
        """What training sees."""
        return self.generator(latents)

    def judge(self, inputs: Tensor) -> Tensor:
        """A score for each pack of examples, (batch // pack,): the higher, the more real."""
        packs = len(inputs) // self.pack
        packed = inputs[: packs * self.pack].reshape(packs, self.pack * inputs.shape[1], *inputs.shape[2:])
        return self.discriminator(packed).squeeze(1)


@register("model", "gan", tasks=("adversarial",))
def gan(
    spec: DataSpec,
    normalization: Normalization,
    *,
    width: Count,
    depth: Count,
    latent: Count,
    activation: Activation,
    output: Literal["linear", "sigmoid"],
    spectral: bool,
    pack: Count,
    average: Annotated[float, Range(0, 1, open_high=True)],
) -> Gan:
    """Generative adversarial network: multilayer perceptrons for tables and points, convolutions for images.

    The discriminator has leaky ReLUs and no normalization but, with `spectral`, the division of each layer by its
    largest singular value; it may see `pack` examples at once.
    Source: Goodfellow et al. 2014, arXiv:1406.2661; for images Radford et al. 2015, arXiv:1511.06434 (DCGAN); Miyato
    et al. 2018, arXiv:1802.05957 (spectral normalization); Lin et al. 2017, arXiv:1712.04086 (packing).
    Differs from DCGAN: nearest upsampling and convolution in place of transposed convolutions, which leave
    checkerboards; no normalization in the discriminator, whose judgement of an example then depends on it alone.
    """
    require_numbers(spec, "gan")
    judge = scorer("gan", spec, pack, width, depth, lambda: nn.LeakyReLU(SLOPE))
    if len(spec.shape) == 1:
        generator = perceptron(spec, normalization, width, depth, latent, activation)
    else:
        generator = upsampler(spec, normalization, width, depth, latent, activation)
    if spectral:
        judge = [spectral_norm(layer) if list(layer.parameters()) else layer for layer in judge]
    return Gan(nn.Sequential(*generator, OUTPUTS[output]()), nn.Sequential(*judge), latent, pack, average)


def perceptron(
    spec: DataSpec, normalization: Normalization, width: int, depth: int, latent: int, activation: str
) -> list[nn.Module]:
    """(batch, latent) -> (batch, features)."""
    body: list[nn.Module] = []
    for inputs, outputs in pairwise([latent, *[width] * depth]):
        body += [*dense(inputs, outputs, normalization), ACTIVATIONS[activation]()]
    return [*body, nn.Linear(width, spec.shape[0])]


def upsampler(
    spec: DataSpec, normalization: Normalization, width: int, depth: int, latent: int, activation: str
) -> list[nn.Module]:
    """(batch, latent) -> (batch, *spec.shape): `depth` doublings of the maps, halving the channels down to `width`."""
    sizes = spec.shape[1:]
    start = tuple(-(-size // 2**depth) for size in sizes)
    channels = [width << stage for stage in reversed(range(depth))]
    body: list[nn.Module] = [nn.Linear(latent, channels[0] * math.prod(start)), nn.Unflatten(1, (channels[0], *start))]
    body += [normalization.after(channels[0], len(sizes)), ACTIVATIONS[activation]()]
    for inputs, outputs in pairwise([channels[0], *channels]):
        body += [nn.Upsample(scale_factor=2), *convolution(len(sizes), inputs, outputs, 3, 1, 1, normalization)]
        body.append(ACTIVATIONS[activation]())
    return [*body, *convolution(len(sizes), width, spec.shape[0], 3, 1, 1, PLAIN), Crop(sizes)]


class Crop(nn.Module):
    """The first positions of maps whose doublings went past the size of the data."""

    def __init__(self, sizes: tuple[int, ...]):
        super().__init__()
        self.sizes = sizes

    def forward(self, maps: Tensor) -> Tensor:
        return maps[(..., *(slice(size) for size in self.sizes))]
