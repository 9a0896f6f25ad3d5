"""Layer normalization: every example by itself, over everything it has."""

from __future__ import annotations

from torch import nn

from dlcli.normalizations.group import GroupNorm
from dlcli.protocols import Normalization
from dlcli.registry import register
from dlcli.schema import Positive


@register("normalization", "layer")
def layer(*, eps: Positive) -> Normalization:
    """Layer normalization: each example over all channels and positions, affine per channel.

    Source: Ba, Kiros & Hinton 2016, arXiv:1607.06450; for signals and images the convention of Wu & He 2018
    (arXiv:1803.08494), group normalization with one group.
    """

    def after(channels: int, dims: int) -> nn.Module:
        return GroupNorm(1, channels, eps) if dims else nn.LayerNorm(channels, eps)  # the latter is five times faster

    return Normalization(wrap=lambda layer: layer, after=after)
