from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from dlcli.decomposition.cautions import Circumstances
from dlcli.decomposition.decompose import THIS_RUN, decompose
from dlcli.decomposition.intervals import Interval
from dlcli.protocols import Bound

GENERATOR = np.random.default_rng(0)
TRAIN, TEST = GENERATOR.exponential(0.5, 400), GENERATOR.exponential(0.8, 200)
FLOOR = Bound("lower", 0.0, "certified", "nonnegativity")
PLAIN = Circumstances()


def upper(value, **more):
    return Bound("upper", value, "certified", "continued training", **more)


def parts(*bounds, train=TRAIN, test=TEST, circumstances=PLAIN, unit="nats", **more):
    return decompose(train, test, bounds, loss="loss", unit=unit, circumstances=circumstances, **more)


def codes(decomposition):
    return {warning.code for warning in decomposition.warnings}


def test_the_parts_sum_to_the_test_risk_at_both_ends():
    found = parts(FLOOR, upper(0.3))
    for approximation, optimization in zip(found.approximation, reversed(found.optimization), strict=True):
        assert approximation + optimization + found.generalization == pytest.approx(TEST.mean(), rel=1e-12)


def test_the_upper_end_is_the_best_member_that_was_evaluated():
    assert parts(FLOOR, upper(0.4), upper(0.3), upper(0.35)).approximation == (0.0, 0.3)


def test_the_run_itself_is_a_member():
    found = parts(FLOOR, upper(9.0))
    assert (found.upper.method, found.optimization.low) == (THIS_RUN, 0.0)


def test_the_greatest_lower_bound_wins():
    conflicts = Bound("lower", 0.1, "certified", "label conflicts")
    assert parts(FLOOR, conflicts, upper(0.3)).lower is conflicts


@pytest.mark.parametrize("side, value", [("lower", 0.29), ("upper", 0.01)])
def test_a_heuristic_never_ends_the_interval(side, value):
    found = parts(FLOOR, upper(0.3), Bound(side, value, "heuristic", "extrapolated loss curve"))
    assert found.approximation == (0.0, 0.3)


def test_without_a_lower_bound_the_interval_is_open_below():
    """A density's loss can be negative; a floor of zero would make the optimization term negative."""
    found = parts(upper(-7.0), train=TRAIN - 6.5, test=TEST - 6.0)
    assert found.approximation == (-math.inf, -7.0)
    assert found.optimization.low > 0 and found.optimization.high == math.inf
    assert not found.separable


def test_a_lower_bound_above_the_run_is_an_error_and_never_clipped():
    """Softmax regression on MNIST-1D: a notebook's "train loss" of 1.535, one minibatch's, lies below the minimum."""
    with pytest.raises(ValueError, match=r"lower bound 1\.583.* \(Newton\) above upper bound 1\.53"):
        parts(Bound("lower", 1.583247770786, "exact", "Newton"), train=np.full(4000, 1.535))


def test_the_rounding_of_float32_rows_is_not_an_error():
    found = parts(Bound("lower", TRAIN.mean() * (1 + 2e-8), "exact", "exact optimum"))
    assert found.approximation.low == found.approximation.high
    assert found.below_resolution and "below_resolution" in codes(found)


def test_rows_in_float64_are_held_to_float64():
    with pytest.raises(ValueError, match="above upper bound"):
        parts(Bound("lower", TRAIN.mean() * (1 + 2e-8), "exact", "exact optimum"), rounding=2.0**-52)


@pytest.mark.parametrize(
    "field, value",
    [
        ("generalization", 0.31),
        ("approximation", Interval(0.0, 0.31)),
        ("approximation", Interval(0.01, 0.3)),
        ("optimization", Interval(0.1, 0.6)),
    ],
)
def test_parts_that_do_not_sum_to_the_test_risk_are_refused(field, value):
    with pytest.raises(ValueError, match="the parts miss the test risk"):
        replace(parts(FLOOR, upper(0.3)), **{field: value})


