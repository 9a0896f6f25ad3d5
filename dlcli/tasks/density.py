"""Exact likelihoods: how probable a model makes the examples themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlcli.metrics.likelihood import likelihood_metrics
from dlcli.metrics.mean import widen
from dlcli.protocols import Architecture, Batch, Bound, DataSpec, Metric, Noise, Phase, Split
from dlcli.registry import register
from dlcli.tasks.pictures import density_map, frame, grid, lattice, looks_like_image, scatter
from dlcli.tasks.units import log_volume

MARGIN = 0.05  # pixels are kept so far from 0 and 1, where their log odds end. Dinh et al. 2016, section 4.1


class Flow(Protocol):
    """The models that can be trained on this."""

    def log_density(self, inputs: Tensor) -> Tensor: ...
    def inverse(self, latents: Tensor) -> Tensor: ...


class Density(NamedTuple):
    spec: DataSpec
    phases: tuple[Phase, ...]
    metrics: Mapping[str, Metric]
    random: bool  # pixels are dequantized
    undefined = ""
    drawn = 0

    def predict(self, model: Flow, batch: Batch, noise: Noise) -> Tensor:
        return negative_log_likelihood(self.spec, model, batch, noise)

    def head(self, model: nn.Module) -> None:
        return None

    def architecture(self, model: nn.Module) -> Architecture:
        return Architecture()

    def bounds(self, model: Flow, train: Split) -> tuple[Bound, ...]:
        return ()

    def afterwards(self, model: nn.Module, batch: Batch, noise: Noise) -> Mapping[str, Tensor]:
        return {}

    def sample(self, model: Flow, count: int, noise: Noise) -> Tensor:
        drawn = model.inverse(noise.normal(math.prod(self.spec.shape)))
        return to_pixels(self.spec, drawn) if self.spec.levels else self.spec.to_source(drawn)

    def pictures(self, model: Flow, split: Split, noise: Noise) -> dict[str, np.ndarray]:
        if looks_like_image(self.spec.shape):
            return {"samples": grid(self.sample(model, 0, noise))}
        if self.spec.shape != (2,) or self.spec.levels:
            return {}
        given = split.batch(slice(None)).inputs
        corners = frame(given)
        picture = density_map(model.log_density(lattice(corners)).exp())
        return {"density": np.concatenate([scatter(given, corners), picture], 1)}


@register("task", "density")
def density(spec: DataSpec) -> Density:
    """Negative log-likelihood in nats per example, of the numbers of the data set whatever its standardization.

    Pixels are whole numbers, and a density can be as high as it likes on those: uniform noise fills the gaps between
    them (Theis et al. 2015, arXiv:1511.01844, section 3.1), which makes the loss an upper bound of the discrete one, in
    bits per number the usual measure. Numbers have no such floor: their loss can be negative, and has no lower bound.
    """
    pixels = spec.levels > 0
    metrics = likelihood_metrics(math.prod(spec.shape) if pixels else None)
    phase = Phase("train", "", partial(training_loss, spec))
    return Density(spec, (phase,), metrics, random=pixels)


def training_loss(spec: DataSpec, model: Flow, batch: Batch, noise: Noise) -> Tensor:
    return negative_log_likelihood(spec, model, batch, noise).mean()


def negative_log_likelihood(spec: DataSpec, model: Flow, batch: Batch, noise: Noise) -> Tensor:
    """(batch,) nats."""
    if not spec.levels:
        return log_volume(spec) - widen(model.log_density(batch.inputs))
    log_odds, change = dequantized(spec, batch.inputs, noise)
    return math.prod(spec.shape) * math.log(spec.levels) - change - widen(model.log_density(log_odds))


def dequantized(spec: DataSpec, inputs: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
    """Pixels, spread over [0, 1], as log odds; and log |det| of the map from [0, 1]."""
    whole = (spec.to_source(inputs) * (spec.levels - 1)).round()
    share = MARGIN + (1 - 2 * MARGIN) * (whole + noise.uniform(*spec.shape)) / spec.levels
    log_odds = torch.logit(share)
    change = math.log(1 - 2 * MARGIN) + F.softplus(log_odds) + F.softplus(-log_odds)
    return log_odds, change.flatten(1).sum(1)


def to_pixels(spec: DataSpec, log_odds: Tensor) -> Tensor:
    """In [0, 1]."""
    place = (torch.sigmoid(log_odds) - MARGIN) / (1 - 2 * MARGIN)
    return ((place * spec.levels).floor() / (spec.levels - 1)).clamp(0, 1)
