"""The exact minimum of cross-entropy over all linear maps of given features: logistic and softmax regression, and the
last layer of any network whose features are held fixed.

Newton steps by conjugate gradients minimize; the lower end does not trust them. Writing log-sum-exp as a maximum over
distributions gives, for X (n, p) features and T (n, C) target distributions,

    L(W) = mean_i [logsumexp(x_i W) - t_i . x_i W] = mean_i max_q [H(q) + (q - t_i) . x_i W],

so any Q with distributions as rows and X'(Q - T) = 0 proves L(W) >= mean_i H(q_i) for every W: the loss is not
strongly convex, and this needs no such thing. At a minimum Q is the predicted P. Near one, one Newton step D (that is
Hessian D = gradient) makes Q = P - P * (XD - <P, XD>) feasible to second order, keeps the rows' sums, and changes each
probability relatively, so it stays positive; a few repetitions reach rounding. Where some classes are separable and
the infimum lies at infinity, their probabilities have to be 0 exactly in Q: the corrections are repeated with small
probabilities set to 0 first (`FACES`), and the greatest bound counts.

What is left is r = X'(Q - T)/n, about 1e-16 in size, and L(W) >= mean H - |r| |W|. The bound printed holds for all W
with |W| <= `radius`, a million times the norm of the candidate in columns of mean square 1; by convexity, to undercut
it by k times its gap to the upper end takes a norm above k times that radius.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy  # `special` takes a fifth of a second to load, and does where it is named first

from dlcli.decomposition.optimum import Optimum

GAP = 2e-9  # relative to 1 + |value|, at which the solver stops
NEARLY = 1e-5  # Newton decrement, relative to 1 + |value|, below which a lower bound is worth computing
TINY = 1e-300
NEWTON_STEPS, CG_STEPS, CORRECTIONS = 100, 400, 4
DENSE = 1000  # unknowns up to which the Hessian is formed
NULL = 1e-14  # eigenvalues below, relative to the greatest, are taken for 0
NEGATIVE = 1e-9  # probability below 0 that is rounded up; the residual is measured after that
EPS = float(np.finfo(np.float64).eps)
STRICT = 1e-9  # least margin, relative to the largest score, that counts as separation
RADIUS = 1e6  # within which the lower end holds, in units of 1 + |W| of the candidate
FACES = (0.0, 1e-12, 1e-9, 1e-7, 1e-5)  # probabilities below are set to 0 in the dual point


Solver = Callable[[np.ndarray], np.ndarray]


class Problem(NamedTuple):
    basis: np.ndarray  # (n, rank) orthogonal columns of mean square 1 that span the features
    targets: np.ndarray  # (n, C), rows are distributions


def softmax_regression(
    features: np.ndarray, targets: np.ndarray, bias: bool = True, classes: int = 0, seconds: float = math.inf
) -> Optimum:
    """min over W (p, C) and b (C,) of the mean cross-entropy of softmax(XW + b), in nats.

    features: (n, p). targets: (n,) integer classes, or (n, C) distributions. `weights` of the result: (W, b), of a
    separating map where there is one: then the infimum is 0 and not attained. Two classes are logistic regression.
    After `seconds` of this process (a busy machine takes nothing from them) the steps end: the two ends hold, further
    apart.
    """
    design = with_bias(features) if bias else np.asarray(features, np.float64)
    hard = np.ndim(targets) == 1
    labels = np.asarray(targets) if hard else None
    shares = np.eye(classes or int(labels.max()) + 1)[labels] if hard else np.asarray(targets, np.float64)
    basis, back = orthonormal(design)
    problem, point, low = Problem(basis, shares), np.zeros((basis.shape[1], shares.shape[1])), 0.0
    evidence: dict[str, float] = {}
    end = time.process_time() + seconds
    for steps in range(1, NEWTON_STEPS + 1):
        evidence["newton_steps"] = steps
        high, probabilities, scores = loss(problem, point)
        if hard and separates(scores, labels):
            method = "softmax regression: the features are linearly separable"
            return Optimum(0.0, 0.0, method, split(back @ point, bias), False, evidence)
        gradient = basis.T @ (probabilities - shares) / len(shares)
        size = float(np.linalg.norm(gradient))
        step = newton(basis, probabilities, min(1e-2, size))(gradient)
        decrease = float(np.sum(gradient * step))
        if decrease < NEARLY * (1 + high):
            for below in FACES:
                bound, proof = dual(problem, probabilities, 1 + float(np.linalg.norm(point)), below)
                if bound > low:
                    low, evidence = bound, evidence | proof
                if high - low <= GAP * (1 + high) or time.process_time() > end:
                    break
        if high - low <= GAP * (1 + high) or time.process_time() > end:
            break
        moved = line_search(problem, point, step, high, decrease)
        if moved is None:
            break
        point = moved
    weights = split(back @ point, bias)
    high = float(np.mean(cross_entropies(design @ (back @ point), shares)))
    method = "softmax regression, Newton with a dual certificate"
    return Optimum(min(low, high), high, method, weights, None, evidence)


def with_bias(features: np.ndarray) -> np.ndarray:
    return np.column_stack([np.asarray(features, np.float64).reshape(len(features), -1), np.ones(len(features))])


def split(weights: np.ndarray, bias: bool) -> tuple[np.ndarray, ...]:
    return (weights[:-1], weights[-1]) if bias else (weights,)


def orthonormal(design: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """-> basis (n, rank) with basis'basis = n I and the same span, and `back` with basis = design @ back."""
    left, singular, right = np.linalg.svd(design, full_matrices=False)
    kept = singular > singular[0] * max(design.shape) * EPS
    scale = np.sqrt(len(design))
    return left[:, kept] * scale, right[kept].T / singular[kept] * scale