def test_a_departure_beyond_a_billionth_is_refused():
    found = parts(FLOOR, upper(0.3))
    with pytest.raises(ValueError, match="the parts miss the test risk"):
        replace(found, generalization=found.generalization + 1e-8)


def test_a_negative_optimization_term_is_refused():
    found = parts(FLOOR, upper(0.3))
    high = found.train.value + 0.1
    with pytest.raises(ValueError, match="above the run's train risk"):
        replace(found, approximation=Interval(0.0, high), optimization=Interval(-0.1, found.train.value))


def test_a_non_finite_risk_is_refused():
    with pytest.raises(ValueError, match="non-finite risk"):
        parts(FLOOR, train=np.array([1.0, math.nan]))


def test_the_gap_has_the_sampling_interval_of_the_test_risk_only():
    found = parts(FLOOR, upper(0.3))
    assert found.generalization_ci.low == found.test.ci[0] - found.train.value


def test_equal_sets_have_no_gap():
    assert parts(FLOOR, upper(0.3), train=TRAIN, test=TRAIN).generalization == 0.0


def test_kappa_is_the_width_over_the_test_risk():
    assert parts(FLOOR, upper(0.3)).kappa == pytest.approx(0.3 / TEST.mean())


def test_a_wide_interval_is_called_not_separable():
    assert "approx_opt_not_separable" in codes(parts(FLOOR, upper(0.3)))
    wide = parts(FLOOR, upper(TRAIN.mean()), test=TRAIN)
    (text,) = (warning.text for warning in wide.warnings if warning.code == "approx_opt_not_separable")
    assert text.endswith("the interval of min_F L_train spans 100 % of the test risk")


def test_a_narrow_interval_is_separable():
    found = parts(Bound("lower", 0.29, "exact", "least squares"), upper(0.3))
    assert found.separable and "approx_opt_not_separable" not in codes(found)


def test_a_pool_of_one_run_says_so_instead_of_printing_zero():
    assert "one_run_pool" in codes(parts(FLOOR))


def test_its_own_weights_do_not_make_a_pool():
    assert "one_run_pool" in codes(parts(FLOOR, Bound("upper", TRAIN.mean(), "certified", THIS_RUN, witness="3fa9")))


def test_the_witness_of_the_run_itself_is_kept():
    assert (
        parts(FLOOR, Bound("upper", float(TRAIN.mean()), "certified", THIS_RUN, witness="3fa9")).upper.witness == "3fa9"
    )


def test_a_run_that_learned_nothing_shows_everything_as_optimization():
    """lr=1e-6: trap 6. A reference solution reaches nearly zero, so nearly all of L_tr is optimization."""
    found = parts(FLOOR, upper(0.001), train=np.full(100, math.log(10)))
    assert found.optimization.low > 0.999 * found.train.value


def test_an_infimum_that_is_not_attained_is_said():
    found = parts(FLOOR, upper(0.0, attained=False))
    assert found.infimum_not_attained and "infimum_not_attained" in codes(found)
    assert found.optimization == (found.train.value, found.train.value)


def test_tiny_differences_are_below_resolution():
    found = parts(FLOOR, upper(1e-13), train=np.full(10, 2e-12), test=np.full(10, 1e-3))
    assert found.below_resolution


def test_an_error_count_is_exact():
    errors = np.zeros(10)
    assert not parts(FLOOR, train=errors, test=errors, unit="fraction").below_resolution


@pytest.mark.parametrize(
    "circumstances, code",
    [
        (Circumstances(label_noise=0.135), "label_noise_shift"),
        (Circumstances(duplicates=3), "duplicates_across_splits"),
        (Circumstances(selected_on="test"), "selected_on_test"),
        (Circumstances(regularizers=("weight decay 0.0005",)), "objective_differs"),
    ],
)
def test_circumstances_become_warnings(circumstances, code):
    assert code in codes(parts(FLOOR, upper(0.3), circumstances=circumstances))


