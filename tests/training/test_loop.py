"""The loop: when it logs, evaluates, saves and stops, and that none of this changes what is trained."""

import math
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dlcli.errors import Diverged, Interrupted
from dlcli.training import checkpoint
from dlcli.training.loop import checkpoint_due, fit, stretch
from dlcli.training.signals import Stop

NEVER = {"every": 1e6, "unit": "steps"}


def trained(run, folder, notebook=None, stop=None):
    fit(run, folder, {}, notebook, notebook, stop or Stop())
    return run.learners[0].parameters.weights.clone()


def saved(folder):
    return [int(path.name.removeprefix("step-")) for path in checkpoint.checkpoints(folder)]


def test_evaluating_saving_and_logging_more_often_change_no_weight(make_run, notebook, tmp_path):
    parts = {"model": ("mlp", {"dropout": 0.3, "width": 7}), "normalization": "batch", "optimizer": "adam"}
    rare = trained(make_run(**parts, evaluate_every=100, checkpoint=NEVER), tmp_path / "a", notebook)
    often = make_run(**parts, evaluate_every=1, log_every=1, checkpoint={"every": 1, "unit": "steps"})
    assert torch.equal(rare, trained(often, tmp_path / "b", notebook))


def test_a_row_holds_the_means_since_the_row_before(make_run, notebook, tmp_path):
    trained(make_run(log_every=1, steps=10, evaluate_every=100), tmp_path / "a", notebook)
    each = [values for _, _, values in notebook.rows if "train/running_loss" in values]
    notebook.rows.clear()
    trained(make_run(log_every=4, steps=10, evaluate_every=100), tmp_path / "b", notebook)
    rows = [(step, values) for step, _, values in notebook.rows if "train/running_loss" in values]
    assert [step for step, _ in rows] == [4, 8, 10]
    for name in ("train/running_loss", "train/gradient_norm"):
        expected = [sum(row[name] for row in part) / len(part) for part in (each[:4], each[4:8], each[8:])]
        assert [values[name] for _, values in rows] == pytest.approx(expected, rel=1e-12)


DECIDED = [(True, 2, 29, 3), (False, 2, 29, 1), (True, 4, 29, 1), (True, 2, 9, 1)]


@pytest.mark.parametrize(("adaptive", "step", "seconds", "expected"), DECIDED)
def test_the_first_evaluation_decides_how_rare_the_others_are(make_run, adaptive, step, seconds, expected):
    """Ten seconds of training went before it."""
    run = make_run(steps=14, evaluate_every=2)
    run.adaptive, run.state.step = adaptive, step
    run.state.seconds = {"training": 10.0, "evaluation": float(seconds)}
    stretch(run)
    assert run.state.stretch == expected


def test_dear_evaluations_stay_rare_in_the_next_process(make_run, notebook, tmp_path):
    run = make_run(steps=7, evaluate_every=2)
    run.state.stretch = 3
    trained(run, tmp_path, notebook)
    assert notebook.lines == [6, 7]
    again = make_run(steps=14, evaluate_every=2)
    loaded = checkpoint.load_newest(tmp_path, checkpoint.expect(again.tensors()), pytest.fail)
    again.restore(loaded.tensors, loaded.state)
    trained(again, tmp_path, notebook)
    assert notebook.lines == [6, 7, 12, 14]


def test_the_last_step_is_always_logged_evaluated_and_saved(make_run, notebook, tmp_path):
    trained(make_run(steps=7, log_every=50, evaluate_every=50, checkpoint=NEVER), tmp_path, notebook)
    assert [(step, epoch) for step, epoch, _ in notebook.rows] == [(7, 1.4), (7, 1.4)]
    assert saved(tmp_path) == [7]


def test_a_finished_run_takes_no_further_step(make_run, notebook, tmp_path):
    run = make_run()
    before = trained(run, tmp_path, notebook)
    notebook.rows.clear()
    assert torch.equal(trained(run, tmp_path, notebook), before) and not notebook.rows
    run.steps = 5  # fewer than were taken
    assert torch.equal(trained(run, tmp_path, notebook), before)


@pytest.mark.parametrize(
    ("every", "unit", "rested", "due"),
    [
        (3, "steps", False, [3, 6, 9]),
        (1, "epochs", False, [5, 10]),
        (0.4, "epochs", False, [2, 4, 6, 8, 10]),
        (1e-9, "minutes", False, range(1, 11)),
        ("auto", "steps", True, [5, 10]),
        ("auto", "steps", False, []),
        ("auto", "minutes", False, []),
    ],
)
def test_checkpoints_are_due_by_steps_epochs_or_minutes(make_run, every, unit, rested, due):
    run, saver, found = make_run(checkpoint={"every": every, "unit": unit}), SimpleNamespace(rested=rested), []
    for step in range(1, 11):
        run.state.step = step
        if checkpoint_due(run, saver, saved_at=0.0):
            found.append(step)
    assert found == list(due)


def test_where_a_rollback_leads_is_no_matter_of_time(make_run):
    run = make_run(checkpoint={"every": "auto", "unit": "steps"}, on_nonfinite="rollback")
    run.state.step = 5
    assert checkpoint_due(run, SimpleNamespace(rested=False), saved_at=0.0)


# Signals


def stop_at(run, step, stop, ask):
    """Ask for something within the step with this number."""
    learner = run.learners[0]

    def loss(model, batch, noise):
        if run.state.step == step - 1:
            ask(stop)
        return learner.phase.loss(model, batch, noise)

    run.learners = (learner._replace(phase=learner.phase._replace(loss=loss)),)


