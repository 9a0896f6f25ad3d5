from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from dlcli.metrics import binary, multiclass
from dlcli.protocols import Batch

ALL = [name for name in vars(binary) if name.isupper()]
SCORES = torch.randn(50, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = torch.arange(50) % 2
BATCH = Batch(torch.zeros(50, 1), TARGETS)


def test_logistic_is_the_cross_entropy_of_zero_and_score():
    pair = torch.cat([torch.zeros_like(SCORES), SCORES], 1)
    assert torch.allclose(binary.LOGISTIC.rows(SCORES, BATCH), multiclass.CROSS_ENTROPY.rows(pair, BATCH), atol=1e-14)


def test_hinge_is_the_one_of_scikit_learn():
    ours = binary.HINGE.rows(SCORES, BATCH).mean().item()
    assert ours == pytest.approx(reference.hinge_loss(TARGETS, SCORES[:, 0]), rel=1e-12)


def test_squared_error_is_taken_against_plus_and_minus_one():
    batch = Batch(torch.zeros(2, 1), torch.tensor([0, 1]))
    assert binary.SQUARED_ERROR.rows(torch.tensor([[0.5], [0.5]]), batch).tolist() == [2.25, 0.25]


def test_a_score_of_zero_is_the_first_class():
    assert binary.ZERO_ONE.decide(torch.tensor([[0.0], [1e-9], [-1.0]])).tolist() == [0, 1, 0]


@pytest.mark.parametrize("name", ALL)
def test_half_precision_predictions_give_float32_rows(name):
    assert getattr(binary, name).rows(SCORES.bfloat16(), BATCH).dtype == torch.float32


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("ones", [0, 3, 5, 8])
def test_least_constant_risk_is_the_minimum_over_constants(name, ones):
    targets = np.array([1] * ones + [0] * (10 - ones))
    batch = Batch(torch.zeros(10, 1), torch.from_numpy(targets))
    grid = torch.linspace(-30, 30, 60001, dtype=torch.float64)
    risks = sum(
        getattr(binary, name).rows(grid[:, None], Batch(grid, torch.full_like(grid, t, dtype=torch.long)))
        for t in batch.targets.tolist()
    )
    assert getattr(binary, name).constant_risk(targets) == pytest.approx((risks / 10).min().item(), abs=1e-6)
