from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import linprog

from dlcli.decomposition.known_risks import (
    gaussian_pair,
    gradient_descent_excess,
    linear_risk,
    linear_truth,
    noisy_labels,
    separable_probability,
)


def test_two_gaussians_have_their_known_bayes_risks():
    assert gaussian_pair(1.0) == pytest.approx((0.158655, 0.356316), abs=5e-7)


@pytest.mark.parametrize("distance", [0.3, 1.0, 3.0])
def test_the_bayes_risks_of_two_gaussians_are_those_of_a_simulation(distance):
    draws = np.random.default_rng(0).normal(distance, 1, size=400_000)
    error, nats = gaussian_pair(distance)
    rows = np.logaddexp(0, -2 * distance * draws)
    assert abs(np.mean(draws < 0) - error) < 4 * math.sqrt(error / 400_000) + 1e-9
    assert abs(rows.mean() - nats) < 4 * rows.std() / math.sqrt(400_000)


def test_indistinguishable_classes_cost_a_coin():
    assert gaussian_pair(0.0) == pytest.approx((0.5, math.log(2)), abs=1e-12)
    assert noisy_labels(1.0, 10) == pytest.approx((0.9, math.log(10)))
    assert noisy_labels(0.0, 10) == (0.0, 0.0)


def test_redrawing_fifteen_percent_of_ten_classes_flips_thirteen_and_a_half():
    assert noisy_labels(0.15, 10)[0] == pytest.approx(0.135)


@pytest.mark.parametrize("n, p, dimension", [(25, 10, 40), (25, 18, 40), (20, 35, 40)])
def test_least_squares_has_its_closed_forms_on_both_sides_of_the_threshold(n, p, dimension):
    generator = np.random.default_rng(n + p)
    beta, noise = generator.normal(size=dimension) / 5, 0.4
    rest = float(np.sum(beta[p:] ** 2))
    train, test = [], []
    for _ in range(2000):
        x = generator.normal(size=(n, dimension))
        y = x @ beta + math.sqrt(noise) * generator.normal(size=n)
        fit = np.linalg.lstsq(x[:, :p], y)[0]
        train.append(np.mean((x[:, :p] @ fit - y) ** 2))
        test.append(linear_risk(fit, beta[:p], rest, noise))
    truth = linear_truth(n, beta[:p], rest, noise)
    for draws, expected in ((train, truth.approximation), (test, truth.test)):
        assert abs(np.mean(draws) - expected) < 3.5 * np.std(draws) / math.sqrt(2000) + 1e-12


@pytest.mark.parametrize("p", [39, 40, 41])
def test_the_peak_of_double_descent_is_infinite(p):
    assert linear_truth(40, np.ones(p), 1.0, 1.0).test == math.inf


def test_gradient_descent_follows_its_closed_form():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(100, 20)), generator.normal(size=100)
    best = np.linalg.lstsq(x, y)[0]
    curvatures, basis = np.linalg.eigh(x.T @ x / 100)
    weights = np.zeros(20)
    for step in range(1, 101):
        weights -= 0.2 * x.T @ (x @ weights - y) / 100
        loss = 0.5 * np.mean((x @ weights - y) ** 2) - 0.5 * np.mean((x @ best - y) ** 2)
        expected = gradient_descent_excess(curvatures, basis.T @ -best, 0.2, step)
        assert loss == pytest.approx(expected, rel=1e-8, abs=1e-15)


def test_random_labels_are_separable_as_often_as_cover_counted():
    assert [separable_probability(n, 20) for n in (30, 40, 50)] == pytest.approx([0.9693, 0.5, 0.0762], abs=5e-4)
    generator = np.random.default_rng(0)
    separable = 0
    for _ in range(200):
        x, y = generator.normal(size=(16, 8)), generator.choice([-1.0, 1.0], size=16)
        separable += linprog(np.zeros(8), -y[:, None] * x, -np.ones(16), bounds=[(None, None)] * 8).status == 0
    assert abs(separable / 200 - separable_probability(16, 8)) < 3 * 0.5 / math.sqrt(200)
