"""Distances between a drawn and a given sample, for models that have no likelihood: how alike, how good, how varied.

A row holds one drawn and one given example, side by side as numbers of a feature space; the pairing has no meaning.
Compare a value only with values of as many examples: the Fréchet distance falls as the samples grow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial.distance import cdist, pdist
from torch import Tensor

from dlcli.metrics.mean import widen
from dlcli.protocols import Batch

DRAWN = 2500  # examples that are drawn, and as many given ones: distances of samples cost the square of that
NEIGHBOURS = 3  # whose distance is the radius about an example; that of the source
BANDWIDTH_EXAMPLES = 1000  # given examples whose distances give the median; the median of 500,000 is sharp enough
Features = Callable[[Tensor], Tensor]  # (batch, *shape) -> (batch, features)


class TwoSamples(NamedTuple):
    """A distance or score of two samples in `features`; satisfies `protocols.Metric`."""

    unit: str
    floor: float | None
    compare: Callable[[np.ndarray, np.ndarray], float]  # (drawn (n, k), given (n, k)) -> number
    features: Features
    decide: None = None
    probabilities: None = None
    slope: None = None

    def rows(self, prediction: Tensor, batch: Batch) -> Tensor:
        """prediction: (batch, *shape), drawn examples. -> (batch, 2 * features)."""
        return torch.cat([widen(self.features(side)) for side in (prediction, batch.inputs)], 1)

    def reduce(self, rows: np.ndarray) -> float:
        return self.compare(*np.split(rows, 2, axis=1))

    def constant_risk(self, targets: np.ndarray) -> float | None:
        return None


def squared_discrepancy(drawn: np.ndarray, given: np.ndarray) -> float:
    """Maximum mean discrepancy, squared, without bias: below zero now and then where the two are alike.

    Kernel exp(-|x - y|^2 / (2 s^2)), s the median distance between given examples (so every sample that is held
    against the same examples is measured alike). Source: Gretton et al. 2012 (JMLR 13), lemma 6.
    """
    scale = np.median(pdist(given[:BANDWIDTH_EXAMPLES])) or 1.0

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.exp(cdist(x, y, "sqeuclidean") / (-2 * scale**2))

    def within(x: np.ndarray) -> float:
        return (kernel(x, x).sum() - len(x)) / (len(x) * (len(x) - 1))

    return float(within(drawn) + within(given) - 2 * kernel(drawn, given).mean())


def frechet_distance(drawn: np.ndarray, given: np.ndarray) -> float:
    """|mean difference|^2 + trace(C + D - 2 (C D)^(1/2)): of the normal distributions with these moments.

    Source: Dowson & Landau 1982; as a score of generators Heusel et al. 2017, arXiv:1706.08500.
    """
    first, second = (np.atleast_2d(np.cov(sample, rowvar=False)) for sample in (drawn, given))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    # The eigenvalues of C D are those of the symmetric C^(1/2) D C^(1/2), which cannot be complex.
    crossed = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    shift = np.square(drawn.mean(0) - given.mean(0)).sum()
    return float(shift + np.trace(first) + np.trace(second) - 2 * crossed)


def precision(drawn: np.ndarray, given: np.ndarray) -> float:
    """Share of the drawn examples that lie among the given ones: within reach of at least one.

    The reach of an example is the distance of its third nearest neighbour in its own sample.
    Source: Kynkäänniemi et al. 2019, arXiv:1904.06991, equations 1 and 2.
    """
    return float((cdist(drawn, given) <= reach(given)).any(1).mean())


def recall(drawn: np.ndarray, given: np.ndarray) -> float:
    """Share of the given examples that lie among the drawn ones: what of the variety is there."""
    return precision(given, drawn)


def reach(sample: np.ndarray) -> np.ndarray:
    """(n,) distance of each example to its third nearest neighbour, or to the farthest one of fewer."""
    distances = cdist(sample, sample)
    rank = min(NEIGHBOURS, len(sample) - 1)
    return np.partition(distances, rank, axis=1)[:, rank]  # rank 0 is the example itself


def discrepancy_metric(features: Features) -> TwoSamples:
    return TwoSamples("squared discrepancy", None, squared_discrepancy, features)


def feature_metrics(features: Features) -> dict[str, TwoSamples]:
    """What is measured in the features of a classifier."""
    return {
        "frechet_distance": TwoSamples("squared features", 0.0, frechet_distance, features),
        "precision": TwoSamples("fraction", 0.0, precision, features),
        "recall": TwoSamples("fraction", 0.0, recall, features),
    }
