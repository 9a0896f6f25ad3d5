"""Group normalization, and the module that layer normalization of signals and images shares with it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlcli.protocols import Normalization
from dlcli.registry import register
from dlcli.schema import Count, Positive


class GroupNorm(nn.GroupNorm):
    """Normalizes each example over the positions and channels of a group; affine per channel.

    Input and output: (batch, channels, *positions).
    Differs: torch's module refuses a lone example with one value per group; here a result never depends on the batch.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.group_norm(inputs, self.num_groups, self.weight, self.bias, self.eps)


@register("normalization", "group")
def group(*, groups: Count, eps: Positive) -> Normalization:
    """Group normalization: each example over groups of channels and all positions.

    Source: Wu & He 2018, arXiv:1803.08494. The number of groups falls to the largest divisor of the channels that is
    no greater than `groups`; without positions it also leaves two channels or more in a group, since one alone would
    become a constant.
    """

    def after(channels: int, dims: int) -> nn.Module:
        most = channels if dims else max(1, channels // 2)
        return GroupNorm(largest_divisor(channels, min(groups, most)), channels, eps)

    return Normalization(wrap=lambda layer: layer, after=after)


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of `number` that is no greater than `limit`."""
    return next(divisor for divisor in range(min(number, limit), 0, -1) if number % divisor == 0)
