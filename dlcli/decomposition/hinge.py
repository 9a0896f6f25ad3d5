"""The exact minimum of hinge losses over all linear maps of given features: a linear programme with its dual.

Every hinge loss here is, for each example, the greatest of 0 and of several margins that are affine in the weights:

    min_w  mean_i max(0, max_k 1 - a_ik . w)  =  max_q  mean_i sum_k q_ik     over q >= 0 with sum_k q_ik <= 1,
                                                                                 sum_ik q_ik a_ik = 0.

One margin per example is the hinge loss of a single score; one per wrong class, with a the difference of two scores, is
that of Crammer & Singer (2001). A minimum is always attained. The solver (HiGHS, dual simplex) gives both ends, and
neither is trusted: the upper one is evaluated, and the lower one is what its multipliers prove after they are cut to
their bounds. The residual r = mean sum q a that rounding leaves costs |r| |w|, so the bound that is printed holds for
all w with |w| <= `radius`, a million times the norm of the candidate.
"""

from __future__ import annotations

import math

import numpy as np
import scipy  # its submodules load where they are named first: optimize takes a tenth of a second

from dlcli.decomposition.optimum import Optimum
from dlcli.decomposition.softmax_regression import RADIUS, orthonormal, with_bias

EPS = float(np.finfo(np.float64).eps)


def hinge_regression(features: np.ndarray, positive: np.ndarray, seconds: float = math.inf) -> Optimum:
    """min over w (p,), b of mean_i max(0, 1 - s_i (x_i w + b)), with s_i = 1 where `positive` (n,) and else -1.

    `weights` of the result: (w (p, 1), b (1,)). After `seconds` the search ends: the ends hold, further apart.
    """
    basis, back = orthonormal(with_bias(features))
    margins = scipy.sparse.csr_array(basis * np.where(positive, 1.0, -1.0)[:, None])
    return solved(margins, np.arange(len(basis)), back, 1, seconds, "hinge loss as a linear programme")


def crammer_singer(features: np.ndarray, labels: np.ndarray, classes: int, seconds: float = math.inf) -> Optimum:
    """min over W (p, C), b (C,) of mean_i max(0, 1 + best wrong score - right score). `weights`: (W, b)."""
    basis, back = orthonormal(with_bias(features))
    n, rank = basis.shape
    example = np.repeat(np.arange(n), classes - 1)
    rival = np.array([[c for c in range(classes) if c != label] for label in labels]).ravel()
    right = labels[example]
    row = np.repeat(np.arange(len(example)), rank)
    place = np.arange(rank)
    columns = [(np.asarray(which)[:, None] * rank + place).ravel() for which in (right, rival)]
    values = basis[example].ravel()
    entries = np.r_[values, -values], (np.r_[row, row], np.r_[columns[0], columns[1]])
    margins = scipy.sparse.csr_array(entries, shape=(len(example), classes * rank))
    return solved(margins, example, back, classes, seconds, "hinge loss of several classes as a linear programme")


def solved(
    margins: scipy.sparse.csr_array, example: np.ndarray, back: np.ndarray, outputs: int, seconds: float, method: str
) -> Optimum:
    """margins: (m, outputs * rank), the a_ik in rows; example: (m,) the i of each. back: (p + 1, rank)."""
    m, size = margins.shape
    n = int(example[-1]) + 1
    owner = scipy.sparse.csr_array((np.ones(m), (np.arange(m), example)), shape=(m, n))
    found = scipy.optimize.linprog(
        np.r_[np.zeros(size), np.full(n, 1 / n)],
        A_ub=-scipy.sparse.hstack([margins, owner]),
        b_ub=-np.ones(m),
        bounds=[(None, None)] * size + [(0, None)] * n,
        method="highs-ds",
        options={"time_limit": seconds} if math.isfinite(seconds) else {},
    )
    point = np.zeros(size) if found.x is None else found.x[:size]
    losses = np.maximum(0, np.maximum.reduceat(1 - margins @ point, np.searchsorted(example, np.arange(n))))
    high, low, evidence = float(losses.mean()), 0.0, {}
    if found.x is not None and found.ineqlin is not None:
        shares = np.clip(-n * found.ineqlin.marginals, 0, 1)
        shares /= np.maximum(1, owner.T @ shares)[example]
        residual = float(np.linalg.norm(margins.T @ shares)) / n + EPS / 10
        radius = RADIUS * (1 + float(np.linalg.norm(point)))
        low, evidence = max(0.0, float(shares.sum()) / n - residual * radius), {"residual": residual, "radius": radius}
    weights = back @ point.reshape(outputs, -1).T
    return Optimum(min(low, high), high, method, (weights[:-1], weights[-1]), True, evidence)
