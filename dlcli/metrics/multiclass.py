"""Losses of one score per class, (batch, classes), per example; and the least that a constant prediction can reach.

`smoothing` mixes the target with the uniform distribution (Szegedy et al. 2016, arXiv:1512.00567); it belongs to a
training objective only, so no metric sets it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dlcli.metrics.mean import MeanRisk, widen
from dlcli.protocols import Batch

WIDE = 16  # float32 numbers of the widest vector register of a CPU


def soft_targets(scores: Tensor, batch: Batch, smoothing: float) -> Tensor:
    """(batch, classes): 1 for the class of the example and 0 elsewhere, mixed with the uniform distribution."""
    classes = scores.shape[-1]
    one_hot = functional.one_hot(batch.targets, classes).to(scores.dtype)
    return one_hot * (1 - smoothing) + smoothing / classes


def log_softmax(scores: Tensor) -> Tensor:
    """Logarithms of the probabilities that `softmax` gives.

    On a CPU the framework takes a row that is shorter than a vector register number by number, so it is filled up with
    classes that nothing speaks for; still each row is taken by itself, whatever stands beside it.
    """
    classes = scores.shape[-1]
    if scores.device.type == "cpu" and scores.dtype == torch.float32 and classes < WIDE:
        return functional.pad(scores, (0, WIDE - classes), value=-torch.inf).log_softmax(-1)[..., :classes]
    return scores.log_softmax(-1)


def cross_entropy(prediction: Tensor, batch: Batch, smoothing: float = 0.0) -> Tensor:
    """-log softmax(scores)[target], nats."""
    logarithms = log_softmax(widen(prediction))
    losses = -logarithms.gather(-1, batch.targets.unsqueeze(-1)).squeeze(-1)
    return (1 - smoothing) * losses - smoothing * logarithms.mean(-1) if smoothing else losses


def mean_cross_entropy(prediction: Tensor, batch: Batch, smoothing: float = 0.0) -> Tensor:
    """The mean of `cross_entropy` over the batch, by one kernel in each direction instead of three."""
    return functional.cross_entropy(widen(prediction), batch.targets, label_smoothing=smoothing)


def cross_entropy_slope(prediction: Tensor, batch: Batch, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """The slope is what softmax gives too much: (softmax(scores) - target) / batch."""
    logarithms, targets = log_softmax(prediction), batch.targets.unsqueeze(-1)
    examples, classes = prediction.shape[-2:]
    # No `scatter`, which has no deterministic form on every device.
    chosen = (torch.arange(classes, device=targets.device) == targets).to(prediction.dtype)
    loss = -logarithms.gather(-1, targets).mean((-2, -1))
    slope = logarithms.exp().sub_(chosen, alpha=1 - smoothing)
    if smoothing:
        loss = (1 - smoothing) * loss - smoothing * logarithms.mean((-2, -1))
        slope.sub_(smoothing / classes)
    return loss, slope.div_(examples)


def squared_error(prediction: Tensor, batch: Batch, smoothing: float = 0.0) -> Tensor:
    """Squared distance between the scores and the one-hot target, summed over the classes."""
    scores = widen(prediction)
    return (scores - soft_targets(scores, batch, smoothing)).square().sum(-1)


def squared_error_slope(prediction: Tensor, batch: Batch, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    apart = prediction - soft_targets(prediction, batch, smoothing)
    return apart.square().sum(-1).mean(-1), apart * (2 / apart.shape[-2])


def hinge(prediction: Tensor, batch: Batch) -> Tensor:
    """max(0, 1 + best wrong score - right score) (Crammer & Singer, 2001)."""
    scores = widen(prediction)
    target = batch.targets[:, None]
    rival = scores.scatter(-1, target, -torch.inf).amax(-1)
    return (1 + rival - scores.gather(-1, target).squeeze(-1)).clamp_min(0)


def logistic_each(prediction: Tensor, batch: Batch, smoothing: float = 0.0) -> Tensor:
    """Sum over the classes of the logistic loss of "this class or another", nats."""
    scores = widen(prediction)
    targets = soft_targets(scores, batch, smoothing)
    return functional.binary_cross_entropy_with_logits(scores, targets, reduction="none").sum(-1)


def hinge_each(prediction: Tensor, batch: Batch) -> Tensor:
    """Sum over the classes of the hinge loss of "this class or another"."""
    scores = widen(prediction)
    signs = 2 * soft_targets(scores, batch, 0.0) - 1
    return (1 - signs * scores).clamp_min(0).sum(-1)


def decide(prediction: Tensor) -> Tensor:
    """The class of the greatest score; of tied classes the first."""
    return prediction.argmax(-1)


def softmax(prediction: Tensor) -> Tensor:
    """The probabilities whose -log the cross-entropy is."""
    return widen(prediction).softmax(-1)


def sigmoid_each(prediction: Tensor) -> Tensor:
    """Of "this class or another", for each class by itself: they need not sum to 1."""
    return widen(prediction).sigmoid()


def zero_one(prediction: Tensor, batch: Batch) -> Tensor:
    """1 where the decision is wrong, 0 where it is right."""
    return (decide(prediction) != batch.targets).float()


def shares(targets: np.ndarray) -> np.ndarray:
    """Share of each class that occurs."""
    return np.unique(targets, return_counts=True)[1] / len(targets)


def entropy(probabilities: np.ndarray) -> float:
    """-sum p log p, nats; 0 log 0 is 0."""
    positive = probabilities[probabilities > 0]
    return float(-np.sum(positive * np.log(positive)))


def entropy_of_shares(targets: np.ndarray) -> float:
    """Reached by predicting the shares of the classes."""
    return entropy(shares(targets))


def binary_entropies(targets: np.ndarray) -> float:
    """Sum over the classes of the entropy of "this class or another"."""
    share = shares(targets)
    return entropy(share) + entropy(1 - share)


def least_hinge(targets: np.ndarray) -> float:
    """Score the commonest class by a margin d above the others: share (1 - d) + (1 - share)(1 + d), d in [0, 1]."""
    return float(min(1.0, 2 * (1 - shares(targets).max())))


def least_hinge_each(targets: np.ndarray) -> float:
    """Each class alone is best scored -1 or +1: twice the smaller of its share and the rest's."""
    share = shares(targets)
    return float(2 * np.minimum(share, 1 - share).sum())


def gini(targets: np.ndarray) -> float:
    """Sum over the classes of p (1 - p), reached by predicting the shares."""
    share = shares(targets)
    return float(np.sum(share * (1 - share)))


def least_errors(targets: np.ndarray) -> float:
    return float(1 - shares(targets).max())


CROSS_ENTROPY = MeanRisk(
    "nats", 0.0, cross_entropy, entropy_of_shares, probabilities=softmax, slope=cross_entropy_slope
)
SQUARED_ERROR = MeanRisk("squared units", 0.0, squared_error, gini, slope=squared_error_slope)
HINGE = MeanRisk("margin", 0.0, hinge, least_hinge)
LOGISTIC_EACH = MeanRisk("nats", 0.0, logistic_each, binary_entropies, probabilities=sigmoid_each)
HINGE_EACH = MeanRisk("margin", 0.0, hinge_each, least_hinge_each)
ZERO_ONE = MeanRisk("fraction", 0.0, zero_one, least_errors, decide)
