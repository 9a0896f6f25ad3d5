"""Readings of the evidence lower bound. A prediction is (batch, 1 + latents): -log likelihood of the input given drawn
latents, then the divergence of each latent's posterior from its prior, all in nats.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from dlcli.metrics.mean import MeanRisk
from dlcli.protocols import Batch, Metric


def negative_elbo(prediction: Tensor, batch: Batch) -> Tensor:
    """An upper bound of -log p(x), in expectation over the drawn latents. Kingma & Welling 2013, arXiv:1312.6114."""
    return prediction.sum(1)


def reconstruction(prediction: Tensor, batch: Batch) -> Tensor:
    return prediction[:, 0]


def kl(prediction: Tensor, batch: Batch) -> Tensor:
    return prediction[:, 1:].sum(1)


def elbo_metrics(density: bool) -> dict[str, Metric]:
    """density: of numbers, whose -log likelihood has no lower bound."""
    floor = None if density else 0.0
    return {
        "loss": MeanRisk("nats", floor, negative_elbo, no_constant),
        "reconstruction": MeanRisk("nats", floor, reconstruction, no_constant),
        "kl": MeanRisk("nats", 0.0, kl, no_constant),
    }


def no_constant(targets: np.ndarray) -> None:
    return None