def test_plain_circumstances_are_silent():
    assert codes(parts(Bound("lower", 0.3, "exact", "least squares"), upper(0.3))) == set()


def test_the_error_of_the_cross_entropy_minimizer_is_no_minimum_of_the_error():
    """Linear classifiers on a line with an outlier: the logistic fit makes three errors, the best threshold one."""
    inputs, targets = np.array([-2.0, -1.0, 1.0, 2.0, 30.0]), np.array([0, 0, 1, 1, 0])
    signs = 2 * targets - 1
    fit = minimize(lambda w: np.logaddexp(0, -signs * (w[0] * inputs + w[1])).mean(), np.zeros(2)).x
    of_fit = (signs * (fit[0] * inputs + fit[1]) <= 0).astype(float)
    thresholds = [sign * (inputs - cut) for cut in (-3, -1.5, 0, 1.5, 3, 31) for sign in (-1, 1)]
    least = min(float(np.mean(signs * scores <= 0)) for scores in thresholds)
    assert (of_fit.mean(), least) == (0.6, 0.2)
    found = parts(
        Bound("lower", least, "exact", "enumeration"), upper(least), train=of_fit, test=of_fit, unit="fraction"
    )
    assert found.approximation == (least, least) and found.optimization.low == pytest.approx(0.4)


def test_clean_test_labels_may_give_a_negative_gap_which_is_kept_and_flagged():
    found = parts(FLOOR, upper(0.3), test=TRAIN - 0.1, circumstances=Circumstances(label_noise=0.15))
    assert found.generalization == pytest.approx(-0.1)
    assert "label_noise_shift" in codes(found)


@pytest.mark.parametrize("n, p", [(40, 5), (60, 20)])
def test_least_squares_has_an_exact_approximation_term(n, p):
    """Bounds from the closed form: the interval closes to a point, and a run stopped early pays the rest."""
    generator = np.random.default_rng(n)
    inputs, noise = generator.normal(size=(2 * n, p)), generator.normal(size=2 * n)
    targets = inputs @ generator.normal(size=p) + noise
    best, residual, *_ = np.linalg.lstsq(inputs[:n], targets[:n])
    exact = float(residual[0] / n)
    rows = (inputs @ (0.9 * best) - targets) ** 2
    bounds = (Bound("lower", exact, "exact", "least squares"), Bound("upper", exact, "exact", "least squares"))
    found = parts(*bounds, train=rows[:n], test=rows[n:], unit="squared units", rounding=2.0**-52)
    excess = float(np.mean((inputs[:n] @ (0.1 * best)) ** 2))  # the residual is orthogonal to the inputs
    assert found.approximation == (exact, exact)
    assert found.optimization.low == pytest.approx(excess, rel=1e-10)
    assert found.separable


def test_least_squares_terms_have_their_expected_values():
    """Gaussian inputs, p of n, unit noise: E A = 1 - p/n and E L_te = 1 + p/(n - p - 1), within 3 standard errors."""
    n, p, sets = 40, 10, 200
    generator = np.random.default_rng(7)
    terms = []
    for _ in range(sets):
        inputs, targets = generator.normal(size=(n + 200, p)), generator.normal(size=n + 200)
        best, residual, *_ = np.linalg.lstsq(inputs[:n], targets[:n])
        rows = (inputs @ best - targets) ** 2
        exact = [Bound(side, residual[0] / n, "exact", "least squares") for side in ("lower", "upper")]
        found = parts(*exact, train=rows[:n], test=rows[n:], unit="squared units", rounding=2.0**-52)
        terms.append((found.approximation.high, found.test.value, found.optimization.high))
    mean, error = np.mean(terms, axis=0), np.std(terms, axis=0, ddof=1) / np.sqrt(sets)
    assert abs(mean[0] - (1 - p / n)) < 3 * error[0]
    assert abs(mean[1] - (1 + p / (n - p - 1))) < 3 * error[1]
    assert mean[2] < 1e-14
