"""Exact minima of the squared error over linear maps, free, penalized or of limited rank.

Deep linear networks and linear autoencoders are not convex in their weights, but the maps that they compute are the
maps of limited rank, whose best member is known (Eckart & Young 1936; Izenman 1975; Baldi & Hornik 1989).

The squared error of an example is summed over its targets here. A loss that averages over t targets has the minima of
targets divided by sqrt(t).
"""

from __future__ import annotations

import numpy as np

from dlcli.decomposition.optimum import Optimum

EPS = float(np.finfo(np.float64).eps)


def least_squares(features: np.ndarray, targets: np.ndarray, bias: bool = True, rank: int | None = None) -> Optimum:
    """min over W (p, t) of rank at most `rank`, and b (t,), of mean_i |x_i W + b - y_i|^2.

    features: (n, p); targets: (n, t) or (n,). `rank`: width of the narrowest layer of a deep linear network, whose
    last layer alone needs the bias. `weights`: (W, b), or (W,) without bias.

    The lower end is |Y|^2 minus what projects onto the features and onto the best `rank` directions, by singular
    values; the upper end is the error of the weights, evaluated.
    """
    inputs, wanted = matrix(features), matrix(targets)
    centre, mean = (inputs.mean(0), wanted.mean(0)) if bias else (np.zeros(inputs.shape[1]), np.zeros(wanted.shape[1]))
    left, singular, right = np.linalg.svd(inputs - centre, full_matrices=False)
    kept = singular > singular[0] * max(inputs.shape) * EPS
    fitted = left[:, kept].T @ (wanted - mean)  # (p', t), the fit in the basis of the features
    outer, lost, inner = np.linalg.svd(fitted, full_matrices=False)
    limit = len(lost) if rank is None else rank
    outside = (wanted - mean) - left[:, kept] @ fitted
    n = len(wanted)
    low = float((np.sum(outside**2) + np.sum(lost[limit:] ** 2)) / n)
    maps = (right[kept].T / singular[kept]) @ ((outer[:, :limit] * lost[:limit]) @ inner[:limit])
    offset = mean - centre @ maps
    high = float(np.sum((inputs @ maps + offset - wanted) ** 2) / n)
    rounding = 8 * EPS * float(np.sum((wanted - mean) ** 2)) / n
    name = "least squares" if rank is None else f"reduced-rank regression, rank {rank}"
    weights = (maps, offset) if bias else (maps,)
    evidence = {"rank_of_features": int(kept.sum())}
    return Optimum(max(0.0, min(low - rounding, high)), high, name, weights, True, evidence)


def linear_autoencoder(inputs: np.ndarray, width: int) -> Optimum:
    """min over encoders and decoders, linear with biases and `width` units between, of mean_i |x_i - f(x_i)|^2: PCA."""
    found = least_squares(inputs, inputs, rank=width)
    return found._replace(method=f"principal components, {width} of them")


def ridge(features: np.ndarray, targets: np.ndarray, penalty: float, bias: bool = True) -> Optimum:
    """min over W, b of J = mean_i |x_i W + b - y_i|^2 + penalty |W|^2, the bias free; `evidence` has L_tr there.

    low = J(W) - |gradient|^2 / (4 penalty): J is 2 penalty strongly convex in W once the bias is minimized out.
    """
    inputs, wanted = matrix(features), matrix(targets)
    centre, mean = (inputs.mean(0), wanted.mean(0)) if bias else (np.zeros(inputs.shape[1]), np.zeros(wanted.shape[1]))
    centred, aim, n = inputs - centre, wanted - mean, len(wanted)
    left, singular, right = np.linalg.svd(centred, full_matrices=False)
    maps = right.T @ ((singular / (singular**2 + n * penalty))[:, None] * (left.T @ aim))
    risk = float(np.sum((centred @ maps - aim) ** 2) / n)
    gradient = 2 * centred.T @ (centred @ maps - aim) / n + 2 * penalty * maps
    high = risk + penalty * float(np.sum(maps**2))
    low = high - float(np.sum(gradient**2)) / (4 * penalty) - 8 * EPS * high
    weights = (maps, mean - centre @ maps) if bias else (maps,)
    return Optimum(low, high, f"ridge regression, penalty {penalty:g}", weights, True, {"train_risk": risk})


def bottleneck_floor(targets: np.ndarray, width: int, bias: bool = True) -> float:
    """What the squared error costs every function that ends in a linear layer with `width` inputs, whatever is before.

    Its predictions, less the bias, have rank at most `width`: the tail of the singular values of the targets remains.
    """
    wanted = matrix(targets)
    singular = np.linalg.svd(wanted - wanted.mean(0) * bias, compute_uv=False)
    return float(np.sum(singular[width:] ** 2) / len(wanted))


def matrix(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, np.float64).reshape(len(array), -1)
