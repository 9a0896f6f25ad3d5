"""Full-batch minimization against closed forms: the decomposed risk, a penalized objective, the last layer alone."""

import numpy as np
import pytest
import torch
from torch import nn

from dlcli.build import reference_minimizer
from dlcli.training.polish import Penalty, polish
from dlcli.training.references import copy_of
from dlcli.training.refit import refit_head
from tests.training.conftest import risks


@pytest.fixture
def logistic(make_run):
    """Softmax regression of noisy patterns: convex, and not separable."""
    return make_run(model=("linear", {"depth": 0}))


def never():
    return False


def minimum(run, rate=0.0):
    """scikit-learn's own solver, on the same examples."""
    from sklearn.linear_model import LogisticRegression

    inputs, targets = run.data.train.batch(slice(None))
    n = len(targets)
    solver = LogisticRegression(C=1 / (rate * n) if rate else np.inf, tol=1e-10, max_iter=5000)
    found = solver.fit(inputs.flatten(1).double().numpy(), targets.numpy())
    scores = found.decision_function(inputs.flatten(1).double().numpy())
    return nn.functional.cross_entropy(torch.from_numpy(scores), targets).item()


def test_the_penalized_minimum_is_that_of_scikit_learn(logistic):
    model = copy_of(logistic.model)
    reached = polish(
        model,
        logistic.task,
        logistic.data.train,
        reference_minimizer(),
        500,
        never,
        penalty=Penalty(0.05, matrices=True),
    )
    assert reached.after < reached.before and reached.evaluations <= 500
    assert risks(model, logistic.task, logistic.data.train)["loss"] == pytest.approx(minimum(logistic, 0.05), abs=1e-5)


def test_the_run_is_left_alone_and_the_budget_kept(logistic):
    before = {name: tensor.clone() for name, tensor in logistic.model.state_dict().items()}
    model = copy_of(logistic.model)
    reached = polish(model, logistic.task, logistic.data.train, reference_minimizer(), 7, never)
    assert reached.evaluations <= 8
    assert all(torch.equal(tensor, before[name]) for name, tensor in logistic.model.state_dict().items())
    assert risks(model, logistic.task, logistic.data.train)["loss"] == pytest.approx(reached.after, abs=1e-6)


def test_it_ends_when_asked(logistic):
    asked = iter([False, True])
    model = copy_of(logistic.model)
    assert (
        polish(model, logistic.task, logistic.data.train, reference_minimizer(), 500, lambda: next(asked)).evaluations
        < 50
    )


def test_a_refit_leaves_the_features_and_finds_the_minimum_over_the_head(make_run):
    run = make_run(model=("mlp", {"width": 3, "depth": 1}))
    model, inputs = copy_of(run.model), run.data.train.batch(slice(None)).inputs
    features = model.body(inputs)
    refit_head(model, run.task, run.data.train, reference_minimizer(), 1000)
    assert torch.equal(model.body(inputs), features)
    head = nn.Linear(3, 3).double()
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=2000, tolerance_grad=1e-12, line_search_fn="strong_wolfe")
    targets = run.data.train.batch(slice(None)).targets

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(head(features.detach().double()), targets)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert risks(model, run.task, run.data.train)["loss"] == pytest.approx(closure().item(), abs=1e-4)


def test_every_example_counts_once_in_the_objective(logistic):
    """The mean over chunks of unequal size, weighted: the value at the start is the risk itself."""
    model = copy_of(logistic.model)
    reached = polish(model, logistic.task, logistic.data.train, reference_minimizer(), 3, never)
    assert reached.before == pytest.approx(risks(logistic.model, logistic.task, logistic.data.train)["loss"], abs=1e-6)
