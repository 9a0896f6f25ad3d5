"""The self-test passes, and each trap that it is there for makes a line of it fail."""

from __future__ import annotations

import numpy as np
import pytest

from dlcli.decomposition import decompose as decomposing
from dlcli.decomposition import exact_checks, intervals, law_checks, paired, sampling_checks
from dlcli.decomposition import softmax_regression as softmax
from dlcli.decomposition.selftest import CHECKS, Outcome, line, outcomes
from dlcli.protocols import Bound

SLOW = {"least squares below the interpolation threshold", "least squares above the interpolation threshold"}
COVERAGE = {"coverage of losses", "coverage of losses that depend on their neighbours"}
QUICK = {name: check for name, check in CHECKS.items() if name not in SLOW | COVERAGE}


def passes(check, seed=0):
    (outcome,) = outcomes(seed, {"one": check})
    return outcome.passed


def test_every_quick_line_passes():
    failed = [line(outcome) for outcome in outcomes(0, QUICK) if not outcome.passed]
    assert len(QUICK) > 20 and not failed


@pytest.mark.slow
def test_every_line_passes_on_other_problems():
    assert not [line(outcome) for outcome in outcomes(1) if not outcome.passed]


def test_a_check_that_breaks_is_a_failed_line_and_the_rest_goes_on():
    def broken(generator):
        raise RuntimeError("no such data")

    first, second = outcomes(0, {"broken": broken, "sound": law_checks.train_as_test})
    assert (first.passed, first.detail, second.passed) == (False, "RuntimeError: no such data", True)
    assert line(Outcome("a name", False, "numbers")) == "FAIL  a name: numbers"


def test_other_seeds_draw_other_problems():
    details = {next(outcomes(seed, {"one": law_checks.nested_classes})).detail for seed in range(3)}
    assert len(details) == 3


def sprung(monkeypatch, module, name, replacement):
    monkeypatch.setattr(module, name, replacement)


def test_trap_the_runs_own_risk_taken_for_the_minimum(monkeypatch):
    """Optimization error 0 whatever the learning rate."""
    honest = exact_checks.decompose

    def shortcut(train, test, bounds, **more):
        return honest(train, test, [Bound("lower", float(np.mean(train)), "certified", "itself")], **more)

    sprung(monkeypatch, exact_checks, "decompose", shortcut)
    assert not passes(exact_checks.learning_rates)
    assert not passes(sampling_checks.least_squares_below_the_threshold)


def test_trap_a_floor_of_zero_under_every_loss(monkeypatch):
    honest = exact_checks.decompose

    def floored(train, test, bounds, **more):
        return honest(train, test, [exact_checks.ZERO, *bounds], **more)

    sprung(monkeypatch, exact_checks, "decompose", floored)
    assert not passes(exact_checks.linear_vaes)


def test_trap_a_bound_above_the_run_clipped_silently(monkeypatch):
    honest = exact_checks.decompose

    def clipping(train, test, bounds, **more):
        mean = float(np.mean(train))
        return honest(train, test, [b._replace(value=min(b.value, mean)) for b in bounds], **more)

    sprung(monkeypatch, exact_checks, "decompose", clipping)
    assert not passes(exact_checks.softmax_on_mnist1d)


def test_trap_a_heuristic_that_ends_the_interval(monkeypatch):
    honest = exact_checks.decompose

    def trusting(train, test, bounds, **more):
        return honest(train, test, [bound._replace(kind="certified") for bound in bounds], **more)

    sprung(monkeypatch, exact_checks, "decompose", trusting)
    assert not passes(law_checks.heuristics_end_nothing)


def test_trap_the_textbook_interval_of_an_error_rate(monkeypatch):
    def wald(errors, n, level=0.95):
        share = errors / n
        half = 1.96 * np.sqrt(share * (1 - share) / n)
        return share - half, share + half

    sprung(monkeypatch, intervals, "wilson", wald)
    assert not passes(sampling_checks.coverage_of_errors)


def test_trap_windows_of_a_text_taken_for_independent(monkeypatch):
    monkeypatch.setattr(intervals, "blocks", lambda rows: rows[: len(rows) // 2])
    assert not passes(sampling_checks.coverage_of_neighbours)


def test_trap_a_gap_measured_from_a_noisy_train_loss(monkeypatch):
    """The running loss, or a train-mode one, in place of the risk of the frozen function."""
    honest = sampling_checks.parts_of

    def running(train, test, *bounds, **more):
        return honest(1.2 * train, test, *bounds, **more)

    sprung(monkeypatch, sampling_checks, "parts_of", running)
    assert not passes(sampling_checks.least_squares_below_the_threshold)


def test_trap_scores_of_separable_data_called_an_optimization_error(monkeypatch):
    monkeypatch.setattr(softmax, "separates", lambda scores, labels: False)
    assert not passes(exact_checks.separable_classes)


def test_trap_seeds_without_pairs_and_correction(monkeypatch):
    """Calling every difference of means a difference."""
    monkeypatch.setattr(paired, "sign_flip_test", lambda deltas: 0.01)
    assert not passes(sampling_checks.identical_optimizers)


def test_trap_parameters_counted_for_a_proof(monkeypatch):
    counted = Bound("upper", 0.0, "certified", "more parameters than examples")
    monkeypatch.setattr(law_checks, "full_rank", lambda features, targets: counted)
    assert not passes(law_checks.parameters_are_no_proof)


def test_trap_a_threshold_for_separability_that_is_never_reported(monkeypatch):
    monkeypatch.setattr(decomposing, "SEPARABLE", 10.0)
    assert not passes(exact_checks.relu_on_a_line)
