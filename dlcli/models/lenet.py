"""The convolutional network of the lecture."""

from __future__ import annotations

import math

from torch import nn

from dlcli.errors import UsageError
from dlcli.models.layers import ACTIVATIONS, convolution, dense, positions
from dlcli.models.predictor import Predictor
from dlcli.protocols import DataSpec, Normalization
from dlcli.registry import register
from dlcli.schema import Activation, Count

CHANNELS, DENSE = (6, 16), (120, 84)  # LeCun's sizes; `width` scales them all, `depth` continues the first ratio
POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d}


@register("model", "lenet")
def lenet(
    spec: DataSpec, normalization: Normalization, *, width: Count, depth: Count, activation: Activation
) -> Predictor:
    """LeNet: 3x3 convolutions with max-pooling (6 and 16 channels), then 120 and 84 units.

    Source: LeCun, Bottou, Bengio & Haffner 1998 (Proc. IEEE), LeNet-5. Takes images or, with 1-D layers, signals.
    Differs, as the lecture does: 3x3 kernels with padding 1 (inputs of 8x8 fit), max-pooling, a settable activation,
    every channel connected, a linear output layer.
    """
    sizes = positions(spec, "lenet")
    most = min(sizes).bit_length() - 1
    if depth > most:
        raise UsageError(
            f"model 'lenet' with model.depth={depth} pools '{spec.name}' ({'x'.join(map(str, sizes))}) away to nothing",
            f"each stage halves the maps: use model.depth={most}" if most else "models that fit: mlp, linear, kernel",
        )
    dims, ratio = len(sizes), CHANNELS[1] / CHANNELS[0]
    channels = [spec.shape[0], *(round(width * ratio**stage) for stage in range(depth))]
    units = [channels[-1] * math.prod(size >> depth for size in sizes)]
    units += [round(width * size / CHANNELS[0]) for size in DENSE]
    body: list[nn.Module] = []
    for stage in range(depth):
        body += convolution(dims, channels[stage], channels[stage + 1], 3, 1, 1, normalization)
        # As in the source the activation comes last: one that grows makes the same of it, for a quarter of the numbers.
        body += [POOLS[dims](2), ACTIVATIONS[activation]()]
    body.append(nn.Flatten())
    for layer in range(len(DENSE)):
        body += [*dense(units[layer], units[layer + 1], normalization), ACTIVATIONS[activation]()]
    return Predictor(nn.Sequential(*body), units[-1], spec.outputs)
