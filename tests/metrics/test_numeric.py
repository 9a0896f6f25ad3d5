from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from dlcli.metrics.numeric import SQUARED_ERROR
from dlcli.protocols import Batch

GENERATOR = torch.Generator().manual_seed(0)
PREDICTION, TARGETS = torch.randn(2, 40, 3, generator=GENERATOR, dtype=torch.float64)
BATCH = Batch(torch.zeros(40, 1), TARGETS)


def test_squared_error_is_the_mean_over_examples_and_targets():
    ours = SQUARED_ERROR.rows(PREDICTION, BATCH).mean().item()
    assert ours == pytest.approx(reference.mean_squared_error(TARGETS, PREDICTION), rel=1e-12)


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(AssertionError):
        SQUARED_ERROR.rows(torch.zeros(40, 1), Batch(torch.zeros(40, 1), torch.zeros(40)))


def test_least_constant_risk_is_the_variance_and_gives_r2():
    one = TARGETS[:, :1]
    risk = SQUARED_ERROR.rows(PREDICTION[:, :1], Batch(one, one)).mean().item()
    r2 = 1 - risk / SQUARED_ERROR.constant_risk(one.numpy())
    assert r2 == pytest.approx(reference.r2_score(one, PREDICTION[:, :1]), rel=1e-12)


def test_constant_targets_have_no_variance():
    assert SQUARED_ERROR.constant_risk(np.full((4, 2), 3.0)) == 0.0


def test_half_precision_predictions_give_float32_rows():
    assert SQUARED_ERROR.rows(PREDICTION.bfloat16(), BATCH).dtype == torch.float32