def cross_entropies(scores: np.ndarray, shares: np.ndarray) -> np.ndarray:
    return scipy.special.logsumexp(scores, axis=1) - np.sum(shares * scores, axis=1)


def loss(problem: Problem, point: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    scores = problem.basis @ point
    normal = scipy.special.logsumexp(scores, axis=1)
    value = float(np.mean(normal - np.sum(problem.targets * scores, axis=1)))
    return value, np.exp(scores - normal[:, None]), scores


def separates(scores: np.ndarray, labels: np.ndarray) -> bool:
    """Every example scores its class strictly highest."""
    rows = np.arange(len(labels))
    rivals = scores.copy()
    rivals[rows, labels] = -np.inf
    return float(np.min(scores[rows, labels] - rivals.max(1))) > STRICT * float(np.abs(scores).max())


def tilt(probabilities: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """First-order change of softmax under a change of scores; the rows sum to 0."""
    return probabilities * (scores - np.sum(probabilities * scores, axis=1, keepdims=True))


def newton(basis: np.ndarray, probabilities: np.ndarray, tolerance: float) -> Solver:
    """Hessian^-1 at some predictions, as a function of the right-hand side (rank, C).

    The Hessian is singular, at least by the vectors that are added to all classes alike; right-hand sides have no part
    there but rounding. Few unknowns: by eigenvalues. Many: conjugate gradients until the residual is `tolerance` times
    the right-hand side, preconditioned by the inverses of the diagonal blocks.
    """
    (n, rank), classes = basis.shape, probabilities.shape[1]
    if rank * classes <= DENSE:
        values, vectors = np.linalg.eigh(hessian(basis, probabilities))
        kept = values > NULL * values[-1]
        inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
        return lambda right: (inverse @ right.T.ravel()).reshape(classes, rank).T
    blocks = np.stack([(basis.T * (p * (1 - p))) @ basis / n for p in probabilities.T])
    traces = np.trace(blocks, axis1=1, axis2=2)[:, None, None] / rank
    inverses = np.linalg.inv(blocks + (1e-8 * traces + TINY) * np.eye(rank))

    def conjugate_gradients(right: np.ndarray) -> np.ndarray:
        solution, residual = np.zeros_like(right), right - right.mean(1, keepdims=True)
        goal = max(tolerance * float(np.linalg.norm(right)), EPS / 10)
        direction, product = np.zeros_like(right), np.inf
        for _ in range(CG_STEPS):
            size = float(np.linalg.norm(residual))
            conditioned = np.einsum("cpq,qc->pc", inverses, residual)
            product, before = float(np.sum(residual * conditioned)), product
            direction = conditioned + product / before * direction
            image = basis.T @ tilt(probabilities, basis @ direction) / n
            bend = float(np.sum(direction * image))
            if size <= goal or not 0 < bend < np.inf:  # done, or rounding
                break
            residual = residual - product / bend * image
            solution = solution + product / bend * direction
        return solution

    return conjugate_gradients


def hessian(basis: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(C * rank, C * rank), classes first."""
    (n, rank), classes = basis.shape, probabilities.shape[1]
    found = np.empty((classes, rank, classes, rank))
    for a in range(classes):
        for b in range(a + 1):
            weights = probabilities[:, a] * ((a == b) - probabilities[:, b])
            found[a, :, b, :] = found[b, :, a, :] = (basis.T * weights) @ basis / n
    return found.reshape(classes * rank, classes * rank)


def line_search(problem: Problem, point: np.ndarray, step: np.ndarray, high: float, slope: float) -> np.ndarray | None:
    """The first of point - step, point - step/2, ... that lowers the loss enough; None if rounding hides every one."""
    size = 1.0
    while size > 1e-8:
        if loss(problem, point - size * step)[0] < high - 1e-4 * size * slope:
            return point - size * step
        size /= 2
    return None


def dual(problem: Problem, probabilities: np.ndarray, scale: float, below: float) -> tuple[float, dict[str, float]]:
    """The lower bound that the corrected predictions prove, and its evidence; -inf where they cannot be corrected.

    below: probabilities under it are set to 0 before.
    """
    faced = np.where(probabilities < below, 0.0, probabilities)
    faced = faced / faced.sum(1, keepdims=True)
    solve, corrected = newton(problem.basis, faced, 1e-10), faced
    for _ in range(CORRECTIONS):
        residual = problem.basis.T @ (corrected - problem.targets) / len(corrected)
        corrected = corrected - tilt(faced, problem.basis @ solve(residual))
    if not corrected.min() > -NEGATIVE:
        return -np.inf, {}
    corrected = np.maximum(corrected, 0)
    corrected = corrected / corrected.sum(1, keepdims=True)
    residual = problem.basis.T @ (corrected - problem.targets) / len(corrected)
    size = float(np.linalg.norm(residual)) + EPS / 10  # plus the rounding of the residual itself
    radius = RADIUS * scale
    return float(np.mean(scipy.special.entr(corrected).sum(1))) - size * radius, {"residual": size, "radius": radius}
