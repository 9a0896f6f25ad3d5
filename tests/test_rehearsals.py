"""The checks of the whole program hold, and a broken program makes them fail."""

import numpy as np
import pytest

from dlcli import rehearsals
from dlcli.conclusion import ladder, pool

QUICK = ("trained, law: evaluation batches", "trained, law: train set as test set", "trained, law: data twice")
CASES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in rehearsals.CHECKS]


@pytest.mark.parametrize("name", CASES)
def test_a_check_passes_at_another_seed(name):
    passed, detail = rehearsals.CHECKS[name](np.random.default_rng(5))
    assert passed, detail


def test_a_run_that_is_its_own_reference_is_noticed(monkeypatch):
    """Trap 6: with min_F L_tr := L_tr of the run, a tiny learning rate would have no optimization error."""
    monkeypatch.setattr(ladder, "quick", lambda *_: iter(()))
    passed, _ = rehearsals.tiny_and_good_learning_rates(np.random.default_rng(5))
    assert not passed


def test_classes_that_are_not_nested_in_the_ledger_are_noticed(monkeypatch):
    monkeypatch.setattr(pool, "nested_classes", lambda *_: iter(()))
    passed, _ = rehearsals.nested_classes_through_the_program(np.random.default_rng(5))
    assert not passed
