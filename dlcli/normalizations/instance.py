"""Instance normalization: every channel of every example by itself, so it exists only where there are positions."""

from __future__ import annotations

from torch import Tensor, nn

from dlcli.errors import UsageError
from dlcli.normalizations.group import GroupNorm
from dlcli.protocols import Normalization
from dlcli.registry import register
from dlcli.schema import Positive


class InstanceNorm(GroupNorm):
    """Normalizes each channel of each example over its positions; affine per channel, no running averages.

    Input and output: (batch, channels, *positions).
    """

    def __init__(self, channels: int, eps: float):
        super().__init__(channels, channels, eps)

    def forward(self, inputs: Tensor) -> Tensor:
        """Raises UsageError where a single position is left: it would become a constant."""
        if inputs.shape[2:].numel() == 1:
            raise UsageError(
                "normalization 'instance' met a layer whose maps have shrunk to one position",
                "use fewer layers (model.depth), a smaller stride, or normalization=batch, layer, group, rms or weight",
            )
        return super().forward(inputs)


@register("normalization", "instance")
def instance(*, eps: Positive) -> Normalization:
    """Instance normalization: each channel of each example over its positions; for convolutions only.

    Source: Ulyanov, Vedaldi & Lempitsky 2016, arXiv:1607.08022.
    Raises UsageError for a layer whose channels have no positions to average over.
    """

    def after(channels: int, dims: int) -> nn.Module:
        if dims == 0:
            raise UsageError(
                "normalization 'instance' averages over positions, and a fully connected layer has none",
                "use normalization=batch, layer, group, rms, weight or none; model=cnn and resnet take instance",
            )
        return InstanceNorm(channels, eps)

    return Normalization(wrap=lambda layer: layer, after=after)
