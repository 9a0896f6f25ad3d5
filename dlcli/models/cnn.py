"""Plain convolutional networks over signals (1-D) or images (2-D)."""

from __future__ import annotations

import math

from torch import nn

from dlcli.errors import UsageError
from dlcli.models.layers import ACTIVATIONS, convolution, convolved, positions
from dlcli.models.predictor import Predictor
from dlcli.protocols import DataSpec, Normalization
from dlcli.registry import register
from dlcli.schema import Activation, Count, DropRate, Natural


@register("model", "cnn")
def cnn(
    spec: DataSpec,
    normalization: Normalization,
    *,
    width: Count,
    depth: Count,
    first_kernel: Count,
    kernel: Count,
    stride: Count,
    padding: Natural,
    activation: Activation,
    dropout: DropRate,
) -> Predictor:
    """Convolutional network: blocks of convolution, normalization, activation, dropout; 1-D or 2-D as the data are.

    Strides do the subsampling; the last maps are flattened into the linear layer.
    Source: with the defaults, on signals, `ConvBase` of Greydanus & Kobak 2020, arXiv:2011.14439 (5210 parameters on
    MNIST-1D). Raises UsageError where a kernel is larger than the padded maps that reach it.
    """
    sizes = positions(spec, "cnn")
    body: list[nn.Module] = []
    for block in range(depth):
        side = first_kernel if block == 0 else kernel
        if min(sizes) + 2 * padding < side:
            raise UsageError(
                f"model 'cnn' does not fit '{spec.name}': block {block + 1} of {depth} has kernels of side {side} "
                f"and maps of {'x'.join(map(str, sizes))} with padding {padding}",
                f"use model.depth={block}, or a larger model.padding" if block else "use a smaller model.first_kernel",
            )
        inputs = width if block else spec.shape[0]
        body += convolution(len(sizes), inputs, width, side, stride, padding, normalization)
        body += [ACTIVATIONS[activation](), nn.Dropout(dropout)]
        sizes = convolved(sizes, side, stride, padding)
    return Predictor(nn.Sequential(*body, nn.Flatten()), width * math.prod(sizes), spec.outputs)
