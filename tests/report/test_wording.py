from __future__ import annotations

import pytest

from dlcli.report import wording


def record(kind, side="upper", **more):
    base = {"side": side, "value": 0.5, "kind": kind, "method": "m", "attained": None, "level": None, "witness": ""}
    return {**base, **more}


@pytest.mark.parametrize(
    "given, text",
    [
        (record("exact"), "is 0.5000: m (exact)"),
        (record("certified"), "is at most 0.5000: m (certified)"),
        (record("certified", "lower"), "is at least 0.5000: m (certified)"),
        (record("statistical", level=0.95), "with 95 % confidence is at most 0.5000: m (statistical)"),
        (record("heuristic", "lower"), "a heuristic suggests at least 0.5000: m (heuristic)"),
        (record("certified", attained=False), "is at most 0.5000: m (certified, approached, not attained)"),
        (record("certified", witness="3fa9c0127712"), "is at most 0.5000: m (certified, weights 3fa9c012)"),
    ],
)
def test_the_verb_follows_from_the_kind(given, text):
    assert wording.bound(given) == text


@pytest.mark.parametrize(
    "ends, unit, text",
    [
        ((0.0, 0.5), "nats", "in [0, 0.5000]"),
        ((0.5, 0.5), "nats", "0.5000"),
        ((0.0, 0.125), "fraction", "in [0.00, 12.50] %"),
        ((None, -6.5), "nats", "at most -6.500"),
        ((1.5, None), "nats", "at least 1.500"),
    ],
)
def test_an_interval_is_never_a_midpoint(ends, unit, text):
    assert wording.interval(ends, unit) == text


@pytest.mark.parametrize(
    "value, unit, text",
    [
        (1061.0, "", "1061"),
        (0.0, "", "0"),
        (1e-7, "", "1.000e-07"),
        (0.3318, "fraction", "33.18 %"),
        (-0.0, "fraction", "0.00 %"),
    ],
)
def test_numbers_have_four_digits_and_fractions_are_percentages(value, unit, text):
    assert wording.number(value, unit) == text
