"""Every schedule at its key points, beside the framework's where there is one, and none with a memory."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import yaml
from torch.optim import lr_scheduler

from dlcli.protocols import Progress
from dlcli.registry import build, catalogue

CONF = Path(__file__).parents[2] / "conf" / "schedule"
STEPS, EPOCH = 200, 10


def schedule(name, **settings):
    return build("schedule", {**yaml.safe_load((CONF / f"{name}.yaml").read_text()), **settings})


def factors(name, steps=STEPS, **settings):
    factor = schedule(name, **settings)
    return [factor(Progress(step, steps, EPOCH)) for step in range(steps)]


def framework(make, steps=STEPS, lr=1.0):
    """The learning rates of a torch scheduler that is stepped after every update."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler, found = make(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_constant_is_one():
    assert set(factors("constant")) == {1.0}


def test_cosine_is_the_frameworks():
    expected = framework(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, STEPS, eta_min=0.1))
    assert factors("cosine", warmup=0.0, final=0.1) == pytest.approx(expected, rel=1e-9)


def test_linear_is_the_frameworks():
    make = lambda optimizer: lr_scheduler.LinearLR(optimizer, 1.0, 0.2, total_iters=STEPS)  # noqa: E731
    assert factors("linear", warmup=0.0, final=0.2) == pytest.approx(framework(make), rel=1e-9)


def test_step_is_the_frameworks_with_epochs_as_unit():
    expected = framework(lambda optimizer: lr_scheduler.StepLR(optimizer, 3 * EPOCH, gamma=0.3))
    assert factors("step", every=3, factor=0.3) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("anneal", ["cosine", "linear"])
@pytest.mark.parametrize("rise", [0.3, 0.05])
def test_one_cycle_is_the_frameworks(anneal, rise):
    def make(optimizer):
        settings = {"pct_start": rise, "anneal_strategy": "cos" if anneal == "cosine" else anneal}
        return lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=STEPS + 1, cycle_momentum=False, **settings)

    ours = [schedule("one_cycle", rise=rise, anneal=anneal)(Progress(step, STEPS + 1, EPOCH)) for step in range(STEPS)]
    assert ours == pytest.approx(framework(make), rel=1e-9)


def test_one_cycle_starts_low_peaks_once_and_ends_lowest():
    found = factors("one_cycle", rise=0.25, initial=0.1, final=1e-3)
    assert (found[0], max(found), found[-1]) == pytest.approx((0.1, 1.0, 1e-3))
    peak = found.index(max(found))
    assert found[: peak + 1] == sorted(found[: peak + 1]) and found[peak:] == sorted(found[peak:], reverse=True)


@pytest.mark.parametrize("name", ["warmup", "linear", "cosine"])
def test_a_rise_is_linear_moves_from_the_first_update_and_ends_at_the_full_rate(name):
    found = factors(name, warmup=0.1)
    assert found[:20] == pytest.approx([(step + 1) / 21 for step in range(20)])
    assert found[20] == 1.0
    assert name != "warmup" or set(found[20:]) == {1.0}


@pytest.mark.parametrize("name", sorted(set(catalogue("schedule")) - {"plateau"}))
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_runs_have_finite_factors_in_range(name, steps):
    changes = {"warmup": 1.0} if "warmup" in catalogue("schedule")[name].settings else {}
    for settings in ({}, changes):
        assert all(0 <= factor <= 1 for factor in factors(name, steps, **settings))


# Plateau


def plateau(risks, **settings):
    settings = {"factor": 0.5, "patience": 1, "threshold": 0.01, "final": 0.0, **settings}
    history = tuple(enumerate(risks))
    return schedule("plateau", **settings)(Progress(100, STEPS, EPOCH, history))


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_plateau_falls_where_the_frameworks_falls(patience):
    draw = torch.Generator().manual_seed(0)
    risks = (torch.linspace(2, 1, 60) + 0.1 * torch.randn(60, generator=draw)).tolist()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    reference = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience, threshold=0.01)
    found = []
    for seen in range(1, len(risks) + 1):
        reference.step(risks[seen - 1])
        found.append(optimizer.param_groups[0]["lr"])
        assert plateau(risks[:seen], patience=patience) == pytest.approx(found[-1], abs=1e-7)  # the framework's least
    assert len(set(found)) > 3


def test_plateau_is_a_function_of_the_history_alone():
    factor = schedule("plateau", patience=0)
    histories = [tuple(enumerate([1.0] * length)) for length in (5, 1, 3)]
    once = [factor(Progress(0, STEPS, EPOCH, history)) for history in histories]
    again = [factor(Progress(77, STEPS, EPOCH, history)) for history in reversed(histories)]
    assert once == again[::-1] and once[1] == 1.0 > once[2] > once[0]


def test_plateau_never_falls_below_its_final_share():
    assert plateau([1.0] * 100, final=0.2) == 0.2


def test_plateau_takes_nan_for_no_improvement_and_an_improvement_of_negative_risks_for_one():
    assert plateau([1.0, math.nan, math.nan]) == 0.5
    assert plateau([math.nan, math.nan, 1.0, 0.9]) == 0.5
    assert plateau([-1.0, -1.1, -1.2, -1.3, -1.4]) == 1.0
    assert plateau([-1.0, -1.001, -1.002]) == 0.5
