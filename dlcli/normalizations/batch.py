"""Batch normalization: the one whose training mode looks at other examples."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlcli.errors import UsageError
from dlcli.protocols import Normalization
from dlcli.registry import register
from dlcli.schema import Positive, Share


class BatchNorm(nn.Module):
    """Normalizes each channel by its mean and variance over the batch and all positions; affine per channel.

    Input and output: (batch, channels, *positions) with any number of position axes, where torch has one class for
    each. Evaluation uses the running averages.
    """

    def __init__(self, channels: int, momentum: float, eps: float):
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, inputs: Tensor) -> Tensor:
        """Raises UsageError in training where a channel has a single value: that is no estimate of a variance."""
        if self.training and inputs.numel() == inputs.shape[1]:
            raise UsageError(
                "normalization 'batch' needs two or more values per channel, and this batch has one",
                "use training.batch_size=2 or more (fewer parts in training.accumulate), or normalization=layer",
            )
        return F.batch_norm(
            inputs,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training,
            momentum=self.momentum,
            eps=self.eps,
        )


@register("normalization", "batch")
def batch(*, momentum: Share, eps: Positive) -> Normalization:
    """Batch normalization: each channel over the batch and all positions, running averages at evaluation.

    Source: Ioffe & Szegedy 2015, arXiv:1502.03167.
    """
    return Normalization(
        wrap=lambda layer: layer,
        after=lambda channels, dims: BatchNorm(channels, momentum, eps),
    )
