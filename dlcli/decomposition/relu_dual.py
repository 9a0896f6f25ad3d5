"""The global minimum of a weight-decayed two-layer ReLU network on inputs of two numbers, enclosed for every width.

    J(U, a) = 1/2 |sum_j (X u_j)_+ a_j - y|^2 + b/2 sum_j (|u_j|^2 + a_j^2),    X (n, 2), rows may end in a constant 1

By rescaling each unit, min J is the convex problem min 1/2 |.|^2 + b |a|_1 over units with |u_j| = 1 once the width
is large enough (Pilanci & Ergen 2020, arXiv:2002.10553), and for every width at least its dual,

    max_v  1/2 |y|^2 - 1/2 |v - y|^2    subject to    |v'(Xu)_+| <= b for all |u| <= 1.

In the plane the n lines x_i u = 0 cut the circle into at most 2n arcs; on an arc the same examples are active and
v'(Xu)_+ is linear in u, so its extremes are known exactly. Any residual v, scaled until the worst arc allows it, is a
certificate. The primal side adds the worst units of each arc and solves for a, until the two ends meet.

A bias c of the output that decays with the rest, b/2 c^2, is minimized out: the best one leaves of each residual v the
square |Qv|^2 = v'(I - 11'/(n + b))v, so it is the same problem with Qy and Q(XU)_+ in place of y and (XU)_+.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import numpy as np
import scipy  # its submodules load where they are named first: optimize takes a tenth of a second

from dlcli.decomposition.optimum import Optimum

GAP = 1e-7  # relative to the upper end, at which the search stops
ROUNDS = 60
VIOLATED = 1e-9  # relative excess over b that adds a unit
USED = 1e-10  # least share of the largest output weight that keeps a unit


class Arcs(NamedTuple):
    """The circle cut where an example becomes active."""

    ends: np.ndarray  # (arcs, 2, 2) unit vectors at the two ends of each arc
    middles: np.ndarray  # (arcs, 2)
    active: np.ndarray  # (arcs, n) bool


def relu_minimum(inputs: np.ndarray, targets: np.ndarray, decay: float, output_bias: bool = False) -> Optimum:
    """Bounds of min J over two-layer ReLU networks, of any width for `low`; `high` is a network.

    inputs: (n, 2); for one input number with biases in the units, append a column of ones (the biases then decay too).
    output_bias: whether there is one, which decays. `weights` of the result: U (2, m) and a (m,), whose J under the
    best output bias is `high`; m is the width that reaches it. J is the regularized objective, a sum over examples: it
    splits the optimization term and does not bound min_F L_tr.
    """
    x, shrink = np.asarray(inputs, np.float64), without_bias
    if output_bias:
        shrink = partial(with_best_bias, decay=decay)
    y = shrink(np.asarray(targets, np.float64).reshape(-1))
    circle = arcs(x)
    units, outputs, residual = np.empty((2, 0)), np.empty(0), y
    low, high = 0.0, 0.5 * float(y @ y)
    weights: tuple[np.ndarray, ...] = (units, outputs)
    evidence = {}
    for rounds in range(1, ROUNDS + 1):
        evidence["rounds"] = rounds
        worst, candidates = extremes(circle, x, shrink(residual))
        low = max(low, certified(residual, y, worst, decay))
        if high - low <= GAP * high or worst <= decay * (1 + VIOLATED / 100):
            break
        strengths = np.abs(shrink(residual) @ np.maximum(0, x @ candidates))
        units = np.column_stack([units, candidates[:, strengths > decay * (1 + VIOLATED)]])
        outputs = lasso(shrink(np.maximum(0, x @ units)), y, decay)
        kept = np.abs(outputs) > USED * np.abs(outputs).max(initial=0)
        units, outputs = units[:, kept], outputs[kept]
        residual = y - shrink(np.maximum(0, x @ units)) @ outputs
        value = 0.5 * float(residual @ residual) + decay * float(np.abs(outputs).sum())
        if value < high:
            high = value
            weights = (units * np.sqrt(np.abs(outputs)), np.sign(outputs) * np.sqrt(np.abs(outputs)))
    method = "convex dual of the two-layer ReLU network, inputs of two numbers"
    return Optimum(min(low, high), high, method, weights, None, {**evidence, "width": weights[1].size})


def objective(x: np.ndarray, y: np.ndarray, decay: float, units: np.ndarray, outputs: np.ndarray) -> float:
    """J(U, a); units (2, m), outputs (m,)."""
    residual = np.maximum(0, x @ units) @ outputs - y
    return float(0.5 * residual @ residual + 0.5 * decay * (np.sum(units**2) + np.sum(outputs**2)))


def without_bias(v: np.ndarray) -> np.ndarray:
    return v


def with_best_bias(v: np.ndarray, decay: float) -> np.ndarray:
    """Q v, column by column: |Q v|^2 = min_c |v - c|^2 + decay c^2."""
    return v - (1 - math.sqrt(decay / (len(v) + decay))) * v.mean(0)


def arcs(x: np.ndarray) -> Arcs:
    normals = np.arctan2(x[:, 1], x[:, 0])[np.any(x != 0, axis=1)]
    angles = np.unique(np.concatenate([normals + np.pi / 2, normals - np.pi / 2]) % (2 * np.pi))
    following = np.r_[angles[1:], angles[0] + 2 * np.pi]
    middles = direction((angles + following) / 2)
    return Arcs(np.stack([direction(angles), direction(following)], axis=1), middles, middles @ x.T > 0)


def direction(angle: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def extremes(circle: Arcs, x: np.ndarray, v: np.ndarray) -> tuple[float, np.ndarray]:
    """max over |u| <= 1 of |v'(Xu)_+|, and the unit vectors (2, k) where an arc has its greatest value.

    On an arc the value is u . z with z the sum of its active examples weighted by v: greatest in size at an end, or at
    z/|z| or -z/|z| if that lies on the arc. |z| bounds it in any case, so an arc whose test rounding decides is safe.
    """
    z = circle.active @ (v[:, None] * x)  # (arcs, 2)
    length = np.linalg.norm(z, axis=1)
    peak = z / np.maximum(length, np.finfo(np.float64).tiny)[:, None]
    peak *= np.sign(np.sum(peak * circle.middles, axis=1))[:, None]
    first, last = circle.ends[:, 0], circle.ends[:, 1]
    inside = (cross(first, peak) >= -1e-12) & (cross(peak, last) >= -1e-12)
    at_ends = np.abs(np.einsum("aed,ad->ae", circle.ends, z))
    best_end = circle.ends[np.arange(len(z)), at_ends.argmax(1)]
    values = np.where(inside, length, at_ends.max(1))
    return float(values.max()), np.where(inside[:, None], peak, best_end).T


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def certified(v: np.ndarray, y: np.ndarray, worst: float, decay: float) -> float:
    """The dual value of v, scaled into the constraint by the factor that serves best."""
    square = float(v @ v)
    if square == 0:
        return 0.0
    limit = decay / worst * (1 - 1e-12) if worst > 0 else np.inf
    scaled = float(np.clip(float(v @ y) / square, -limit, limit)) * v
    return 0.5 * float(y @ y) - 0.5 * float((scaled - y) @ (scaled - y))


def lasso(features: np.ndarray, y: np.ndarray, decay: float) -> np.ndarray:
    """argmin_a 1/2 |features a - y|^2 + decay |a|_1 exactly, as the multipliers of the nearest v to y with
    |features' v| <= decay: a least-distance programme, which non-negative least squares solves (Lawson & Hanson 1974,
    chapter 23).
    """
    rows = np.hstack([-features, features]).T  # rows (v - y) >= limits
    limits = -decay - rows @ y
    system = np.vstack([rows.T, limits])
    multipliers, _ = scipy.optimize.nnls(system, np.r_[np.zeros(len(y)), 1.0], maxiter=50 * system.shape[1])
    scale = 1 - float(limits @ multipliers)
    positive, negative = np.split(multipliers / scale, 2)
    return positive - negative
