"""A slope is what autograd finds for the mean of the rows, for one batch and for several in rows."""

import pytest
import torch

from dlcli.metrics import binary, multiclass, numeric
from dlcli.metrics.mean import MeanRisk
from dlcli.protocols import Batch

DRAW = torch.Generator().manual_seed(0)
CLASSES = Batch(torch.zeros(3, 20, 1), torch.randint(5, (3, 20), generator=DRAW))
PAIRS = Batch(torch.zeros(3, 20, 1), torch.randint(2, (3, 20), generator=DRAW))
NUMBERS = Batch(torch.zeros(3, 20, 1), torch.randn(3, 20, 2, generator=DRAW, dtype=torch.float64))
KNOWN = [
    (multiclass.CROSS_ENTROPY, CLASSES, 5, (0.0, 0.2)),
    (multiclass.SQUARED_ERROR, CLASSES, 5, (0.0, 0.2)),
    (binary.LOGISTIC, PAIRS, 1, (0.0, 0.2)),
    (numeric.SQUARED_ERROR, NUMBERS, 2, (None,)),
]
CASES = [(metric, batch, outputs, smoothing) for metric, batch, outputs, some in KNOWN for smoothing in some]


def test_no_slope_is_left_out():
    found = [each for room in (binary, multiclass, numeric) for each in vars(room).values()]
    assert {each for each in found if isinstance(each, MeanRisk) and each.slope} == {metric for metric, *_ in KNOWN}


@pytest.mark.parametrize(("metric", "batch", "outputs", "smoothing"), CASES)
def test_it_is_that_of_autograd(metric, batch, outputs, smoothing):
    settings = {} if smoothing is None else {"smoothing": smoothing}
    scores = 3 * torch.randn(3, 20, outputs, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    losses, slopes = metric.slope(scores, batch, **settings)
    for row in range(3):
        alone = Batch(*(part[row] for part in batch))
        leaf = scores[row].clone().requires_grad_()
        expected = metric.rows(leaf, alone, **settings).mean()
        expected.backward()
        for loss, slope in ((losses[row], slopes[row]), metric.slope(scores[row], alone, **settings)):
            torch.testing.assert_close(loss, expected.detach(), rtol=1e-12, atol=0)
            torch.testing.assert_close(slope, leaf.grad, rtol=1e-12, atol=1e-15)


def test_scores_of_any_size_leave_a_finite_slope():
    scores = torch.tensor([[1e4, -1e4], [-1e4, 1e4]])
    for metric in (multiclass.CROSS_ENTROPY, binary.LOGISTIC):
        given = scores if metric is multiclass.CROSS_ENTROPY else scores[:, :1]
        loss, slope = metric.slope(given, Batch(scores, torch.tensor([1, 1])))
        assert torch.isfinite(slope).all() and loss == pytest.approx(1e4 if given is scores else 5e3)
