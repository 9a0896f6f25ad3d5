"""Classes that are drawn from known densities, so that the error of the best possible classifier is known."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from dlcli.datasets.bayes_risk import Curve, of_blurred_curves, of_polygon, polygon
from dlcli.errors import UsageError
from dlcli.protocols import Examples, Source
from dlcli.registry import register
from dlcli.schema import Count, NonNegative, Range

START = 0.1  # radius at which the arms of the spirals begin


@register("dataset", "two_moons")
def two_moons(seed: int, *, examples: Count, test_examples: Count, noise: NonNegative) -> Source:
    """Two interleaved half circles in the plane, blurred by noise; the Bayes risk is known."""
    return blurred_curves(seed, moons, ("upper", "lower"), np.pi, examples, test_examples, noise)


@register("dataset", "spirals")
def spirals(
    seed: int,
    *,
    examples: Count,
    test_examples: Count,
    classes: Annotated[int, Range(2, 10)],
    turns: Annotated[float, Range(0, 5, open_low=True)],
    noise: NonNegative,
) -> Source:
    """Interleaved spiral arms in the plane, one per class, blurred by noise; the Bayes risk is known."""

    def curve(labels: np.ndarray, place: np.ndarray) -> np.ndarray:
        angle = 2 * np.pi * (turns * place + labels / classes)
        return (START + (1 - START) * place)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)

    names = tuple(f"arm {k}" for k in range(classes))
    return blurred_curves(seed, curve, names, 2 * np.pi * turns + 1, examples, test_examples, noise)


@register("dataset", "gaussian_mixture")
def gaussian_mixture(
    seed: int,
    *,
    examples: Count,
    test_examples: Count,
    classes: Annotated[int, Range(2, 100)],
    features: Count,
    radius: Annotated[float, Range(0, 100)],
) -> Source:
    """Gaussian classes of unit variance, means evenly on a circle in a random plane; the Bayes risk is known.

    Two classes are N(+mu, I) and N(-mu, I) with |mu| = radius: error Phi(-radius).
    """
    if features < 2 < classes:
        raise UsageError(
            f"dataset.features=1 leaves no room for a circle of {classes} means", "use dataset.features=2 or more"
        )
    plane, _ = np.linalg.qr(generator(seed, 0).standard_normal((features, min(features, 2))))
    means = polygon(classes, radius)[:, : plane.shape[1]] @ plane.T  # (classes, features)

    def draw(purpose: int, count: int) -> Examples:
        source = generator(seed, purpose)
        labels = source.integers(classes, size=count)
        return Examples(means[labels] + source.standard_normal((count, features)), labels)

    return Source(
        draw(1, examples),
        draw(2, test_examples),
        classes=tuple(map(str, range(classes))),
        truth=of_polygon(classes, radius).truth("closed form of the error, quadrature of the loss"),
        origin=f"generated, dataset.seed={seed}",
    )


def blurred_curves(
    seed: int, curve: Curve, classes: tuple[str, ...], length: float, examples: int, test_examples: int, noise: float
) -> Source:
    """Classes with equal shares, positions uniform along [0, 1]. `length` bounds that of each curve."""

    def draw(purpose: int, count: int) -> Examples:
        source = generator(seed, purpose)
        labels = source.integers(len(classes), size=count)
        points = curve(labels, source.random(count))
        return Examples(points + noise * source.standard_normal((count, 2)), labels)

    truth: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    if noise == 0:
        truth = {"bayes_error": 0.0, "bayes_loss": 0.0, "method": "the curves do not meet"}
    elif (risk := of_blurred_curves(curve, len(classes), length, noise)) is not None:
        truth = risk.truth("quadrature")
    else:
        notes = ("the Bayes risk was not computed: it would take long for so little noise",)
    return Source(
        draw(1, examples),
        draw(2, test_examples),
        classes=classes,
        truth=truth,
        origin=f"generated, dataset.seed={seed}",
        notes=notes,
    )


def moons(labels: np.ndarray, place: np.ndarray) -> np.ndarray:
    """A half circle about the origin, and one about (1, 1/2) that opens upwards."""
    angle = np.pi * place
    upper = np.stack([np.cos(angle), np.sin(angle)], 1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], 1)
    return np.where(labels[:, None] == 0, upper, lower)


def generator(seed: int, purpose: int) -> np.random.Generator:
    """Independent draws for the problem (0), the training pool (1) and the test set (2)."""
    return np.random.default_rng([seed, purpose])
