"""The normalization that comes with a model."""

from __future__ import annotations

from dlcli.protocols import Normalization
from dlcli.registry import register


@register("normalization", "auto")
def auto(usual: Normalization) -> Normalization:
    """The model's own: batch for resnet, layer for transformer and vit, none for the others."""
    return usual
