from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from dlcli.datasets.synthetic_classification import gaussian_mixture, moons, spirals, two_moons
from dlcli.errors import UsageError

SIZES = {"examples": 200, "test_examples": 20_000}
MOONS = {**SIZES, "noise": 0.2}
SPIRALS = {**SIZES, "classes": 3, "turns": 0.75, "noise": 0.1}
MIXTURE = {**SIZES, "classes": 2, "features": 10, "radius": 1.0}
EVERY = [(two_moons, MOONS), (spirals, SPIRALS), (gaussian_mixture, MIXTURE)]


def nearest_curve(test, curves, noise):
    """Decisions and losses of the exact posterior, the density of each class averaged over points of its curve."""
    density = np.stack([np.exp(-(cdist(test.inputs, c) ** 2) / (2 * noise**2)).mean(1) for c in curves], 1)
    posterior = density[np.arange(len(density)), test.targets] / density.sum(1)
    return density.argmax(1) != test.targets, -np.log(posterior)


@pytest.mark.parametrize(("factory", "settings"), EVERY)
def test_draws_depend_on_the_seed_and_the_splits_are_independent(factory, settings):
    first, again, other = factory(0, **settings), factory(0, **settings), factory(1, **settings)
    assert np.array_equal(first.train.inputs, again.train.inputs)
    assert not np.array_equal(first.train.inputs, other.train.inputs)
    assert not np.array_equal(first.train.inputs, first.test.inputs[:200])
    longer = factory(0, **{**settings, "examples": 300})
    assert np.array_equal(first.test.inputs, longer.test.inputs)
    shares = np.bincount(first.test.targets) / 20_000
    assert shares == pytest.approx(np.full(len(first.classes), 1 / len(first.classes)), abs=0.02)


@pytest.mark.parametrize("noise", [0.15, 0.3])
def test_the_bayes_risk_of_moons_is_that_of_the_exact_posterior(noise):
    source = two_moons(0, **{**MOONS, "noise": noise})
    place = (np.arange(400) + 0.5) / 400
    curves = [moons(np.full(400, k), place) for k in (0, 1)]
    for rows, key in zip(nearest_curve(source.test, curves, noise), ("bayes_error", "bayes_loss"), strict=True):
        assert abs(rows.mean() - source.truth[key]) < 4 * rows.std() / np.sqrt(len(rows))


def test_the_bayes_risk_of_spirals_is_that_of_the_exact_posterior():
    source = spirals(0, **SPIRALS)
    place = (np.arange(400) + 0.5) / 400
    angles = 2 * np.pi * (0.75 * place + np.arange(3)[:, None] / 3)
    curves = (0.1 + 0.9 * place)[:, None] * np.stack([np.cos(angles), np.sin(angles)], -1)
    for rows, key in zip(nearest_curve(source.test, curves, 0.1), ("bayes_error", "bayes_loss"), strict=True):
        assert abs(rows.mean() - source.truth[key]) < 4 * rows.std() / np.sqrt(len(rows))


def test_without_noise_the_curves_do_not_meet():
    for source in (two_moons(0, **{**MOONS, "noise": 0.0}), spirals(0, **{**SPIRALS, "noise": 0.0})):
        assert (source.truth["bayes_error"], source.truth["bayes_loss"]) == (0, 0)
        first, second = (source.test.inputs[source.test.targets == k][:2000] for k in (0, 1))
        assert cdist(first, second).min() > 0.1


def test_a_risk_that_was_not_computed_is_noted():
    source = two_moons(0, **{**MOONS, "noise": 1e-4})
    assert source.truth == {} and "was not computed" in source.notes[0]


@pytest.mark.parametrize(("classes", "features"), [(2, 1), (2, 10), (5, 4)])
def test_means_stand_evenly_at_the_radius_and_the_noise_is_white(classes, features):
    source = gaussian_mixture(3, examples=2, test_examples=200_000, classes=classes, features=features, radius=2.0)
    inputs, labels = source.test
    means = np.stack([inputs[labels == k].mean(0) for k in range(classes)])
    assert np.linalg.norm(means, axis=1) == pytest.approx(np.full(classes, 2.0), abs=0.05)
    neighbour = 2 * 2.0 * np.sin(np.pi / classes)
    assert np.linalg.norm(means - np.roll(means, 1, 0), axis=1) == pytest.approx(np.full(classes, neighbour), abs=0.05)
    assert np.cov((inputs - means[labels]).T) == pytest.approx(np.eye(features).squeeze(), abs=0.02)


def test_the_best_linear_rule_for_two_gaussians_reaches_the_stated_error():
    source = gaussian_mixture(0, **MIXTURE)
    direction = source.test.inputs[source.test.targets == 0].mean(0)
    errors = (source.test.inputs @ direction < 0) != source.test.targets
    assert source.truth["bayes_error"] == pytest.approx(0.158655, abs=1e-6)
    assert abs(errors.mean() - 0.158655) < 4 * errors.std() / np.sqrt(20_000)


def test_more_than_two_means_need_a_plane():
    with pytest.raises(UsageError, match=r"dataset\.features=1 leaves no room for a circle of 3 means"):
        gaussian_mixture(0, **{**MIXTURE, "features": 1, "classes": 3})
