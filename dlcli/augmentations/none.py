"""No augmentation."""

from __future__ import annotations

from torch import Generator, Tensor

from dlcli.protocols import Augmentation, Visit
from dlcli.registry import register


@register("augmentation", "none")
def none() -> Augmentation:
    """The inputs as they are; nothing is drawn."""

    def unchanged(inputs: Tensor, generator: Generator, visit: Visit) -> Tensor:
        return inputs

    return unchanged
