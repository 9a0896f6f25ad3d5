"""Readings of a likelihood. A prediction is the negative log-likelihood of each example, (batch,) nats."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from torch import Tensor

from dlcli.metrics.mean import MeanRisk
from dlcli.protocols import Batch, Metric


def negative_log_likelihood(prediction: Tensor, batch: Batch) -> Tensor:
    return prediction


class BitsPerNumber(NamedTuple):
    """Nats per example as bits per pixel and channel."""

    numbers: int  # of an example
    unit: str = "bits"
    floor: float | None = 0.0
    decide: None = None
    probabilities: None = None

    def rows(self, prediction: Tensor, batch: Batch) -> Tensor:
        return prediction

    def reduce(self, rows: np.ndarray) -> float:
        return float(np.mean(rows, dtype=np.float64)) / (self.numbers * math.log(2))

    def constant_risk(self, targets: np.ndarray) -> None:
        return None


def likelihood_metrics(pixels: int | None) -> dict[str, Metric]:
    """pixels: how many numbers an example of whole numbers has; None for a density, whose loss has no lower bound."""
    if pixels is None:
        return {"loss": MeanRisk("nats", None, negative_log_likelihood, no_constant)}
    return {
        "loss": MeanRisk("nats", 0.0, negative_log_likelihood, no_constant),
        "bits_per_dimension": BitsPerNumber(pixels),
    }


def no_constant(targets: np.ndarray) -> None:
    return None
