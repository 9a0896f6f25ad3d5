"""Diagnostics against closed forms, and a run that does not notice them."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from dlcli import build
from dlcli.config import load_checked
from dlcli.training import diagnostics
from dlcli.training.diagnostics import (
    dead_units,
    diagnose,
    effective_rank,
    gradient_noise_scale,
    sharpness,
    update_ratios,
)
from dlcli.training.events import event_files
from dlcli.training.step import take_step

LINEAR = ("dataset=linear_regression", "model=linear", "optimizer=sgd", "optimizer.lr=0.01")


@pytest.fixture(scope="module")
def linear():
    run = build.build(load_checked(LINEAR))
    batch = run.data.train.batch(slice(1000))
    inputs = torch.cat([batch.inputs.flatten(1), torch.ones(len(batch.inputs), 1)], 1).double().numpy()
    return run, batch, inputs


def test_sharpness_is_the_greatest_eigenvalue_of_a_quadratic(linear):
    run, batch, inputs = linear
    expected = np.linalg.eigvalsh(2 * inputs.T @ inputs / len(inputs)).max()
    assert sharpness(run, run.learners[0], batch) == pytest.approx(expected, rel=0.02)


def test_the_noise_scale_is_that_of_the_gradients_of_single_examples(linear, monkeypatch):
    run, batch, inputs = linear
    monkeypatch.setattr(diagnostics, "PARTS", len(inputs) // 2)  # many parts, so that their mean is sharp
    errors = (run.model(batch.inputs) - batch.targets).detach().double().numpy()
    gradients = 2 * errors * inputs  # (n, features + 1)
    mean, n = gradients.mean(0), len(gradients)
    trace = gradients.var(0, ddof=1).sum()
    expected = trace / (mean @ mean - trace / n)
    assert gradient_noise_scale(run, run.learners[0], batch) == pytest.approx(expected, rel=0.1)
    assert 0 < expected < math.inf


def test_the_update_ratio_of_sgd_is_lr_times_gradient_over_weight(linear):
    run, _, _ = linear
    before = run.learners[0].parameters.weights.clone()
    (ratio,) = update_ratios(run).values()
    assert torch.equal(run.learners[0].parameters.weights, before)
    take_step(run)
    views = run.learners[0].parameters.views(run.learners[0].parameters.gradients)
    (name,) = [name for name, view in views.items() if view.dim() == 2]
    weights = run.learners[0].parameters.views(before)[name]
    assert ratio == pytest.approx((run.lr(run.learners[0]) * views[name].norm() / weights.norm()).item(), rel=1e-4)


def test_the_effective_rank_counts_equal_directions_and_dead_units_are_those_below_zero():
    basis = torch.linalg.qr(torch.randn(50, 4, generator=torch.Generator().manual_seed(0))).Q
    basis = torch.linalg.qr(basis - basis.mean(0)).Q
    assert effective_rank(basis) == pytest.approx(4, rel=1e-6)
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU())
    nn.init.zeros_(model[0].weight)
    model[0].bias.data = torch.tensor([-1.0, 1.0, 0.0, 2.0])
    assert dead_units(model, lambda: model(torch.zeros(3, 2))) == {"diagnostics/dead_units/1": 0.5}


@pytest.mark.parametrize(
    "parts",
    [
        ("normalization=batch", "model.dropout=0.3"),
        pytest.param(("optimizer=sgd", "training.average=0.9"), marks=pytest.mark.slow),
    ],
)
def test_a_run_ends_in_the_same_bits_with_and_without(dlcli, parts):
    options = ("dataset=digits", "model.width=16", "training.epochs=2", "decompose.budget=none", *parts)
    runs = [dlcli("train", *options, f"training.diagnostics={on}") for on in ("false", "true")]
    assert [run.code for run in runs] == [0, 0], runs[1].err
    newest = [max((run.run_dir / "checkpoints").iterdir()) for run in runs]
    for name in ("model", "optimizer"):
        without, with_them = ((path / f"{name}.safetensors").read_bytes() for path in newest)
        assert without == with_them
    events = [b"".join(path.read_bytes() for path in event_files(run.run_dir / "tensorboard")) for run in runs]
    assert b"diagnostics/" not in events[0]
    tags = (b"train/sharpness", b"train/gradient_noise_scale", b"effective_rank", b"update_ratio/", b"dead_units/")
    assert all(b"diagnostics/" + tag in events[1] for tag in tags)


def test_every_phase_of_a_game_is_diagnosed():
    run = build.build(load_checked(["model=gan", "dataset=gaussian_ring", "training.batch_size=16"]))
    take_step(run)
    found = diagnose(run)
    assert {f"diagnostics/{phase.name}/sharpness" for phase in run.task.phases} <= set(found)
    assert all(isinstance(value, float) for value in found.values())
