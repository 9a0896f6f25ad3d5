"""Energy-based models: a density known up to a constant, and the chains that draw from it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlcli.models.layers import ACTIVATIONS, require_numbers
from dlcli.models.scorer import scorer
from dlcli.protocols import DataSpec
from dlcli.registry import register
from dlcli.schema import Activation, Count, Positive


class Ebm(nn.Module):
    """p(x) = exp(-energy(x)) / Z. The chains are a buffer: a checkpoint keeps them as it keeps the weights."""

    def __init__(self, network: nn.Module, chains: Tensor, base: float):
        super().__init__()
        self.network = network  # (batch, *spec.shape) -> (batch, 1)
        self.base = base
        self.register_buffer("chains", chains)  # (chains, *spec.shape), where Langevin dynamics last left them

    def forward(self, inputs: Tensor) -> Tensor:
        """Energies in nats, (batch,)."""
        return self.network(inputs).squeeze(1) + inputs.flatten(1).square().sum(1) / (2 * self.base**2)


@register("model", "ebm", tasks=("energy", "score_matching"))
def ebm(spec: DataSpec, *, width: Count, depth: Count, activation: Activation, base: Positive, chains: Count) -> Ebm:
    """Energy-based model: a network, on top of the energy of a wide Gaussian; perceptron for points, else convolutions.

    The Gaussian gives the density a finite integral, whatever the network: its energy grows faster than any network of
    these activations falls. Normalization does not apply: the energy of an example depends on it alone.
    Source: LeCun et al. 2006, "A tutorial on energy-based learning"; replay of chains as in Du & Mordatch 2019,
    arXiv:1903.08689.
    """
    require_numbers(spec, "ebm")
    layers = scorer("ebm", spec, 1, width, depth, ACTIVATIONS[activation])
    return Ebm(nn.Sequential(*layers), torch.randn(chains, *spec.shape), base)
