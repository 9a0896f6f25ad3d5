"""Transformers over patches of images or signals."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from dlcli.errors import UsageError
from dlcli.models.attention import DEVIATION
from dlcli.models.layers import CONVOLUTIONS
from dlcli.models.layers import positions as map_sizes
from dlcli.models.predictor import Predictor
from dlcli.models.transformer import block_shape, encoder
from dlcli.protocols import DataSpec, Normalization
from dlcli.registry import register
from dlcli.schema import Count, DropRate, Positive


class Patches(nn.Module):
    """(batch, channels, *positions) -> (batch, patches, width): each patch through one linear map."""

    def __init__(self, dims: int, channels: int, width: int, side: int):
        super().__init__()
        self.project = CONVOLUTIONS[dims](channels, width, side, stride=side)
        nn.init.normal_(self.project.weight, std=DEVIATION)
        nn.init.zeros_(self.project.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.project(inputs).flatten(2).transpose(1, 2)


@register("model", "vit", normalization="layer")
def vit(
    spec: DataSpec,
    normalization: Normalization,
    *,
    width: Count,
    depth: Count,
    heads: Count,
    patch: Count,
    expansion: Positive,
    feedforward: Literal["gelu", "swiglu"],
    placement: Literal["pre", "post"],
    positions: Literal["learned", "sinusoidal", "rotary", "none"],
    bias: bool,
    dropout: DropRate,
) -> Predictor:
    """Vision transformer: square patches as tokens; with 1-D patches it reads signals.

    Source: Dosovitskiy et al. 2020, arXiv:2010.11929. Differs: the features are the mean over the patches instead of a
    class token (Beyer, Zhai & Kolesnikov 2022, arXiv:2205.01580), and positions are numbered row by row.
    Raises UsageError where patches do not tile the image.
    """
    sizes = map_sizes(spec, "vit")
    if any(size % patch for size in sizes):
        fitting = [side for side in range(1, min(sizes) + 1) if all(size % side == 0 for size in sizes)]
        raise UsageError(
            f"model 'vit': patches of model.patch={patch} do not tile '{spec.name}' ({'x'.join(map(str, sizes))})",
            f"use model.patch={' or '.join(map(str, fitting[-6:]))}",
        )
    shape = block_shape("vit", spec, width, depth, heads, expansion, feedforward, placement, bias, dropout)
    reader = Patches(len(sizes), spec.shape[0], width, patch)
    length = math.prod(size // patch for size in sizes)
    body, features = encoder(spec, shape, reader, length, positions, "mean", normalization)
    return Predictor(body, features, spec.outputs)
