from __future__ import annotations

import numpy as np
import pytest

from dlcli.datasets.synthetic_regression import linear_regression, noisy_sine

SIZES = {"examples": 40, "test_examples": 100_000}


def test_the_sine_leaves_exactly_the_noise():
    source = noisy_sine(0, **SIZES, periods=2.0, noise=0.3)
    x, y = source.test
    residual = (y - np.sin(2 * np.pi * x)).ravel()  # two periods on [-1, 1]
    assert source.truth["bayes_loss"] == pytest.approx(0.09)
    assert np.mean(residual**2) == pytest.approx(0.09, abs=4 * 0.09 * np.sqrt(2 / len(residual)))
    assert abs(np.corrcoef(residual, x.ravel())[0, 1]) < 0.02
    assert (x.min(), x.max()) == pytest.approx((-1, 1), abs=1e-3)


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_inputs_have_the_chosen_spectrum_and_the_signal_unit_variance(decay):
    source = linear_regression(0, **SIZES, features=8, decay=decay, noise=0.5)
    inputs, targets = source.test
    eigenvalues = np.linalg.eigvalsh(np.cov(inputs.T))[::-1]
    expected = np.arange(1, 9) ** -decay
    assert eigenvalues == pytest.approx(expected / expected.mean(), rel=0.03)
    assert targets.var() == pytest.approx(1 + 0.25, rel=0.03)


def test_least_squares_on_many_examples_leaves_the_noise():
    source = linear_regression(1, examples=100_000, test_examples=100_000, features=5, decay=1.0, noise=0.5)
    weights, *_ = np.linalg.lstsq(source.train.inputs, source.train.targets, rcond=None)
    squares = ((source.test.targets - source.test.inputs @ weights) ** 2).ravel()
    assert abs(squares.mean() - source.truth["bayes_loss"]) < 4 * squares.std() / np.sqrt(len(squares))


def test_the_risk_of_least_squares_on_few_examples_is_that_of_the_closed_form():
    """v (1 - p/n) in training and v (1 + p/(n - p - 1)) in test, whatever the spectrum (Belkin et al. 2020)."""
    train, test = [], []
    for seed in range(300):
        source = linear_regression(seed, examples=40, test_examples=500, features=10, decay=1.0, noise=0.5)
        weights, *_ = np.linalg.lstsq(source.train.inputs, source.train.targets, rcond=None)
        for risks, part in ((train, source.train), (test, source.test)):
            risks.append(np.mean((part.targets - part.inputs @ weights) ** 2))
    for risks, expected in ((train, 0.25 * (1 - 10 / 40)), (test, 0.25 * (1 + 10 / 29))):
        assert abs(np.mean(risks) - expected) < 4 * np.std(risks) / np.sqrt(len(risks))


def test_splits_are_independent_draws_of_one_problem():
    source = linear_regression(0, examples=1000, test_examples=1000, features=3, decay=0.0, noise=0.0)
    weights, *_ = np.linalg.lstsq(source.train.inputs, source.train.targets, rcond=None)
    assert source.test.inputs @ weights == pytest.approx(source.test.targets, abs=1e-12)
    assert not np.array_equal(source.train.inputs, source.test.inputs)
