"""Proofs that a class contains functions that fit the training set exactly: constructions, never a count of parameters.

Positive margins of a trained network are `certificates.score_scaling`; margins that its features allow are
`softmax_regression` with `attained` False.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dlcli.protocols import Bound

DIRECTIONS = 64  # random projections tried for a memorizer; the one that keeps the inputs furthest apart serves


def full_rank(features: np.ndarray, targets: np.ndarray, bias: bool = True) -> Bound | None:
    """Features of rank n: a free last layer fits every target exactly, so the least squared error is 0.

    features: (n, width) of one member in float64. None unless width + bias >= n, the smallest singular value is
    above n eps times the largest, and the solved weights do leave a residual at rounding.
    """
    design = np.asarray(features, np.float64).reshape(len(features), -1)
    design = np.column_stack([design, np.ones(len(design))]) if bias else design
    wanted = np.asarray(targets, np.float64).reshape(len(targets), -1)
    n = len(design)
    if design.shape[1] < n:
        return None
    singular = np.linalg.svd(design, compute_uv=False)
    eps = float(np.finfo(np.float64).eps)
    if singular[-1] <= n * eps * singular[0]:
        return None
    residual = float(np.mean(np.sum((design @ np.linalg.lstsq(design, wanted)[0] - wanted) ** 2, axis=1)))
    if residual > (n * eps * singular[0] / singular[-1]) ** 2 * max(1.0, float(np.mean(np.sum(wanted**2, axis=1)))):
        return None
    evidence = {"least_singular_value": float(singular[-1]), "residual": residual}
    return Bound(
        "upper", 0.0, "certified", "features of full rank: the last layer fits exactly", True, evidence=evidence
    )


class Memorizer(NamedTuple):
    """x -> relu(x . direction - thresholds) @ outputs: a two-layer ReLU network that returns what it was given."""

    direction: np.ndarray  # (p,), the input weights of every unit
    thresholds: np.ndarray  # (units,), minus the biases of the units
    outputs: np.ndarray  # (units, t)

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        heights = np.asarray(inputs, np.float64).reshape(len(inputs), -1) @ self.direction
        return np.maximum(0, heights[:, None] - self.thresholds) @ self.outputs


def memorizer(inputs: np.ndarray, targets: np.ndarray, seed: int = 0) -> Memorizer:
    """One unit per distinct input: a random projection sorts them, and slopes change from one to the next.

    Zhang et al. 2017 (arXiv:1611.03530), theorem 1. inputs: (n, ...); targets: (n, t) or (n,). Identical inputs get
    the mean of their targets, so the squared error is the label-conflict floor. Weights grow as the inputs crowd.
    """
    flat = np.asarray(inputs, np.float64).reshape(len(inputs), -1)
    wanted = np.asarray(targets, np.float64).reshape(len(targets), -1)
    points, group, counts = np.unique(flat, axis=0, return_inverse=True, return_counts=True)
    means = np.zeros((len(points), wanted.shape[1]))
    np.add.at(means, group.reshape(-1), wanted)
    means /= counts[:, None]
    directions = np.random.default_rng(seed).normal(size=(flat.shape[1], DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    heights = np.sort(points @ directions, axis=0)
    gaps = np.diff(heights, axis=0).min(0) if len(points) > 1 else np.ones(DIRECTIONS)
    direction = directions[:, gaps.argmax()]
    height = points @ direction
    order = np.argsort(height)
    height, means = height[order], means[order]
    thresholds = np.r_[height[0] - 1, height[:-1]]
    slopes = np.diff(means, axis=0, prepend=0.0) / (height - thresholds)[:, None]
    return Memorizer(direction, thresholds, np.diff(slopes, axis=0, prepend=0.0))


def memorization(inputs: np.ndarray, targets: np.ndarray, width: int) -> Bound | None:
    """Upper bound of the squared error (summed over targets) for two-layer ReLU networks of this width with free
    biases: the memorizer, evaluated. None where the distinct inputs outnumber the units.
    """
    found = memorizer(inputs, targets)
    if len(found.thresholds) > width:
        return None
    errors = found.predict(inputs) - np.asarray(targets, np.float64).reshape(len(targets), -1)
    evidence = {"units": len(found.thresholds), "greatest_weight": float(np.abs(found.outputs).max())}
    value = float(np.mean(np.sum(errors**2, axis=1)))
    return Bound("upper", value, "certified", "a network that memorizes, constructed", True, evidence=evidence)
