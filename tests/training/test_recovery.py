"""Turns that are skipped, and returns to an older checkpoint: what they change, and what they leave alone."""

import math
from functools import partial

import pytest
import torch

from dlcli.errors import Diverged, MemoryShortage
from dlcli.training import checkpoint, recovery
from dlcli.training.directory import RunDirectory
from dlcli.training.loop import alone, course, fit
from dlcli.training.recovery import advice, train_on
from dlcli.training.signals import Stop
from dlcli.training.step import MOST_SKIPPED, take_step
from dlcli.training.tracker import Tracker, read_metrics

PARTS = {"model": ("mlp", {"width": 7, "dropout": 0.2}), "normalization": "batch", "optimizer": "adam"}


def spoil(run, steps, value=math.nan):
    """Make the loss of these steps another value, after its forward pass has moved the running statistics."""
    phase = run.learners[0].phase
    learner = run.learners[0]._replace(
        phase=phase._replace(
            loss=lambda model, batch, noise: phase.loss(model, batch, noise) * (value if run.state.step in steps else 1)
        )
    )
    run.learners = (learner,)
    return run


def everything(run):
    return [tensor.clone() for named in run.tensors().values() for tensor in named.values()]


def test_a_skipped_turn_changes_nothing(make_run):
    run = spoil(make_run(**PARTS, on_nonfinite="skip"), {3})
    for step in range(6):
        before = everything(run)
        measured = take_step(run)
        run.state.step += 1
        same = all(map(torch.equal, before, everything(run)))
        assert same == (step == 3) == ("train/skipped" in measured)
    assert (run.state.skipped, run.state.skipped_in_a_row) == (1, 0)


def test_the_means_leave_out_what_was_skipped(make_run, notebook, tmp_path):
    run = spoil(make_run(**PARTS, on_nonfinite="skip", log_every=5, steps=10), {3})
    fit(run, tmp_path, {}, notebook, notebook, Stop())
    rows = [values for _, _, values in notebook.rows if "train/running_loss" in values]
    assert [row.get("train/skipped") for row in rows] == [1, None]
    assert all(math.isfinite(value) for row in rows for value in row.values())


def test_too_many_skipped_in_a_row_diverge(make_run):
    run = spoil(make_run(**PARTS, on_nonfinite="skip"), range(100))
    with pytest.raises(Diverged, match=f"{MOST_SKIPPED} times in a row, up to step {MOST_SKIPPED}"):
        for _ in range(20):
            take_step(run)
            run.state.step += 1


def returned(run, directory, tracker, notebook):
    lines = []
    begin = partial(course, run, directory.checkpoints, {}, tracker, notebook, Stop())
    alone(train_on(begin, run, directory, tracker, lines.append))
    return lines


def test_a_return_goes_on_from_the_checkpoint_with_half_the_rate(make_run, notebook, tmp_path):
    """The loss is spoiled until the rate is low enough."""
    run = make_run(**PARTS, on_nonfinite="rollback", log_every=1, steps=12, checkpoint={"every": 5, "unit": "steps"})
    phase = run.learners[0].phase

    def loss(model, batch, noise):
        spoiled = run.state.step == 7 and run.state.lr_scale > 0.3
        return phase.loss(model, batch, noise) * (math.nan if spoiled else 1)

    run.learners = (run.learners[0]._replace(phase=phase._replace(loss=loss)),)
    with RunDirectory(tmp_path) as directory, Tracker(tmp_path) as tracker:
        lines = returned(run, directory, tracker, notebook)
    assert [line.split("; ")[1] for line in lines] == [
        "back to step 5 with 0.5 of the learning rate",
        "back to step 5 with 0.25 of the learning rate",
    ]
    rows = [row for row in read_metrics(tmp_path) if "train/lr" in row]
    assert [row["step"] for row in rows] == list(range(1, 13))
    whole = make_run(**PARTS, steps=12)
    rates = [row["train/lr"] for row in rows]
    expected = []
    for step in range(1, 13):
        whole.state.step = step
        expected.append(whole.learners[0].lr(whole.progress()) * (1 if step <= 5 else 0.25))
    assert rates == pytest.approx(expected)
    loaded = checkpoint.load(checkpoint.checkpoints(tmp_path / "checkpoints")[0])
    assert (loaded.state["rollbacks"], loaded.state["lr_scale"]) == (2, 0.25)


def test_returns_end(make_run, notebook, tmp_path):
    run = spoil(make_run(**PARTS, on_nonfinite="rollback"), {2})
    told = r"after 3 returns .* the last good checkpoint is step-000000000"
    with RunDirectory(tmp_path) as directory, Tracker(tmp_path) as tracker, pytest.raises(Diverged, match=told):
        returned(run, directory, tracker, notebook)


def test_advice_is_tried(make_run, monkeypatch):
    run = make_run(**PARTS)
    monkeypatch.setattr(recovery, "fits", lambda run, parts: parts >= 4)
    size = -(-run.batches.batch_size // 4)
    assert advice(run, MemoryShortage("")) == (
        f"training.accumulate=4 fits here (tried) and keeps the batch of {run.batches.batch_size}; "
        f"training.batch_size={size} fits too"
    )
    monkeypatch.setattr(recovery, "fits", lambda run, parts: False)
    assert advice(run, MemoryShortage("")) == ""


def test_trying_moves_no_weight(make_run):
    run = make_run(**PARTS)
    before = run.learners[0].parameters.weights.clone()
    assert recovery.fits(run, 2) and torch.equal(before, run.learners[0].parameters.weights)
