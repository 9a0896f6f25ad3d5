"""The risk is that of one fixed function: traps 2, 3 and 4 of any decomposition, each sprung here on purpose."""

import numpy as np
import pytest
import torch
from torch import nn

from dlcli.datasets.resident import Resident
from dlcli.protocols import DataSpec
from dlcli.tasks.classification import multiclass
from dlcli.training.evaluate import evaluate, risks

SPEC = DataSpec("planted", (6,), classes=("a", "b", "c"))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


@pytest.fixture
def split():
    """101 examples, sorted by class; the last one is far off, so a mean of batch means would show."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(101, 6, generator=generator)
    inputs[-1] *= 1000
    return Resident(inputs, torch.arange(101) * 3 // 101)


TASK = multiclass(SPEC, loss="cross_entropy", label_smoothing=0.0)


def test_the_risk_does_not_depend_on_the_evaluation_batch_size(model, split):
    whole = risks(model, TASK, split, chunk=1000)
    for chunk in (1, 7, 100):
        assert risks(model, TASK, split, chunk=chunk) == pytest.approx(whole, rel=1e-5)


def test_the_risk_is_the_mean_over_all_examples_in_evaluation_mode(model, split):
    everything = split.batch(slice(None))
    with torch.no_grad():
        logits = model.eval()(everything.inputs)
    expected = nn.functional.cross_entropy(logits.double(), everything.targets).item()
    assert risks(model.train(), TASK, split, chunk=10)["loss"] == pytest.approx(expected, rel=1e-6)


def test_evaluating_changes_nothing_in_the_model(model, split):
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, second = evaluate(model, TASK, split), evaluate(model, TASK, split)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_every_example_has_its_row(model, split):
    rows = evaluate(model, TASK, split, chunk=100)
    assert {name: values.shape for name, values in rows.items()} == {"loss": (101,), "error": (101,)}
    assert rows["loss"].dtype == np.float64


def test_the_order_of_the_examples_does_not_matter(model, split):
    order = torch.randperm(101, generator=torch.Generator().manual_seed(2))
    shuffled = Resident(*(tensor[order] for tensor in split.batch(slice(None))))
    assert risks(model, TASK, shuffled) == pytest.approx(risks(model, TASK, split), rel=1e-6)
