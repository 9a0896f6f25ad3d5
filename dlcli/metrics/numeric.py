"""Losses of predicted numbers, (batch, targets), per example."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from dlcli.metrics.mean import MeanRisk, widen
from dlcli.protocols import Batch


def squared_error(prediction: Tensor, batch: Batch) -> Tensor:
    """Squared error, averaged over the targets of the example: the same scale for one target as for many."""
    numbers = widen(prediction)
    assert numbers.shape == batch.targets.shape, (numbers.shape, batch.targets.shape)  # broadcasting would mix examples
    return (numbers - batch.targets.to(numbers.dtype)).square().flatten(1).mean(1)


def squared_error_slope(prediction: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    residual = prediction - batch.targets.to(prediction.dtype)
    return residual.square().mean((-2, -1)), residual * (2 / residual.shape[-2:].numel())


def variance(targets: np.ndarray) -> float:
    """Mean over the targets of their variance about their own mean; R^2 is 1 - risk / variance."""
    return float(np.var(targets, axis=0, dtype=np.float64).mean())


SQUARED_ERROR = MeanRisk("squared units", 0.0, squared_error, variance, slope=squared_error_slope)
