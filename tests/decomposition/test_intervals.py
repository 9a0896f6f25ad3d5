from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap, t, ttest_1samp

from dlcli.decomposition.intervals import (
    EXPANDED,
    GREATEST_BOOTSTRAP,
    Sampling,
    blocks,
    expanded,
    kurtosis,
    mean_interval,
    quantile,
    sampled,
    top_share,
    whole,
    wilson,
)


@pytest.mark.parametrize("errors, n", [(0, 1), (1, 1), (3, 1000), (20, 360), (60, 1000), (1000, 1000)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_wilson_is_the_interval_of_scipy(errors, n, level):
    reference = binomtest(errors, n).proportion_ci(level, method="wilson")
    assert wilson(errors, n, level) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_wilson_has_its_published_half_width():
    low, high = wilson(60, 1000)
    assert (high - low) / 2 == pytest.approx(0.0148, abs=5e-5)


@pytest.mark.parametrize("rate, n", [(0.003, 1000), (0.02, 360), (0.06, 1000), (0.3, 500)])
def test_wilson_covers_the_known_error_rate(rate, n):
    errors = np.random.default_rng(0).binomial(n, rate, size=500)
    covered = np.mean([low <= rate <= high for low, high in (wilson(int(k), n) for k in errors)])
    assert 0.93 <= covered <= 0.985


def test_the_level_of_few_resampled_numbers_is_raised_to_that_of_student():
    """The interval of a normal sample by its standard error over n, as a bootstrap of the mean has it in the limit."""
    for n, level in ((5, 0.95), (30, 0.9), (10_000, 0.95)):
        half = NormalDist().inv_cdf(0.5 + expanded(level, n) / 2) * math.sqrt((n - 1) / n)
        assert half == pytest.approx(t(n - 1).ppf(0.5 + level / 2), rel=1e-9)
    rows = np.random.default_rng(0).exponential(size=12)
    reference = bootstrap((rows,), np.mean, confidence_level=expanded(0.95, 12), n_resamples=100_000, rng=1)
    assert mean_interval(rows)[0] == pytest.approx(reference.confidence_interval, rel=0.03)
    assert (
        bootstrap((rows,), np.mean, n_resamples=100_000, rng=1).confidence_interval.low
        > 1.05 * mean_interval(rows)[0][0]
    )


def test_bootstrap_covers_the_known_mean_of_skewed_losses():
    generator = np.random.default_rng(1)
    intervals = [mean_interval(generator.exponential(size=300)) for _ in range(500)]
    covered = np.mean([low <= 1.0 <= high for (low, high), _ in intervals])
    assert 0.93 <= covered <= 0.985


def test_errors_get_wilson_and_losses_the_bootstrap():
    rows = np.array([0.0, 1.0, 0.0, 0.0])
    assert (sampled(rows, "fraction").method, sampled(rows, "nats").method) == ("Wilson", "BCa bootstrap")
    assert sampled(rows, "fraction").ci == wilson(int(rows.sum()), len(rows))


def test_the_interval_of_the_same_rows_is_the_same():
    rows = np.random.default_rng(0).exponential(size=50)
    assert mean_interval(rows) == mean_interval(rows)


def test_many_examples_get_an_interval_without_resampling():
    rows = np.random.default_rng(0).normal(3, 2, size=40_000)
    (low, high), method = mean_interval(rows)
    assert method == "Student's t"
    assert (high - low) / 2 == pytest.approx(1.96 * 2 / 200, rel=0.02)


def test_windows_of_a_text_are_resampled_in_blocks():
    """Each loss stands 50 times in a row: what is known is 20 numbers, and the interval is theirs."""
    rows = np.repeat(np.random.default_rng(0).exponential(size=20), 50)
    (low, high), method = mean_interval(rows, Sampling(contiguous=True))
    assert method == "BCa bootstrap over 20 blocks of 50 neighbouring examples"
    assert (low, high) == pytest.approx(mean_interval(rows[::50])[0])
    assert high - low > 4 * np.diff(mean_interval(rows)[0])[0]


@pytest.mark.parametrize("n, count", [(2, 2), (8, 4), (1742, 24)])
def test_blocks_are_few_and_hold_every_row(n, count):
    found = blocks(np.arange(n, dtype=float))
    assert len(found) == count and found[0] < found[-1]
    assert np.mean(found) == pytest.approx((n - 1) / 2, rel=0.1)


@pytest.mark.parametrize(
    ("n", "name"),
    [
        (25, "Student's t in place of the longer bootstrap"),
        (EXPANDED + 1, "Student's t in place of the longer bootstrap"),
        (GREATEST_BOOTSTRAP + 1, "Student's t"),
    ],
)
def test_an_interval_without_the_bootstrap_is_that_of_student(n, name):
    rows = np.random.default_rng(0).normal(size=n)
    (low, high), method = mean_interval(rows, Sampling(bootstrap=False))
    reference = ttest_1samp(rows, 0).confidence_interval(0.95)
    assert method == name
    assert low + high == pytest.approx(sum(reference), rel=1e-9)
    assert high - low == pytest.approx(reference.high - reference.low, rel=1e-12)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("degrees", [1, EXPANDED - 1, EXPANDED, 1000, 10**6])
def test_the_quantile_is_that_of_student(degrees, level):
    assert quantile(degrees, level) == pytest.approx(t.ppf(0.5 + level / 2, degrees), rel=1e-12)


def test_equal_losses_have_no_width():
    assert mean_interval(np.full(10, 0.5))[0] == (0.5, 0.5)


def test_a_single_example_has_no_interval():
    assert sampled(np.array([1.3]), "nats").ci is None


def test_a_degenerate_sample_still_has_a_finite_interval():
    low, high = mean_interval(np.array([0.0, 1e-300]))[0]
    assert np.isfinite([low, high]).all()


def test_a_train_risk_has_no_sampling_interval():
    assert whole(np.array([1.0, 2.0]), "nats").ci is None


def test_means_are_summed_in_float64():
    assert whole(np.full(1_000_000, 0.1, dtype=np.float32), "nats").value == pytest.approx(
        float(np.float32(0.1)), rel=1e-12
    )


def test_top_share_sees_a_single_hard_example():
    rows = np.full(100, 0.01)
    rows[7] = 99.01
    assert top_share(rows) == pytest.approx(0.9901)


def test_kurtosis_of_a_normal_sample_is_three():
    assert kurtosis(np.random.default_rng(0).normal(size=200_000)) == pytest.approx(3, abs=0.05)


def test_coverage_needs_no_wald_interval():
    """The textbook interval p +- 1.96 sd covers 80 % here; Wilson does not shrink to nothing at 0 errors."""
    assert wilson(0, 1000)[1] == pytest.approx(0.00383, abs=1e-5)
