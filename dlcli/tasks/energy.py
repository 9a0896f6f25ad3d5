"""Energy-based models by maximum likelihood: the energy of given examples falls, that of drawn ones rises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Annotated, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dlcli.errors import UsageError
from dlcli.metrics.mean import MeanRisk
from dlcli.metrics.two_samples import DRAWN, discrepancy_metric
from dlcli.protocols import Architecture, Batch, Bound, DataSpec, Metric, Noise, Phase, Split
from dlcli.registry import register
from dlcli.schema import Count, NonNegative, Positive, Probability, Range
from dlcli.tasks.landscape import density_beside
from dlcli.tasks.langevin import Energy, Walk
from dlcli.tasks.pictures import grid, looks_like_image
from dlcli.tasks.units import log_volume

SIDE = 200  # points of the quadrature along each axis
REACH = 4.0  # deviations of the base Gaussian that it covers on each side


class EnergyBased(NamedTuple):
    """Where the integral of the density can be had by quadrature, its likelihood is measured; else its samples are."""

    spec: DataSpec
    phases: tuple[Phase, ...]
    metrics: Mapping[str, Metric]
    walk: Walk
    drawn: int  # 0: predictions are likelihoods
    undefined = "the partition function moves with the weights, and no bound of the best likelihood is known"
    random = True

    def predict(self, model: Energy, batch: Batch, noise: Noise) -> Tensor:
        """Drawn examples (batch, *spec.shape), or (batch, 2): -log density in nats, and the error of the quadrature."""
        if self.drawn:
            return draw(model, self.walk, noise)
        log_partition, error = quadrature(model, batch.inputs.device)
        losses = model(batch.inputs).double() + log_partition + log_volume(self.spec)
        return torch.stack([losses, error.expand_as(losses)], 1)

    def head(self, model: nn.Module) -> None:
        return None

    def architecture(self, model: nn.Module) -> Architecture:
        return Architecture()

    def bounds(self, model: nn.Module, train: Split) -> tuple[Bound, ...]:
        return ()

    def afterwards(self, model: nn.Module, batch: Batch, noise: Noise) -> Mapping[str, Tensor]:
        return {}

    def sample(self, model: Energy, count: int, noise: Noise) -> Tensor:
        return self.spec.to_source(draw(model, self.walk, noise))

    def pictures(self, model: Energy, split: Split, noise: Noise) -> Mapping[str, np.ndarray]:
        if looks_like_image(self.spec.shape):
            return {"samples": grid(self.sample(model, 0, noise))}
        return density_beside(model, split) if self.spec.shape == (2,) else {}


def negative_log_likelihood(prediction: Tensor, batch: Batch) -> Tensor:
    return prediction[:, 0]


def quadrature_error(prediction: Tensor, batch: Batch) -> Tensor:
    return prediction[:, 1]


LIKELIHOOD_METRICS = {
    "loss": MeanRisk("nats", None, negative_log_likelihood, lambda targets: None),
    "quadrature_error": MeanRisk("nats", 0.0, quadrature_error, lambda targets: None),
}


@register("task", "energy")
def energy(
    spec: DataSpec,
    *,
    langevin_steps: Count,
    step_size: Positive,
    temperature: Annotated[float, Range(0, 1)],
    restart: Probability,
    energy_penalty: NonNegative,
) -> EnergyBased:
    """Energy-based model by maximum likelihood: Langevin chains that persist from step to step supply the samples.

    In the plane the likelihood is measured exactly, by quadrature; elsewhere the partition function is not known and
    drawn examples are compared with given ones.
    Source: Tieleman 2008 (ICML), persistent chains; Du & Mordatch 2019, arXiv:1903.08689, replay and penalty.
    """
    walk = Walk(langevin_steps, step_size, temperature)
    phase = Phase("train", "", partial(likelihood_loss, walk, restart, energy_penalty))
    if spec.shape == (2,):
        return EnergyBased(spec, (phase,), LIKELIHOOD_METRICS, walk, drawn=0)
    metrics = {"discrepancy": discrepancy_metric(lambda inputs: inputs.flatten(1))}
    return EnergyBased(spec, (phase,), metrics, walk, drawn=DRAWN)


def likelihood_loss(walk: Walk, restart: float, penalty: float, model: Energy, batch: Batch, noise: Noise) -> Tensor:
    """Its gradient is that of the mean -log density, as far as the chains have come to rest; its value means nothing.

    restart: share of the chains that begin anew, from the base Gaussian. penalty: weight of the squared energies,
    which keeps them near zero.
    """
    given = batch.inputs
    if len(given) > len(model.chains):
        raise UsageError(
            f"a batch of {len(given)} examples needs as many chains, and model.chains={len(model.chains)}",
            f"use model.chains={len(given)} or more",
        )
    # Neighbours walk together: a random stretch has no chain twice, and needs one number.
    first = (noise.uniform()[0] * len(model.chains)).long()
    places = (first + torch.arange(len(given), device=given.device)) % len(model.chains)
    anew = (noise.uniform() < restart).view(-1, *[1] * (given.dim() - 1))
    start = torch.where(anew, model.base * noise.normal(*given.shape[1:]), model.chains[places])
    drawn = walk.take(model, start, noise)
    model.chains[places] = drawn
    low, high = model(given), model(drawn)
    return (low - high).mean() + penalty * (low.square() + high.square()).mean()


def draw(model: Energy, walk: Walk, noise: Noise) -> Tensor:
    """Chains as training has left them, and a walk on from there, (batch, *spec.shape); they themselves stay."""
    chosen = (noise.uniform() * len(model.chains)).long()
    return walk.take(model, model.chains[chosen], noise)


def quadrature(model: Energy, device: torch.device) -> tuple[Tensor, Tensor]:
    """log of the integral of exp(-energy) over the plane, and how much it moves when every second point is left out.

    The trapezoid rule; for smooth densities that vanish at the rim its error falls faster than any power of the mesh,
    so the second number is far above the error of the first.
    """
    rim = REACH * model.base
    axis = torch.linspace(-rim, rim, SIDE + 1, device=device)[:SIDE]
    grid = torch.cartesian_prod(axis, axis)
    logs = -model(grid).double().view(SIDE, SIDE)
    mesh = 2 * rim / SIDE
    fine, coarse = (torch.logsumexp(part.flatten(), 0) for part in (logs, logs[::2, ::2]))
    fine, coarse = fine + 2 * math.log(mesh), coarse + 2 * math.log(2 * mesh)
    return fine, (fine - coarse).abs()
