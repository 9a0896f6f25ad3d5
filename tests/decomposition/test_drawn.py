import pytest

from dlcli.decomposition.drawn import judge_drawn

REAL = {"modes": 25.0, "high_quality": 0.9889, "precision": 0.8, "recall": 0.7}


def measured(**changes):
    return {**REAL, **changes}


@pytest.mark.parametrize(
    ("modes", "verdict"),
    [
        (25.0, "All 25 modes are reached."),
        (22.0, "3 of 25 modes are lost; "),
        (3.0, "The generator has collapsed: 3 of 25 modes are reached; "),
        (0.0, "The generator has collapsed: 0 of 25 modes are reached; "),
    ],
)
def test_lost_modes_are_told_apart_from_a_collapse(modes, verdict):
    assert judge_drawn(measured(modes=modes), REAL).startswith(verdict)


def test_quality_stands_beside_that_of_real_examples():
    assert "91.2 % of what is drawn" in judge_drawn(measured(high_quality=0.912), REAL)
    assert "of real examples it is 98.9 %." in judge_drawn(measured(high_quality=0.912), REAL)


def test_missing_variety_and_strange_examples_are_named():
    assert "recall is 0.10, 0.70 can be had" in judge_drawn(measured(recall=0.1), REAL)
    assert "precision is 0.20, 0.80 can be had" in judge_drawn(measured(precision=0.2), REAL)


def test_without_a_verdict_nothing_is_said():
    assert judge_drawn({"discrepancy": 0.3}, {"discrepancy": 0.0}) == ""
