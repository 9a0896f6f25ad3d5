"""Losses of one score per token at each position, (batch, length, vocabulary); an example is a whole sequence.

All sequences of a split have one length, so the mean over sequences of their means is the mean over the tokens. The
units say "per token": a mean below ln 2 does not tell that each token was right, as it would for a single decision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dlcli.metrics.mean import MeanRisk, widen
from dlcli.metrics.multiclass import entropy_of_shares, least_errors, softmax
from dlcli.protocols import Batch


def cross_entropy(prediction: Tensor, batch: Batch, smoothing: float = 0.0) -> Tensor:
    """-log softmax(scores)[target], nats, averaged over the positions of a sequence."""
    scores, targets = widen(prediction).flatten(0, 1), batch.targets.flatten()
    losses = functional.cross_entropy(scores, targets, reduction="none", label_smoothing=smoothing)
    return losses.view(batch.targets.shape).mean(1)


def mean_cross_entropy(prediction: Tensor, batch: Batch, smoothing: float = 0.0) -> Tensor:
    """The mean of `cross_entropy` over the batch, whose sequences have one length, by one kernel."""
    scores = widen(prediction).flatten(0, 1)
    return functional.cross_entropy(scores, batch.targets.flatten(), label_smoothing=smoothing)


def zero_one(prediction: Tensor, batch: Batch) -> Tensor:
    """Share of the positions where the token of the greatest score is not the target."""
    return (prediction.argmax(-1) != batch.targets).float().mean(1)


def at_each_position(least: Callable[[np.ndarray], float]) -> Callable[[np.ndarray], float]:
    """A constant prediction may still be another one at each position. targets: (n, length)."""
    return lambda targets: float(np.mean([least(column) for column in targets.T]))


def least_after_beginnings(inputs: np.ndarray, targets: np.ndarray) -> tuple[float, int]:
    """Least mean cross-entropy of any causal model on (n, length) tokens, and the position from which it adds nothing.

    At each position the examples that are equal up to there share one prediction, so the entropy of their targets
    is lost: the mean over k of H(target k | tokens 0 to k), under the distribution of the examples themselves.
    """
    groups, total = np.zeros(len(inputs), np.int64), 0.0
    vocabulary = int(max(inputs.max(), targets.max())) + 1
    for position in range(inputs.shape[1]):
        groups = np.unique(groups * vocabulary + inputs[:, position], return_inverse=True)[1]
        total += entropy_of_shares(groups * vocabulary + targets[:, position]) - entropy_of_shares(groups)
        if groups.max() == len(groups) - 1:  # no two examples are equal any more
            return total / inputs.shape[1], position
    return total / inputs.shape[1], inputs.shape[1]


class Perplexity(NamedTuple):
    """exp of the mean cross-entropy over all tokens; never a mean of exponentials."""

    unit: str = "tokens"  # so many equally likely ones would be as hard to guess
    floor: float | None = 1.0
    rows: Callable[[Tensor, Batch], Tensor] = cross_entropy
    decide: None = None
    probabilities: None = None
    slope: None = None

    def reduce(self, rows: np.ndarray) -> float:
        return math.exp(np.mean(rows, dtype=np.float64))

    def constant_risk(self, targets: np.ndarray) -> float:
        return math.exp(at_each_position(entropy_of_shares)(targets))


class BitsPerCharacter(NamedTuple):
    """All the nats of a split, in bits, over all its characters: comparable between vocabularies.

    characters: (vocabulary,) how many characters each token begins.
    """

    characters: Tensor
    unit: str = "bits"
    floor: float | None = 0.0
    decide: None = None
    probabilities: None = None
    slope: None = None

    def rows(self, prediction: Tensor, batch: Batch) -> Tensor:
        """(batch, 2): nats and characters of each sequence."""
        nats = cross_entropy(prediction, batch) * batch.targets.shape[1]
        characters = self.characters.to(nats.device)[batch.targets].sum(1)
        return torch.stack([nats, characters.to(nats.dtype)], 1)

    def reduce(self, rows: np.ndarray) -> float:
        nats, characters = rows.sum(0, dtype=np.float64)
        return float(nats / characters / math.log(2))

    def constant_risk(self, targets: np.ndarray) -> None:
        return None


CROSS_ENTROPY = MeanRisk(
    "nats per token", 0.0, cross_entropy, at_each_position(entropy_of_shares), probabilities=softmax
)
ZERO_ONE = MeanRisk("share of tokens", 0.0, zero_one, at_each_position(least_errors))
PERPLEXITY = Perplexity()


def bits_per_character(characters: Sequence[int]) -> BitsPerCharacter:
    return BitsPerCharacter(torch.tensor(characters))
