"""No normalization: the neutral element of the axis."""

from __future__ import annotations

from torch import nn

from dlcli.protocols import Normalization
from dlcli.registry import register


@register("normalization", "none")
def none() -> Normalization:
    """No normalization."""
    return Normalization(wrap=lambda layer: layer, after=lambda channels, dims: nn.Identity())
