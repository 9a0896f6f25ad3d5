"""Losses of one score per example, (batch, 1), for two classes: positive scores choose class 1. Per example."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dlcli.metrics.mean import MeanRisk, widen
from dlcli.metrics.multiclass import entropy_of_shares, least_errors, least_hinge
from dlcli.protocols import Batch


def logistic(prediction: Tensor, batch: Batch, smoothing: float = 0.0) -> Tensor:
    """-log sigmoid(+-score), nats; equal to the softmax cross-entropy of the scores (0, score)."""
    scores = widen(prediction).squeeze(-1)
    targets = soft_targets(scores, batch, smoothing)
    return functional.binary_cross_entropy_with_logits(scores, targets, reduction="none")


def logistic_slope(prediction: Tensor, batch: Batch, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """The slope is what the sigmoid gives too much: (sigmoid(score) - target) / batch."""
    scores = prediction.squeeze(-1)
    too_much = scores.sigmoid() - soft_targets(scores, batch, smoothing)
    return logistic(prediction, batch, smoothing).mean(-1), too_much.unsqueeze(-1) / scores.shape[-1]


def soft_targets(scores: Tensor, batch: Batch, smoothing: float) -> Tensor:
    """Like scores: 1 for class 1 and 0 for class 0, mixed with one half."""
    return batch.targets.to(scores.dtype) * (1 - smoothing) + smoothing / 2


def hinge(prediction: Tensor, batch: Batch) -> Tensor:
    """max(0, 1 - score) for class 1, max(0, 1 + score) for class 0."""
    scores = widen(prediction).squeeze(-1)
    return (1 - signs(scores, batch) * scores).clamp_min(0)


def squared_error(prediction: Tensor, batch: Batch, smoothing: float = 0.0) -> Tensor:
    """Squared distance of the score to -1 (class 0) or +1 (class 1), so that its sign decides like any other score."""
    scores = widen(prediction).squeeze(-1)
    return (scores - (1 - smoothing) * signs(scores, batch)).square()


def signs(scores: Tensor, batch: Batch) -> Tensor:
    return 2 * batch.targets.to(scores.dtype) - 1


def decide(prediction: Tensor) -> Tensor:
    """Class 1 for a positive score; a score of zero is class 0, the first of the tied classes."""
    return (prediction.squeeze(-1) > 0).long()


def sigmoid(prediction: Tensor) -> Tensor:
    """(batch, 2): of class 0 and of class 1, whose -log the logistic loss is."""
    scores = widen(prediction)
    return torch.cat([-scores, scores], -1).sigmoid()


def zero_one(prediction: Tensor, batch: Batch) -> Tensor:
    """1 where the decision is wrong, 0 where it is right."""
    return (decide(prediction) != batch.targets).float()


def variance_of_signs(targets: np.ndarray) -> float:
    share = float(np.mean(targets))
    return 4 * share * (1 - share)


LOGISTIC = MeanRisk("nats", 0.0, logistic, entropy_of_shares, probabilities=sigmoid, slope=logistic_slope)
HINGE = MeanRisk("margin", 0.0, hinge, least_hinge)
SQUARED_ERROR = MeanRisk("squared units", 0.0, squared_error, variance_of_signs)
ZERO_ONE = MeanRisk("fraction", 0.0, zero_one, least_errors, decide)
