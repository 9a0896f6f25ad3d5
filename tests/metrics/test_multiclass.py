from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn import metrics as reference

from dlcli.metrics import multiclass
from dlcli.metrics.mean import MeanRisk
from dlcli.protocols import Batch

ALL = [name for name, value in vars(multiclass).items() if isinstance(value, MeanRisk)]
SCORES = torch.randn(101, 5, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(101) % 5
BATCH = Batch(torch.zeros(101, 1), TARGETS)


def metric(name):
    return getattr(multiclass, name)


def test_there_are_metrics():
    assert len(ALL) == 6


@pytest.mark.parametrize("classes", [2, multiclass.WIDE - 1, multiclass.WIDE, 40])
def test_logarithms_of_few_classes_are_those_of_many(classes):
    """Examples in front may have any shape, and a score that towers above the others leaves the rest their digits."""
    scores = 5 * torch.randn(3, 7, classes, dtype=torch.float64)
    scores[0, 0, 0], scores[1, 1, -1] = 1e4, -1e4
    expected = torch.log_softmax(scores, -1)
    torch.testing.assert_close(multiclass.log_softmax(scores), expected, rtol=1e-12, atol=0)
    ours, theirs = (scores.float().requires_grad_() for _ in range(2))
    found = multiclass.log_softmax(ours)
    torch.testing.assert_close(found, expected.float(), rtol=1e-6, atol=1e-6)
    for logarithms in (found, theirs.log_softmax(-1)):
        logarithms[..., 0].sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6)


def test_cross_entropy_is_log_loss():
    ours = multiclass.CROSS_ENTROPY.reduce(multiclass.CROSS_ENTROPY.rows(SCORES.double(), BATCH).numpy())
    assert ours == pytest.approx(reference.log_loss(TARGETS, SCORES.double().softmax(-1)), rel=1e-12)


def test_hinge_is_that_of_crammer_and_singer():
    ours = multiclass.HINGE.reduce(multiclass.HINGE.rows(SCORES, BATCH).numpy())
    assert ours == pytest.approx(reference.hinge_loss(TARGETS, SCORES.numpy()), rel=1e-6)


def test_error_is_one_minus_accuracy():
    ours = multiclass.ZERO_ONE.reduce(multiclass.ZERO_ONE.rows(SCORES, BATCH).numpy())
    assert ours == pytest.approx(1 - reference.accuracy_score(TARGETS, SCORES.argmax(-1)))


def test_squared_error_is_summed_over_the_classes():
    rows = multiclass.SQUARED_ERROR.rows(torch.tensor([[0.5, -1.0, 2.0]]), Batch(torch.zeros(1, 1), torch.tensor([0])))
    assert rows.item() == pytest.approx(0.25 + 1 + 4)


def test_one_vs_rest_is_a_sum_of_two_class_losses():
    ours = multiclass.LOGISTIC_EACH.rows(SCORES.double(), BATCH).mean().item()
    probabilities = SCORES.double().sigmoid().numpy()
    each = [reference.log_loss(TARGETS.numpy() == c, probabilities[:, c]) for c in range(5)]
    assert ours == pytest.approx(sum(each), rel=1e-12)


def test_tied_scores_choose_the_first_class():
    assert multiclass.ZERO_ONE.decide(torch.tensor([[1.0, 3.0, 3.0], [0.0, 0.0, 0.0]])).tolist() == [1, 0]


@pytest.mark.parametrize("name", ALL)
def test_rows_do_not_depend_on_the_batch(name):
    whole = metric(name).rows(SCORES, BATCH)
    alone = [
        metric(name).rows(SCORES[i : i + 1], Batch(BATCH.inputs[i : i + 1], TARGETS[i : i + 1])) for i in range(101)
    ]
    assert torch.equal(whole, torch.cat(alone))


@pytest.mark.parametrize("name", ALL)
def test_half_precision_predictions_give_float32_rows(name):
    half = SCORES.bfloat16()
    rows = metric(name).rows(half, BATCH)
    assert rows.dtype == torch.float32
    assert torch.equal(rows, metric(name).rows(half.float(), BATCH))


@pytest.mark.parametrize("name", [name for name in ALL if name != "ZERO_ONE"])
def test_double_precision_is_kept(name):
    assert metric(name).rows(SCORES.double(), BATCH).dtype == torch.float64


def test_the_last_row_of_a_short_batch_counts_once():
    rows = np.zeros(101)
    rows[-1] = 100.0  # a mean of batch means of 100 and 1 rows would say 50
    assert multiclass.CROSS_ENTROPY.reduce(rows) == pytest.approx(100 / 101, rel=1e-15)


def test_many_small_losses_are_summed_in_float64():
    rows = np.full(1_000_000, 0.1, dtype=np.float32)
    assert multiclass.CROSS_ENTROPY.reduce(rows) == pytest.approx(float(np.float32(0.1)), rel=1e-12)


@pytest.mark.parametrize("counts", [(5, 3, 2), (8, 1, 1), (4, 4), (7,)])
@pytest.mark.parametrize("name", [name for name in ALL if name != "ZERO_ONE"])
def test_least_constant_risk_is_the_minimum_over_constants(name, counts):
    targets = np.repeat(np.arange(len(counts)), counts)
    classes = max(len(counts), 2)
    batch = Batch(torch.zeros(len(targets), 1), torch.from_numpy(targets))

    def risk(scores):
        prediction = torch.from_numpy(scores).expand(len(targets), classes)
        return metric(name).rows(prediction, batch).mean().item()

    grid = np.random.default_rng(0).normal(size=(20, classes)) * 2
    found = min(minimize(risk, start, method="Nelder-Mead", options={"maxiter": 4000}).fun for start in grid)
    assert metric(name).constant_risk(targets) == pytest.approx(found, abs=2e-3)
    assert metric(name).constant_risk(targets) <= found + 1e-12


def test_least_constant_error_is_the_share_of_the_other_classes():
    assert multiclass.ZERO_ONE.constant_risk(np.array([0, 0, 1, 2])) == 0.5


def test_smoothed_cross_entropy_has_its_published_floor():
    """ln-entropy of the smoothed target: 0.5003 nats for 0.1 over ten classes."""
    target = torch.tensor([0])
    smooth = torch.full((1, 10), 0.01)
    smooth[0, 0] = 0.91
    loss = multiclass.cross_entropy(smooth.log(), Batch(torch.zeros(1, 1), target), smoothing=0.1)
    assert loss.item() == pytest.approx(0.5003, abs=5e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_mean_of_the_cross_entropy_is_that_of_its_rows(smoothing):
    mean = multiclass.mean_cross_entropy(SCORES, BATCH, smoothing)
    assert mean.item() == pytest.approx(multiclass.cross_entropy(SCORES, BATCH, smoothing).mean().item(), rel=1e-6)
    assert multiclass.mean_cross_entropy(SCORES.bfloat16(), BATCH).dtype == torch.float32
