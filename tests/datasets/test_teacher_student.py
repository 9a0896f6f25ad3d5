from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from dlcli.datasets.teacher_student import outputs_of, random_network, sample, teacher_student

DEFAULTS = {
    "examples": 100,
    "test_examples": 50_000,
    "kind": "regression",
    "features": 6,
    "outputs": 2,
    "width": 5,
    "depth": 2,
    "activation": "relu",
    "noise": 0.1,
}


def teacher(seed=0, **changed):
    settings = {**DEFAULTS, **changed}
    network = random_network(
        seed, *(settings[name] for name in ("features", "outputs", "width", "depth", "activation"))
    )
    return partial(outputs_of, network)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_noise_of_a_regression_is_what_its_teacher_leaves(activation):
    source = teacher_student(0, **{**DEFAULTS, "activation": activation})
    residual = source.test.targets - teacher(activation=activation)(source.test.inputs)
    assert source.truth["bayes_loss"] == pytest.approx(0.01)
    assert np.mean(residual**2) == pytest.approx(0.01, abs=4 * 0.01 * np.sqrt(2 / residual.size))


def test_outputs_have_mean_zero_and_variance_one():
    outputs = teacher()(np.random.default_rng(5).standard_normal((100_000, 6)))
    assert outputs.mean(0) == pytest.approx(np.zeros(2), abs=0.05)
    assert outputs.std(0) == pytest.approx(np.ones(2), abs=0.05)


def test_a_network_of_the_same_form_can_represent_the_teacher():
    """Fitted by least squares on the teacher's own hidden units: piecewise linear in each unit's half space."""
    function, line = teacher(features=1, outputs=1, width=4, depth=1), np.linspace(-4, 4, 4001)[:, None]
    bends = np.abs(np.diff(function(line).ravel(), 2)) > 1e-9
    assert 1 <= np.count_nonzero(bends) <= 2 * 4  # a bend between two points of the grid shows at both


def test_classes_without_noise_are_the_greatest_output():
    source = teacher_student(0, **{**DEFAULTS, "kind": "classification", "outputs": 4, "noise": 0.0})
    assert np.array_equal(source.test.targets, teacher(outputs=4)(source.test.inputs).argmax(1))
    assert source.classes == ("0", "1", "2", "3") and source.truth["bayes_error"] == 0


def test_the_risk_of_noisy_classes_is_that_of_the_teachers_probabilities():
    source = teacher_student(0, **{**DEFAULTS, "kind": "classification", "outputs": 4, "noise": 0.5})
    logs = log_softmax(teacher(outputs=4)(source.test.inputs) / 0.5, axis=1)
    errors = logs.argmax(1) != source.test.targets
    losses = -torch.tensor(logs).gather(1, torch.tensor(source.test.targets)[:, None]).numpy().ravel()
    for rows, key in ((errors, "bayes_error"), (losses, "bayes_loss")):
        standard_error = np.hypot(rows.std() / np.sqrt(len(rows)), source.truth[f"{key}_se"])
        assert abs(rows.mean() - source.truth[key]) < 4 * standard_error
        assert 0 < source.truth[f"{key}_se"] < 0.01 * source.truth[key]


def test_gumbel_draws_follow_the_softmax():
    outputs = np.tile(np.log([0.5, 0.3, 0.2]), (100_000, 1))
    drawn = sample(outputs, 1.0, np.random.default_rng(0))
    assert np.bincount(drawn) / 100_000 == pytest.approx([0.5, 0.3, 0.2], abs=0.007)


def test_one_output_makes_two_classes():
    assert teacher_student(0, **{**DEFAULTS, "kind": "classification", "outputs": 1}).classes == ("0", "1")
