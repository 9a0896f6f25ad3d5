from __future__ import annotations

import numpy as np
import pytest

from dlcli.decomposition.cautions import Circumstances
from dlcli.decomposition.decompose import decompose
from dlcli.decomposition.diagnose import diagnose
from dlcli.protocols import Bound


def parts(train, test, lower, upper, unit="nats", attained=None, bayes=None):
    """Rows that alternate about the wanted risk, so that the test interval is narrow but not empty."""
    swing = np.tile([0.99, 1.01], 500)
    rows = [np.arange(1000) < risk * 1000 if unit == "fraction" else risk * swing for risk in (train, test)]
    bounds = (
        Bound("lower", lower, "certified", "floor"),
        Bound("upper", upper, "certified", "continued training", attained=attained),
    )
    return decompose(
        rows[0].astype(float),
        rows[1].astype(float),
        bounds,
        loss="loss",
        unit=unit,
        circumstances=Circumstances(),
        bayes=bayes,
    )


@pytest.mark.parametrize(
    "found, says, advises",
    [
        (parts(0.1, 1.0, 0.0, 0.05), "Generalization dominates", "more data"),
        (parts(2.3, 2.35, 0.0, 0.1), "Optimization dominates", "training longer"),
        (parts(1.6, 1.65, 1.58, 1.6), "Approximation dominates", "larger model"),
        (parts(1.0, 1.1, 0.0, 0.9), "does not tell which of the two is larger", "rule out optimization first"),
        (parts(0.5, 1.0, 0.0, 0.5), "No term clearly dominates", "more data"),
    ],
    ids=["generalization", "optimization", "approximation", "both", "none"],
)
def test_the_sentence_names_what_the_intervals_support(found, says, advises):
    text = diagnose(found)
    assert says in text and advises in text


def test_an_optimization_term_is_given_as_an_interval():
    assert "between 2.2 and 2.3 of 2.35" in diagnose(parts(2.3, 2.35, 0.0, 0.1))


def test_a_risk_at_the_bayes_risk_has_nothing_to_gain():
    assert "no model can do better" in diagnose(parts(0.1, 0.16, 0.0, 0.1, unit="fraction", bayes=0.158655))


def test_bayes_risk_below_is_named_as_irreducible():
    assert "0.2 is Bayes risk" in diagnose(parts(0.1, 1.0, 0.0, 0.05, bayes=0.2))


def test_a_loss_without_minimizer_is_read_by_its_error():
    loss = parts(0.5, 0.6, 0.0, 0.0, attained=False)
    error = parts(0.0, 0.2, 0.0, 0.0, unit="fraction")
    assert "Generalization dominates the test error" in diagnose(loss, error)


def test_no_test_errors_leave_nothing_to_explain():
    assert "leaves nothing to explain" in diagnose(parts(0.0, 0.0, 0.0, 0.0, unit="fraction"))


def test_it_is_one_sentence():
    text = diagnose(parts(0.1, 1.0, 0.0, 0.05))
    assert text.endswith(".") and ". " not in text
