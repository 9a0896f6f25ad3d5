"""A metric as a value: how an example is scored, and what the mean of the scores can be at least."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlcli.protocols import Batch, Slope


class MeanRisk(NamedTuple):
    """The mean of a loss over the examples of a split; satisfies `protocols.Metric`.

    `decide` turns a prediction into class indices (batch,) int64; None where there is nothing to decide.
    `probabilities` turns it into those of the classes, (batch, ..., classes); None where the loss does not judge any.
    `slope` is that of the mean, and may take a smoothing; None where it is left to autograd.
    """

    unit: str
    floor: float | None
    rows: Callable[[Tensor, Batch], Tensor]
    constant_risk: Callable[[np.ndarray], float | None]
    decide: Callable[[Tensor], Tensor] | None = None
    probabilities: Callable[[Tensor], Tensor] | None = None
    slope: Slope | None = None

    def reduce(self, rows: np.ndarray) -> float:
        """One sum over all examples and one division, in float64: no mean of batch means."""
        return float(np.mean(rows, dtype=np.float64))


def widen(prediction: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 stay. A loss in bfloat16 would keep two decimal digits."""
    return prediction.to(torch.promote_types(prediction.dtype, torch.float32))
