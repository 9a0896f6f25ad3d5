"""Scores of drawn points against a mixture of equal round Gaussians that is known: modes reached, quality, density.

Given examples score less than perfectly too: the truth itself puts exp(-9/2) = 1.11 % of its points in the plane beyond
three deviations. Read every value beside that of real examples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlcli.protocols import Batch

NEAR = 3.0  # deviations from a mode up to which a point is of high quality


class Mixture(NamedTuple):
    """Equally likely N(mode, deviation^2 I)."""

    modes: Tensor  # (modes, features) float64
    deviation: float
    to_source: Callable[[Tensor], Tensor]  # numbers of the model -> those in which the mixture is stated

    def distances(self, points: Tensor) -> Tensor:
        """In deviations, (batch, modes) float64."""
        places = self.to_source(points).double()
        return torch.cdist(places, self.modes.to(places.device)) / self.deviation


class MixtureScore(NamedTuple):
    """A number per drawn point, and one reduction; satisfies `protocols.Metric`."""

    unit: str
    floor: float | None
    score: Callable[[Tensor], Tensor]  # (batch, features) -> (batch,)
    reduce: Callable[[np.ndarray], float]
    decide: None = None
    probabilities: None = None

    def rows(self, prediction: Tensor, batch: Batch) -> Tensor:
        return self.score(prediction)

    def constant_risk(self, targets: np.ndarray) -> float | None:
        return None


def mixture_metrics(mixture: Mixture) -> dict[str, MixtureScore]:
    """Source: Lin et al. 2017, arXiv:1712.04086, section 4.1, table 1; high quality within three deviations.

    Differs: a mode is reached by a point of high quality, and the histogram counts such points only.
    """
    count = len(mixture.modes)

    def high_quality(points: Tensor) -> Tensor:
        return (mixture.distances(points).amin(1) <= NEAR).double()

    def nearest(points: Tensor) -> Tensor:
        """The mode whose high-quality point this is; -1: none."""
        distance, mode = mixture.distances(points).min(1)
        return torch.where(distance <= NEAR, mode, -1).double()

    def surprise(points: Tensor) -> Tensor:
        return negative_log_density(mixture, points)

    return {
        "modes": MixtureScore("modes", 0.0, nearest, lambda rows: float(len(np.unique(rows[rows >= 0])))),
        "high_quality": MixtureScore("fraction", 0.0, high_quality, mean),
        "reverse_kl": MixtureScore("nats", 0.0, nearest, lambda rows: reverse_kl(rows, count)),
        "surprise": MixtureScore("nats", None, surprise, mean),
    }


def mean(rows: np.ndarray) -> float:
    return float(np.mean(rows))


def reverse_kl(rows: np.ndarray, modes: int) -> float:
    """KL(histogram of the drawn points over the modes || equal shares), nats; all at one mode: ln(modes).

    Without a point of high quality there is no histogram: ln(modes), as if all were at one.
    """
    counts = np.bincount(rows[rows >= 0].astype(np.int64), minlength=modes)
    if not counts.any():
        return float(np.log(modes))
    shares = counts[counts > 0] / counts.sum()
    return float((shares * np.log(shares * modes)).sum())


def negative_log_density(mixture: Mixture, points: Tensor) -> Tensor:
    """-log of the true density at drawn points, (batch,) nats; its mean over the truth itself is the entropy."""
    distances, (modes, features) = mixture.distances(points), mixture.modes.shape
    log_volume = 0.5 * features * np.log(2 * np.pi * mixture.deviation**2)
    return np.log(modes) + log_volume - torch.logsumexp(-0.5 * distances.square(), 1)
