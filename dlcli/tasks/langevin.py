"""Langevin dynamics: a walk down an energy with noise, whose resting distribution is the density of that energy."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from dlcli.protocols import Noise


class Energy(Protocol):
    """The models that have one."""

    chains: Tensor  # (chains, *shape)
    base: float

    def __call__(self, inputs: Tensor) -> Tensor: ...  # (batch, *shape) -> (batch,) nats


class Walk(NamedTuple):
    """x <- x - step^2 / 2 * slope of the energy + step * sqrt(temperature) * noise.

    At temperature 1 and for short steps the walk draws from the density; colder ones seek the bottoms of the energy.
    Source: Welling & Teh 2011 (ICML), without its minibatches; as used by Du & Mordatch 2019, arXiv:1903.08689.
    """

    steps: int
    step_size: float
    temperature: float

    def take(self, energy: Energy, start: Tensor, noise: Noise) -> Tensor:
        """(batch, *shape) -> (batch, *shape), without a gradient; also where evaluation has switched gradients off."""
        with torch.inference_mode(False), torch.enable_grad():
            points = start.clone()
            for _ in range(self.steps):
                shove = noise.normal(*points.shape[1:])
                points = points - 0.5 * self.step_size**2 * slope(energy, points)
                points = points + self.step_size * self.temperature**0.5 * shove
        return points.detach()


def slope(energy: Energy, points: Tensor, differentiable: bool = False) -> Tensor:
    """Gradient of the energy with respect to each point, (batch, *shape)."""
    place = points.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(energy(place).sum(), place, create_graph=differentiable)
    return gradient
