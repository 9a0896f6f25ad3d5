"""The small convolutional network that learns CIFAR-10 in seconds."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from dlcli.errors import UsageError
from dlcli.models.layers import adds_shift, positions
from dlcli.models.mirrored import Mirrored
from dlcli.models.predictor import Predictor
from dlcli.models.whitening import whitening
from dlcli.protocols import DataSpec, Normalization
from dlcli.registry import register
from dlcli.schema import Count

PATCH, POOL = 2, 3  # sides of the whitened patches and of the last pooling, where the maps are that large
LEAST_SIDE = PATCH - 1 + 8 * 2  # three poolings of two leave maps of 2x2, which a normalization can look at
SCALE = 1 / 9  # of the features, so that the scores start small


@register("model", "airbench", normalization="batch")
def airbench(
    spec: DataSpec, normalization: Normalization, examples: Tensor, *, width: Count, mirror: bool
) -> Predictor:
    """Airbench: whitened patches, then three pairs of 3x3 convolutions with a pooling each.

    examples: (n, *spec.shape), the training inputs, from which the first layer is computed. Source: Jordan 2024,
    arXiv:2404.00498. Differs: normalization with a trained scale, and settable. Raises UsageError for other than images
    of 17 pixels a side or more.
    """
    sizes = positions(spec, "airbench")
    if len(sizes) != 2 or min(sizes) < LEAST_SIDE:
        raise UsageError(
            f"model 'airbench' needs images of {LEAST_SIDE} pixels a side or more, and '{spec.name}' has inputs of "
            + "x".join(map(str, sizes)),
            "models that fit: cnn, lenet",
        )
    first = whitening(examples, PATCH)
    channels = [first.out_channels, width, 4 * width, 4 * width]
    groups = [part for a, b in pairwise(channels) for part in group(a, b, normalization)]
    sizes = tuple((size - PATCH + 1) // 8 for size in sizes)
    pool = min(POOL, *sizes)
    body = nn.Sequential(first, nn.GELU(), *groups, nn.MaxPool2d(pool), nn.Flatten(), Scaled(SCALE))
    features = channels[-1] * (sizes[0] // pool) * (sizes[1] // pool)
    return Predictor(Mirrored(body) if mirror else body, features, spec.outputs)


def group(inputs: int, outputs: int, normalization: Normalization) -> list[nn.Module]:
    """Two convolutions, with a pooling behind the first."""
    first, second = (identity(count, outputs, normalization) for count in (inputs, outputs))
    return [first[0], nn.MaxPool2d(2), first[1], nn.GELU(), *second, nn.GELU()]


def identity(inputs: int, outputs: int, normalization: Normalization) -> list[nn.Module]:
    """A convolution whose first outputs are its inputs, at first, and the module behind it."""
    after = normalization.after(outputs, 2)
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=not adds_shift(after))
    nn.init.dirac_(layer.weight[: min(inputs, outputs)].detach())
    return [normalization.wrap(layer), after]


class Scaled(nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, features: Tensor) -> Tensor:
        return features * self.factor
