"""Weight normalization: a reparametrization of the layer itself; activations are left alone."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils import parametrize

from dlcli.protocols import Normalization
from dlcli.registry import register


class ScaledDirection(nn.Module):
    """weight = scale * direction / |direction|, for each output unit or channel.

    scale: (outputs,), direction: the shape of the weight.
    Differs: torch's `weight_norm` keeps the scale in the weight's rank, so that optimizers which treat matrices and
    vectors apart (Muon, weight decay without norms) would take it for a matrix.
    """

    def forward(self, scale: Tensor, direction: Tensor) -> Tensor:
        norm = direction.flatten(1).norm(dim=1)
        return direction * (scale / norm).view(-1, *[1] * (direction.dim() - 1))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return weight.flatten(1).norm(dim=1), weight


@register("normalization", "weight")
def weight() -> Normalization:
    """Weight normalization: length and direction of each unit's weights are separate parameters.

    Source: Salimans & Kingma 2016, arXiv:1602.07868. The set of functions is that of `none`; what changes is the path
    of the optimizer.
    Differs: the initial weights are kept as they are drawn; there is no data-dependent initialization.
    """

    def wrap(layer: nn.Module) -> nn.Module:
        return parametrize.register_parametrization(layer, "weight", ScaledDirection())

    return Normalization(wrap=wrap, after=lambda channels, dims: nn.Identity())
