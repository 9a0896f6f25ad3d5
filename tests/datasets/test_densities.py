import math

import numpy as np
import pytest

from dlcli.datasets.densities import checkerboard, gaussian_grid, gaussian_ring, mixture_entropy, pinwheel

SIZES = {"examples": 500, "test_examples": 20_000}
FACTORIES = {
    gaussian_grid: {"side": 5, "spacing": 2.0, "deviation": 0.05},
    gaussian_ring: {"modes": 8, "radius": 1.0, "deviation": 0.01},
    pinwheel: {"arms": 5, "radial": 0.3, "tangential": 0.1, "rate": 0.25},
    checkerboard: {"side": 4},
}


@pytest.mark.parametrize(("factory", "settings"), FACTORIES.items())
def test_draws_depend_on_the_seed_and_the_splits_are_independent(factory, settings):
    first, again, other = (factory(seed, **SIZES, **settings) for seed in (0, 0, 1))
    assert np.array_equal(first.train.inputs, again.train.inputs)
    assert not np.array_equal(first.train.inputs, other.train.inputs)
    assert not np.array_equal(first.train.inputs, first.test.inputs[:500])
    shares = np.bincount(first.test.targets) / 20_000
    assert shares == pytest.approx(np.full(len(first.classes), 1 / len(first.classes)), abs=0.01)


def test_the_entropy_of_the_grid_is_the_published_one():
    assert gaussian_grid(0, **SIZES, **FACTORIES[gaussian_grid]).truth["entropy"] == pytest.approx(0.06529, abs=5e-6)


@pytest.mark.parametrize("distance", [0.0, 1.0, 3.0, 40.0])
def test_the_entropy_of_two_gaussians_is_the_mean_surprise_of_their_draws(distance):
    modes, source = np.array([[0, 0], [distance, 0]]), np.random.default_rng(0)
    points = modes[source.integers(2, size=200_000)] + source.standard_normal((200_000, 2))
    squares = ((points[:, None] - modes) ** 2).sum(2)
    surprise = -np.log(np.exp(-squares / 2).mean(1) / (2 * np.pi))
    error = surprise.std() / math.sqrt(200_000)
    assert mixture_entropy(modes, 1.0) == pytest.approx(surprise.mean(), abs=4 * error)


def test_the_true_points_of_the_grid_lie_within_three_deviations_as_they_should():
    source = gaussian_grid(0, **SIZES, **FACTORIES[gaussian_grid])
    modes = np.array(source.truth["modes"])
    distance = np.linalg.norm(source.test.inputs - modes[source.test.targets], axis=1)
    assert (distance < 3 * 0.05).mean() == pytest.approx(1 - math.exp(-4.5), abs=0.003)


def test_points_of_the_checkerboard_fill_its_dark_squares_evenly():
    source = checkerboard(0, **SIZES, side=4)
    squares = np.floor(source.test.inputs + 2).astype(int)
    assert squares.min() == 0 and squares.max() == 3 and (squares.sum(1) % 2 == 0).all()
    assert source.truth["entropy"] == math.log(8)


def test_straight_arms_of_the_pinwheel_are_gaussians():
    settings = FACTORIES[pinwheel] | {"rate": 0.0}
    source = pinwheel(0, **SIZES, **settings)
    arm = source.test.inputs[source.test.targets == 0]
    assert arm.mean(0) == pytest.approx([1, 0], abs=0.02) and arm.std(0) == pytest.approx([0.3, 0.1], abs=0.01)


def test_a_single_mode_leaves_nothing_to_classify():
    source = gaussian_grid(0, **SIZES, side=1, spacing=1.0, deviation=1.0)
    assert source.classes == () and source.train.targets.shape == (500, 1)
