"""Regressions whose noise is known: no model can have a smaller risk than its variance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dlcli.protocols import Examples, Source
from dlcli.registry import register
from dlcli.schema import Count, NonNegative, Positive


@register("dataset", "noisy_sine")
def noisy_sine(seed: int, *, examples: Count, test_examples: Count, periods: Positive, noise: NonNegative) -> Source:
    """A sine of one input on [-1, 1] with Gaussian noise; the Bayes risk is the variance of the noise."""

    def inputs(source: np.random.Generator, count: int) -> np.ndarray:
        return source.uniform(-1, 1, (count, 1))

    def function(x: np.ndarray) -> np.ndarray:
        return np.sin(np.pi * periods * x)

    return with_noise(seed, inputs, function, examples, test_examples, noise)


@register("dataset", "linear_regression")
def linear_regression(
    seed: int, *, examples: Count, test_examples: Count, features: Count, decay: NonNegative, noise: NonNegative
) -> Source:
    """A linear function of Gaussian inputs with a chosen spectrum; the Bayes risk is the variance of the noise.

    The covariance has eigenvalues proportional to i^-decay with mean 1, in a random basis, and the true weights are
    a random direction, scaled so that the signal has variance 1.
    """
    problem = np.random.default_rng([seed, 0])
    spectrum = np.arange(1, features + 1) ** -float(decay)
    spectrum /= spectrum.mean()
    basis, _ = np.linalg.qr(problem.standard_normal((features, features)))
    root = basis * np.sqrt(spectrum)  # (features, features); root @ root.T is the covariance
    weights = problem.standard_normal((features, 1))
    weights /= np.linalg.norm(root.T @ weights)

    def inputs(source: np.random.Generator, count: int) -> np.ndarray:
        return source.standard_normal((count, features)) @ root.T

    return with_noise(seed, inputs, lambda x: x @ weights, examples, test_examples, noise)


def with_noise(
    seed: int,
    inputs: Callable[[np.random.Generator, int], np.ndarray],
    function: Callable[[np.ndarray], np.ndarray],
    examples: int,
    test_examples: int,
    noise: float,
) -> Source:
    """Inputs, and the function of them (n, targets) plus Gaussian noise. Train and test are independent draws."""

    def draw(purpose: int, count: int) -> Examples:
        source = np.random.default_rng([seed, purpose])
        x = inputs(source, count)
        y = function(x)
        return Examples(x, y + noise * source.standard_normal(y.shape))

    truth: dict[str, Any] = {"bayes_loss": noise**2, "method": "variance of the noise"}
    return Source(draw(1, examples), draw(2, test_examples), truth=truth, origin=f"generated, dataset.seed={seed}")
