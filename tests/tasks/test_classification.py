from __future__ import annotations

import pytest
import torch
from torch import nn

from dlcli.errors import UsageError
from dlcli.protocols import Batch, DataSpec
from dlcli.tasks.classification import binary, multiclass, one_vs_rest

THREE = DataSpec("iris", (4,), ("a", "b", "c"))
TWO = DataSpec("moons", (2,), ("no", "yes"))
NUMBERS = DataSpec("diabetes", (10,))


def scored(task, scores, targets):
    """(training loss, risk) of a model that returns `scores` whatever it reads."""
    batch = Batch(torch.zeros(len(targets), 1), torch.tensor(targets))
    model = Constant(torch.tensor(scores))
    prediction = task.predict(model, batch, None)
    return task.phases[0].loss(model, batch, None), task.metrics["loss"].rows(prediction, batch).mean()


class Constant(nn.Module):
    def __init__(self, scores):
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self, inputs):
        return self.scores


@pytest.mark.parametrize("factory, loss", [(multiclass, "cross_entropy"), (one_vs_rest, "logistic")])
def test_there_is_one_score_per_class(factory, loss):
    assert factory(THREE, loss=loss, label_smoothing=0.0).spec.outputs == 3


def test_binary_has_a_single_score():
    assert binary(TWO, loss="logistic", label_smoothing=0.0).spec.outputs == 1


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error", "hinge"])
def test_without_smoothing_the_training_loss_is_the_risk(loss):
    trained, risk = scored(multiclass(THREE, loss=loss, label_smoothing=0.0), [[0.3, -1.0, 2.0]], [1])
    assert torch.equal(trained, risk)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_smoothing_is_in_the_training_loss_only(loss):
    perfect = [[40.0, 0.0, 0.0]] if loss == "cross_entropy" else [[1.0, 0.0, 0.0]]
    trained, risk = scored(multiclass(THREE, loss=loss, label_smoothing=0.1), perfect, [0])
    assert risk < 1e-6 < trained


def test_smoothed_binary_loss_is_the_smoothed_cross_entropy_of_two_classes():
    one, _ = scored(binary(TWO, loss="logistic", label_smoothing=0.2), [[1.7]], [1])
    two, _ = scored(multiclass(TWO, loss="cross_entropy", label_smoothing=0.2), [[0.0, 1.7]], [1])
    assert one.item() == pytest.approx(two.item(), rel=1e-6)


@pytest.mark.parametrize(
    "factory, spec, loss",
    [
        (multiclass, THREE, "cross_entropy"),
        (multiclass, THREE, "squared_error"),
        (multiclass, THREE, "hinge"),
        (one_vs_rest, THREE, "logistic"),
        (one_vs_rest, THREE, "hinge"),
        (binary, TWO, "logistic"),
        (binary, TWO, "hinge"),
        (binary, TWO, "squared_error"),
    ],
)
def test_the_risk_has_a_gradient(factory, spec, loss):
    task = factory(spec, loss=loss, label_smoothing=0.0)
    scores = torch.zeros(2, task.spec.outputs, requires_grad=True)
    task.metrics["loss"].rows(scores, Batch(torch.zeros(2, 1), torch.tensor([0, 1]))).mean().backward()
    assert scores.grad.abs().sum() > 0


@pytest.mark.parametrize("factory, loss", [(multiclass, "hinge"), (one_vs_rest, "hinge")])
def test_a_smoothed_hinge_loss_is_refused(factory, loss):
    with pytest.raises(UsageError, match=r"label_smoothing=0\.1 has no meaning for the loss hinge"):
        factory(THREE, loss=loss, label_smoothing=0.1)


@pytest.mark.parametrize("factory, loss", [(multiclass, "hinge"), (one_vs_rest, "hinge"), (binary, "hinge")])
def test_numbers_are_refused(factory, loss):
    with pytest.raises(UsageError, match="needs classes, and the targets of data set diabetes are numbers"):
        factory(NUMBERS, loss=loss, label_smoothing=0.0)


def test_three_classes_are_refused_by_the_binary_task():
    with pytest.raises(UsageError, match="needs two classes, data set iris has 3"):
        binary(THREE, loss="logistic", label_smoothing=0.0)


def test_a_single_class_is_refused():
    with pytest.raises(UsageError, match="has a single class, cat"):
        multiclass(DataSpec("pets", (4,), ("cat",)), loss="cross_entropy", label_smoothing=0.0)
