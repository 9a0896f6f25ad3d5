from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from dlcli.decomposition.paired import (
    HIGHER,
    LOWER,
    NO_DIFFERENCE,
    TOO_FEW,
    Difference,
    apart,
    difference,
    holm,
    judged,
    same_test_set,
    seeds_needed,
    sign_flip_test,
)


def arm(values):
    return dict(enumerate(values))


@pytest.mark.parametrize("n", [2, 5, 8, 12])
def test_the_tests_are_those_of_scipy(n):
    generator = np.random.default_rng(n)
    first, second = generator.normal(size=n), generator.normal(0.4, size=n)
    found = difference(arm(first), arm(second))
    student = stats.ttest_rel(first, second)
    flips = stats.permutation_test((first, second), lambda a, b: np.mean(a - b), permutation_type="samples")
    assert found.t_p == pytest.approx(student.pvalue, rel=1e-10)
    assert found.ci == pytest.approx(tuple(student.confidence_interval(0.95)), rel=1e-10)
    assert found.sign_flip_p == pytest.approx(flips.pvalue, rel=1e-10)


def test_many_pairs_draw_their_patterns_and_agree_with_the_normal_limit():
    deltas = np.random.default_rng(0).normal(0.1, 1, size=60)
    z = deltas.sum() / math.sqrt(np.sum(deltas**2))
    assert sign_flip_test(deltas) == pytest.approx(2 * stats.norm.sf(abs(z)), rel=0.03)
    assert sign_flip_test(np.full(60, 1.0)) == pytest.approx(1e-5, rel=1e-3)


def test_holm_adjusts_as_published():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_five_seeds_are_too_few_however_clear_the_difference():
    (five,) = judged([difference(arm([1.0] * 5), arm([2.0, 2.1, 2.2, 2.3, 2.4]))])
    (six,) = judged([difference(arm([1.0] * 6), arm([2.0, 2.1, 2.2, 2.3, 2.4, 2.5]))])
    assert (five.sign_flip_p, five.verdict) == (0.0625, TOO_FEW)
    assert (six.sign_flip_p, six.verdict) == (0.03125, LOWER)


@pytest.mark.parametrize("comparisons, seeds", [(0, 6), (1, 6), (2, 7), (3, 7), (6, 8), (12, 9)])
def test_more_comparisons_need_more_seeds(comparisons, seeds):
    assert seeds_needed(comparisons) == seeds
    clear = [difference(arm(np.arange(seeds) + 10.0), arm(np.arange(seeds) * 1.1))] * comparisons
    assert all(found.verdict == HIGHER for found in judged(clear))
    fewer = [difference(arm(np.arange(seeds - 1) + 10.0), arm(np.arange(seeds - 1) * 1.1))] * comparisons
    assert all(found.verdict == TOO_FEW for found in judged(fewer))


def test_pairing_removes_what_the_seeds_share():
    generator = np.random.default_rng(0)
    shared = 10 * generator.normal(size=8)
    found = difference(arm(shared), arm(shared + 0.1 + 0.01 * generator.normal(size=8)))
    assert found.ci[1] < 0 and judged([found])[0].verdict == LOWER


def test_a_diverged_run_is_counted_and_not_averaged():
    found = difference({0: 1.0, 1: 1.2, 2: math.nan, 3: 1.0}, {0: 2.0, 1: 2.0, 2: 2.0, 3: None})
    assert (found.pairs, found.lost) == (2, 2)
    assert difference({0: None}, {0: 1.0}) == Difference(None, None, 0, 1, None, None)


def test_equal_results_differ_in_nothing():
    (found,) = judged([difference(arm([0.3] * 8), arm([0.3] * 8))])
    assert (found.mean, found.t_p, found.sign_flip_p, found.verdict) == (0.0, 1.0, 1.0, NO_DIFFERENCE)


@pytest.mark.parametrize("noise", ["normal", "skewed", "heavy"])
def test_identical_optimizers_are_rarely_called_different(noise):
    """Specification: at most 7 % of comparisons. Exact tests stay below their 5 % without any assumption of shape."""
    generator = np.random.default_rng(0)
    draws = {"normal": generator.normal, "skewed": generator.exponential, "heavy": generator.standard_cauchy}[noise]
    calls = [
        judged([difference(arm(draws(size=8)), arm(draws(size=8)))])[0].verdict in (LOWER, HIGHER) for _ in range(1500)
    ]
    assert 0.02 < np.mean(calls) <= 0.07


def test_a_family_of_comparisons_errs_no_more_often_than_one():
    generator = np.random.default_rng(1)
    wrong = 0
    for _ in range(400):
        runs = [arm(generator.normal(size=9)) for _ in range(4)]
        found = judged([difference(runs[i], runs[j]) for i in range(4) for j in range(i)])
        wrong += any(each.verdict in (LOWER, HIGHER) for each in found)
    assert wrong / 400 <= 0.07


def test_mcnemar_counts_the_examples_on_which_two_functions_disagree():
    first, second = np.zeros(100), np.zeros(100)
    first[:12], second[10:15] = 1, 1
    found = same_test_set(first, second, "fraction")
    assert found.difference == pytest.approx(0.07)
    assert found.p == pytest.approx(stats.binomtest(10, 13).pvalue)
    assert same_test_set(first, first, "fraction").p == 1.0


def test_losses_of_two_functions_are_compared_example_by_example():
    generator = np.random.default_rng(0)
    hard = generator.exponential(size=400)
    found = same_test_set(hard, hard + 0.05 + 0.1 * generator.normal(size=400), "nats")
    assert -0.07 < found.ci[0] < -0.05 < found.ci[1] < -0.03 and found.p is None


def test_classes_with_overlapping_intervals_are_not_ranked():
    assert apart((0.1, 0.2), (0.3, 0.4)) == LOWER
    assert apart((0.3, 0.4), (0.1, 0.2)) == HIGHER
    assert apart((0.0, 0.25), (0.2, 0.4)) == NO_DIFFERENCE
