from __future__ import annotations

import numpy as np
import pytest

from dlcli.decomposition.intervals import Interval, wilson
from dlcli.decomposition.known_risks import linear_risk
from dlcli.decomposition.population import best_in_class, excess, known, optimism, parametric_gap
from dlcli.decomposition.softmax_regression import softmax_regression


@pytest.mark.parametrize("n, slack", [(4000, 0.0194), (60_000, 0.0050)])
def test_the_optimism_has_its_known_size(n, slack):
    assert optimism(n, 1.0, 0.05) == pytest.approx(slack, abs=5e-5)


def least_threshold_error(x, y):
    """min over thresholds and signs of the 0-1 error, exactly."""
    signs = (2 * y - 1)[np.argsort(x)]
    right = np.r_[0, np.cumsum(signs)] - signs.sum() / 2
    return 0.5 - np.abs(right).max() / len(x)


def test_the_interval_holds_the_best_in_class_risk():
    """Threshold classifiers and labels sign(x) that are flipped with probability 0.2: R_F* = 0.2."""
    generator = np.random.default_rng(0)
    held = []
    for _ in range(200):
        x, flips = generator.normal(size=400), generator.random(400) < 0.2
        lower = least_threshold_error(x, (x > 0) ^ flips)
        errors = generator.binomial(300, 0.25)  # some threshold of risk 0.25 on a test set of 300
        interval = best_in_class(lower, wilson(int(errors), 300)[1], 400, 1.0).interval
        held.append(interval.low <= 0.2 <= interval.high)
    assert np.mean(held) >= 0.95


def test_a_minimum_is_optimistic():
    generator = np.random.default_rng(0)
    draws = []
    for _ in range(300):
        x, flips = generator.normal(size=50), generator.random(50) < 0.2
        draws.append(least_threshold_error(x, (x > 0) ^ flips))
    assert np.mean(draws) < 0.2


def test_known_risks_give_the_three_terms_exactly():
    found = excess(known(1.9), 1.0, known(1.25), known(1.6))
    assert found.approximation == (0.25, 0.25)
    assert found.estimation == pytest.approx((0.35, 0.35))
    assert found.optimization == pytest.approx((0.3, 0.3))


def test_the_terms_of_a_linear_problem_add_up_to_the_excess():
    used, rest, noise = np.array([1.0, -2.0]), 0.25, 1.0
    generator = np.random.default_rng(0)
    x = generator.normal(size=(30, 2))
    y = x @ used + generator.normal(size=30) * np.sqrt(rest + noise)
    fit = np.linalg.lstsq(x, y)[0]
    risk = linear_risk(0.9 * fit, used, rest, noise)
    found = excess(known(risk), noise, known(rest + noise), known(linear_risk(fit, used, rest, noise)))
    assert sum(term.low for term in found[1:]) == pytest.approx(risk - noise, rel=1e-12)
    assert found.approximation.low == pytest.approx(rest) and found.estimation.low > 0


def test_an_unknown_best_is_no_better_than_bayes_and_no_worse_than_a_member():
    found = excess(known(1.5), 1.0, Interval(0.3, 9.0), known(1.4))
    assert found.approximation == pytest.approx((0.0, 0.4))
    assert found.estimation == pytest.approx((0.0, 0.4))


def test_the_gap_of_a_logistic_fit_is_parameters_over_examples():
    """Well-specified, p = 11 of n = 1000; the risk at the fit by 20000 fresh examples per set."""
    generator = np.random.default_rng(0)
    truth, gaps = generator.normal(size=10) / 4, []

    def draw(n):
        x = generator.normal(size=(n, 10))
        return x, (generator.random(n) < 1 / (1 + np.exp(-(x @ truth)))).astype(int)

    for _ in range(60):
        x, y = draw(1000)
        found = softmax_regression(x, y)
        fresh, labels = draw(20_000)
        scores = fresh @ found.weights[0] + found.weights[1]
        own = x @ found.weights[0] + found.weights[1]
        nats, own_nats = (np.logaddexp(*s.T) - s[np.arange(len(s)), t] for s, t in ((scores, labels), (own, y)))
        gaps.append(nats.mean() - own_nats.mean())
    error = np.std(gaps, ddof=1) / np.sqrt(60)
    assert abs(np.mean(gaps) - parametric_gap(11, 1000)) < 3 * error
