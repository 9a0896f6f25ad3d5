from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from dlcli.datasets.bayes_risk import of_blurred_curves, of_polygon, panels, polygon


def points(means):
    """The 'curves' of classes that are single points."""
    return lambda labels, place: means[labels]


def test_panels_integrate_a_smooth_function():
    nodes, weights = panels(50)
    assert len(nodes) >= 50
    assert weights @ np.exp(nodes) == pytest.approx(np.e - 1, rel=1e-14)


@pytest.mark.parametrize("radius", [0.0, 0.3, 1.0, 3.0])
def test_two_gaussians_have_the_error_of_the_normal_tail(radius):
    assert of_polygon(2, radius).error == pytest.approx(norm.cdf(-radius), rel=1e-9)


def test_two_gaussians_at_distance_one_have_the_published_risks():
    assert of_polygon(2, 1.0)[:2] == pytest.approx((0.158655, 0.356316), abs=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_equal_means_leave_nothing_to_know(classes):
    assert of_polygon(classes, 0.0)[:2] == pytest.approx((1 - 1 / classes, np.log(classes)), rel=1e-12)


@pytest.mark.parametrize(("classes", "radius"), [(2, 1.0), (3, 1.0), (5, 4.0), (9, 2.0)])
def test_the_grid_agrees_with_the_formulas(classes, radius):
    grid = of_blurred_curves(points(polygon(classes, radius)), classes, 0.0, 1.0)
    exact = of_polygon(classes, radius)
    assert grid.error == pytest.approx(exact.error, abs=1e-5)
    assert grid.loss == pytest.approx(exact.loss, abs=1e-11)


def test_a_polygon_agrees_with_drawing_from_it():
    source, means = np.random.default_rng(0), polygon(5, 2.0)
    labels = source.integers(5, size=400_000)
    scores = (means[labels] + source.standard_normal((len(labels), 2))) @ means.T
    errors, losses = scores.argmax(1) != labels, logsumexp(scores, axis=1) - scores[np.arange(len(labels)), labels]
    risk = of_polygon(5, 2.0)
    for rows, expected in ((errors, risk.error), (losses, risk.loss)):
        assert abs(rows.mean() - expected) < 4 * rows.std() / np.sqrt(len(rows))


def test_far_classes_have_no_risk_and_no_warning():
    risk = of_blurred_curves(points(np.array([[0.0, 0.0], [1.0, 0.0]])), 2, 0.0, 0.02)
    assert 0 < risk.error < 1e-100 and 0 < risk.loss < 1e-100


def test_a_grid_that_would_take_long_is_not_started():
    for noise in (1e-4, 1e-300):
        assert of_blurred_curves(points(np.eye(2)), 2, 1.0, noise) is None