def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(make_run, notebook, tmp_path):
    run = make_run(checkpoint=NEVER, evaluate_every=100)
    with Stop() as stop:
        stop_at(run, 3, stop, lambda stop: signal.raise_signal(signal.SIGINT))
        with pytest.raises(Interrupted, match="stopped by signal 2 at step 3 of 12, checkpoint saved") as stopped:
            fit(run, tmp_path / "checkpoints", {}, notebook, notebook, stop)
    assert stopped.value.exit_code == 130 and stopped.value.hint == f"continue with: dlcli resume {tmp_path}"
    assert saved(tmp_path / "checkpoints") == [3]


def test_a_wish_for_a_checkpoint_is_fulfilled_once_and_training_goes_on(make_run, notebook, tmp_path):
    run, stop = make_run(steps=6, checkpoint=NEVER, evaluate_every=100), Stop()
    stop_at(run, 2, stop, lambda stop: setattr(stop, "save_now", True))
    fit(run, tmp_path, {}, notebook, notebook, stop)
    assert saved(tmp_path) == [6, 2] and not stop.save_now


# The best weights, and what must never be saved


def with_validation_risks(run, monkeypatch, values):
    values = iter(values)

    def planted(model, task, split, **named):
        return {name: np.full(1, next(values) if name == "loss" and judged(split) else 1.0) for name in task.metrics}

    def judged(split):
        return split is run.data.validation

    monkeypatch.setattr("dlcli.training.loop.evaluate", planted)


def test_the_best_on_validation_outlives_retention_and_a_nan_never_replaces_it(
    make_run, notebook, tmp_path, monkeypatch
):
    run = make_run(steps=6, evaluate_every=1, checkpoint={"every": 1, "unit": "steps", "keep": 2})
    with_validation_risks(run, monkeypatch, [3.0, 1.0, math.nan, 2.0, math.inf, 1.0])
    trained(run, tmp_path, notebook)
    assert run.state.best == (2, 1.0)
    assert saved(tmp_path) == [6, 5, 2]
    state = checkpoint.load(checkpoint.path_of(tmp_path, 6)).state
    assert [risk for _, risk in state["validation"]] == [3.0, 1.0, None, 2.0, None, 1.0]


def test_the_first_risk_being_nan_leaves_the_run_without_a_best(make_run, notebook, tmp_path, monkeypatch):
    run = make_run(steps=2, evaluate_every=1)
    with_validation_risks(run, monkeypatch, [math.nan, math.nan])
    trained(run, tmp_path, notebook)
    assert run.state.best is None


def test_a_diverged_run_leaves_only_finite_checkpoints(make_run, notebook, tmp_path):
    run = make_run(checkpoint={"every": 1, "unit": "steps", "keep": 3})

    def blow_up(stop):
        run.learners[0].parameters.weights.fill_(math.nan)

    stop_at(run, 5, None, blow_up)
    with pytest.raises(Diverged, match="the loss of phase 'train' is not finite in step 5"):
        trained(run, tmp_path, notebook)
    assert saved(tmp_path)[0] == 4
    weights = checkpoint.load(checkpoint.path_of(tmp_path, 4)).tensors["model"]
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_without_validation_nothing_is_best_and_the_test_split_is_never_read(make_run, notebook, tmp_path):
    run = make_run()

    class Sealed:
        def __len__(self):
            raise AssertionError("the test split was read")

        batch = __len__

    run.data = run.data._replace(validation=None, test=Sealed())
    trained(run, tmp_path, notebook)
    assert run.state.best is None and not run.state.validation


# Phases that do not take every turn


def test_the_means_of_a_phase_are_over_its_own_turns_at_its_own_rate(make_run, notebook, tmp_path):
    run = make_run(log_every=5, checkpoint=NEVER)
    (first,) = run.learners
    rare = first._replace(
        phase=first.phase._replace(
            name="rare", every=3, lr=0.5, loss=lambda *_: first.parameters.leaves[0].sum() * 0 + 6
        )
    )
    run.learners = (first, rare)
    fit(run, tmp_path, {}, notebook, notebook, Stop())
    rows = {step: values for step, _, values in notebook.rows if "train/lr" in values}
    assert sorted(rows) == [5, 10, 12]  # with turns of the rare phase in steps 3, 6 and 9, and 12
    assert all(values["rare/running_loss"] == 6 for values in rows.values())
    assert all(values["rare/lr"] == 0.5 * values["train/lr"] for values in rows.values())


# An evaluation that a signal cuts short


@pytest.mark.parametrize("step", [10, 12])
def test_a_signal_within_an_evaluation_does_not_wait_for_its_end(make_run, notebook, tmp_path, monkeypatch, step):
    """The step is saved without it, and the resumed run begins with it: nothing is missing in the end."""

    def rows(book):
        return [row for row in book.rows if any(name.startswith("risk/") for name in row[2])]

    trained(make_run(), tmp_path / "whole", notebook)
    whole, notebook.rows = rows(notebook), []
    run, stop, predicted = make_run(), Stop(), []
    predict = run.task.predict

    def interrupted(*arguments):
        if run.state.step == step:
            predicted.append(1)
            stop.requested = 2
        return predict(*arguments)

    monkeypatch.setattr(type(run.task), "predict", lambda self, *arguments: interrupted(*arguments))
    with pytest.raises(Interrupted, match=f"at step {step} of 12, checkpoint saved"):
        fit(run, tmp_path / "cut", {}, notebook, notebook, stop)
    assert len(predicted) == 1, "the other splits were evaluated nevertheless"
    monkeypatch.undo()
    again = make_run()
    loaded = checkpoint.load(checkpoint.path_of(tmp_path / "cut", step))
    again.restore(loaded.tensors, loaded.state)
    trained(again, tmp_path / "cut", notebook)
    assert rows(notebook) == whole and again.state.best is not None and again.state.evaluated == 12
