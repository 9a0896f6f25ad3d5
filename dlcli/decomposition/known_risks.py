"""Problems whose risks are known in closed form: what an estimator has to agree with."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.integrate import quad
from scipy.special import ndtr


class LinearTruth(NamedTuple):
    """Expectations over training sets for the least-squares fit of minimal norm."""

    approximation: float  # E min_F L_tr
    test: float  # E L_te; inf where p is within one of n
    bayes: float  # R*, the noise variance
    best_in_class: float  # R_F*

    @property
    def generalization(self) -> float:
        """The fit is the minimizer, so its optimization error is 0."""
        return self.test - self.approximation

    @property
    def estimation(self) -> float:
        return self.test - self.best_in_class


def linear_truth(n: int, used: np.ndarray, rest: float, noise: float) -> LinearTruth:
    """y = x . beta + N(0, noise) with x ~ N(0, I), fitted on its first p coordinates from n examples.

    used: (p,) the coefficients that the model sees; rest: |coefficients that it does not see|^2, which act as noise.
    noise: variance. Belkin, Hsu & Xu 2020 (arXiv:1903.07571); p <= n - 2 is ordinary least squares, p >= n + 2
    interpolates with minimal norm.
    """
    p, seen, v = len(used), float(np.sum(np.square(used))), noise + rest
    if p <= n:
        test = v * (1 + p / (n - p - 1)) if p <= n - 2 else math.inf
        return LinearTruth(v * (1 - p / n), test, noise, v)
    test = seen * (1 - n / p) + v * (1 + n / (p - n - 1)) if p >= n + 2 else math.inf
    return LinearTruth(0.0, test, noise, v)


def linear_risk(weights: np.ndarray, used: np.ndarray, rest: float, noise: float) -> float:
    """R(f) of x -> x . weights on that generator."""
    return float(np.sum(np.square(np.asarray(weights) - used))) + rest + noise


def gaussian_pair(distance: float) -> tuple[float, float]:
    """Bayes risk of two equally likely classes N(mu, I) and N(-mu, I) with |mu| = distance: 0-1 error, nats."""
    density = 1 / math.sqrt(2 * math.pi)

    def nats(t: float) -> float:  # along mu, given the class of +mu: the log-odds are 2 |mu| t
        return density * math.exp(-((t - distance) ** 2) / 2) * float(np.logaddexp(0, -2 * distance * t))

    value, _ = quad(nats, distance - 12, distance + 12, epsabs=1e-13, limit=200)
    return float(ndtr(-distance)), float(value)


def noisy_labels(noise: float, classes: int) -> tuple[float, float]:
    """Bayes risk where labels that the input determines were redrawn uniformly with probability `noise`: 0-1, nats."""
    wrong = noise / classes
    right = 1 - noise + wrong
    terms = [share * math.log(share) for share in [right, *[wrong] * (classes - 1)] if share > 0]
    return 1 - right, -math.fsum(terms)


def gradient_descent_excess(curvatures: np.ndarray, errors: np.ndarray, lr: float, steps: int) -> float:
    """L(w_t) - min L of gradient descent on 1/2 sum l_i e_i^2, in the basis of the curvatures l."""
    return 0.5 * float(np.sum(curvatures * (1 - lr * curvatures) ** (2 * steps) * np.square(errors)))


def separable_probability(n: int, dimension: int) -> float:
    """Chance that random labels of n points in general position are separated by a hyperplane through the origin.

    Cover 1965: 2^(1-n) sum over k < dimension of C(n-1, k).
    """
    return sum(math.comb(n - 1, k) for k in range(min(dimension, n))) / 2 ** (n - 1)
