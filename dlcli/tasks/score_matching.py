"""Energy-based models by denoising: the slope of the energy points from a noisy example to where it came from.

Separate from maximum likelihood because this loss is a mean over examples that needs no partition function: a risk
like any other, so it is decomposed like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dlcli.metrics.mean import MeanRisk, widen
from dlcli.protocols import Architecture, Batch, Bound, DataSpec, Metric, Noise, Phase, Split
from dlcli.registry import register
from dlcli.schema import Count, Positive, Range
from dlcli.tasks.landscape import density_beside
from dlcli.tasks.langevin import Energy, Walk, slope
from dlcli.tasks.pictures import grid, looks_like_image


class ScoreMatching(NamedTuple):
    spec: DataSpec
    phases: tuple[Phase, ...]
    deviation: float
    walk: Walk
    metrics: Mapping[str, Metric]
    undefined = ""
    random = True
    drawn = 0

    def predict(self, model: Energy, batch: Batch, noise: Noise) -> Tensor:
        """What is left of the noise, (batch, *spec.shape), in units of its deviation."""
        return unexplained(model, batch.inputs, noise, self.deviation)

    def head(self, model: nn.Module) -> None:
        return None

    def architecture(self, model: nn.Module) -> Architecture:
        return Architecture()

    def bounds(self, model: nn.Module, train: Split) -> tuple[Bound, ...]:
        return ()

    def afterwards(self, model: nn.Module, batch: Batch, noise: Noise) -> Mapping[str, Tensor]:
        return {}

    def sample(self, model: Energy, count: int, noise: Noise) -> Tensor:
        """A walk from the base Gaussian."""
        start = model.base * noise.normal(*self.spec.shape)
        return self.spec.to_source(self.walk.take(model, start, noise))

    def pictures(self, model: Energy, split: Split, noise: Noise) -> Mapping[str, np.ndarray]:
        if looks_like_image(self.spec.shape):
            return {"samples": grid(self.sample(model, 0, noise))}
        return density_beside(model, split) if self.spec.shape == (2,) else {}


def squared_remainder(prediction: Tensor, batch: Batch) -> Tensor:
    """Mean over the numbers of an example of the squared remainder; a flat energy leaves 1."""
    return widen(prediction).square().flatten(1).mean(1)


@register("task", "score_matching")
def score_matching(
    spec: DataSpec,
    *,
    noise_deviation: Positive,
    langevin_steps: Count,
    step_size: Positive,
    temperature: Annotated[float, Range(0, 1)],
) -> ScoreMatching:
    """Denoising score matching: (noise - deviation * slope of the energy at the noisy example)^2, averaged.

    The best energy is that of the data blurred by the noise. The Langevin settings are for drawing examples alone.
    Source: Vincent 2011 (Neural Computation 23), equation 11, times the variance of the noise.
    """
    metrics = {"loss": MeanRisk("squared noise", 0.0, squared_remainder, lambda targets: None)}
    phase = Phase("train", "", partial(denoising_loss, noise_deviation))
    return ScoreMatching(spec, (phase,), noise_deviation, Walk(langevin_steps, step_size, temperature), metrics)


def denoising_loss(deviation: float, model: Energy, batch: Batch, noise: Noise) -> Tensor:
    return squared_remainder(unexplained(model, batch.inputs, noise, deviation), batch).mean()


def unexplained(model: Energy, inputs: Tensor, noise: Noise, deviation: float) -> Tensor:
    """noise - deviation * slope; with a graph to the weights, unless gradients are switched off."""
    differentiable = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.enable_grad():
        shove = noise.normal(*inputs.shape[1:])
        return shove - deviation * slope(model, inputs + deviation * shove, differentiable)
