"""Courses driven together: each logs, evaluates, saves, fails and ends as it does alone."""

import threading
from functools import partial

import pytest
import torch

from dlcli.build import reference_optimizer
from dlcli.errors import Diverged, Interrupted
from dlcli.training import checkpoint
from dlcli.training.checkpoint import checkpoints, load
from dlcli.training.loop import course, fit
from dlcli.training.references import continue_training
from dlcli.training.signals import Stop
from dlcli.training.together import continue_together, together


@pytest.fixture
def start(make_run, tmp_path):
    """(seed, **settings) -> run, its notebook, its course."""

    def started(notebook, place, seed, stop=None, **settings):
        run = make_run(seed=seed, **settings)
        folder = tmp_path / place
        folder.mkdir()
        return run, partial(course, run, folder / "checkpoints", {}, notebook, notebook, stop or Stop())

    return started


def pair(start, notebook, settings):
    """The same runs in one program, and one after the other."""
    joined = [(type(notebook)(), *start(None, f"joined{seed}", seed, **each)) for seed, each in enumerate(settings)]
    single = [(type(notebook)(), *start(None, f"single{seed}", seed, **each)) for seed, each in enumerate(settings)]
    return joined, single


def begin(notes, of_run):
    return of_run.func(of_run.args[0], of_run.args[1], {}, notes, notes, of_run.args[5])


LIMIT = 8


def room(run):
    return LIMIT


def test_runs_that_end_together_are_written_at_the_same_time(start, notebook, monkeypatch):
    """Each writing waits for the other; one after the other they would break the barrier."""
    both, write = threading.Barrier(2, timeout=20), checkpoint.save

    def meet(*arguments):
        both.wait()
        return write(*arguments)

    monkeypatch.setattr(checkpoint, "save", meet)
    settings = [{"steps": 4, "evaluate_every": 100, "checkpoint": {"every": 100, "unit": "epochs"}}] * 2
    joined, _ = pair(start, notebook, settings)
    together((begin(notes, way) for notes, _, way in joined), room)
    assert [len(checkpoints(way.args[1])) for _, _, way in joined] == [1, 1]


def test_runs_of_different_lengths_log_and_evaluate_as_alone(start, notebook):
    settings = [{"steps": 12}, {"steps": 7}, {"steps": 12, "log_every": 3}, {"steps": 9, "batch_size": 4}]
    joined, single = pair(start, notebook, settings)
    together((begin(notes, way) for notes, _, way in joined), room)
    for notes, run, way in single:
        fit(run, way.args[1], {}, notes, notes, Stop())
    for (found, run, _), (expected, alone, _) in zip(joined, single, strict=True):
        torch.testing.assert_close(run.learners[0].parameters.weights, alone.learners[0].parameters.weights)
        assert [row[:2] for row in found.rows] == [row[:2] for row in expected.rows] and found.lines == expected.lines
        for (_, _, values), (_, _, others) in zip(found.rows, expected.rows, strict=True):
            assert values == pytest.approx(others, rel=1e-5)


def test_a_run_that_fails_ends_alone_and_its_fault_is_raised_at_the_end(start, notebook):
    joined, single = pair(start, notebook, [{}, {"optimizer": ("sgd", {"lr": 1e30})}, {}])
    with pytest.raises(Diverged, match="not finite"):
        together((begin(notes, way) for notes, _, way in joined), room)
    for number in (0, 2):
        notes, run, way = single[number]
        fit(run, way.args[1], {}, notes, notes, Stop())
        assert joined[number][1].state.step == run.steps
        torch.testing.assert_close(joined[number][1].learners[0].parameters.weights, run.learners[0].parameters.weights)


def test_a_signal_stops_all_with_checkpoints_that_each_goes_on_from(start, notebook, make_run):
    stop = Stop()
    joined, single = pair(start, notebook, [{"steps": 12}, {"steps": 12}])

    class Signalling(type(notebook)):
        def evaluated(self, step, epoch, values):
            stop.requested = 15

    for number in range(2):
        notes, run, way = joined[number]
        joined[number] = Signalling(), run, partial(way.func, *way.args[:5], stop)
    with pytest.raises(Interrupted, match=r"stopped by signal 15 at step [56] of 12"):
        together((begin(notes, way) for notes, _, way in joined), room)
    for seed, (_, run, way) in enumerate(joined):
        found = load(checkpoints(way.args[1])[0])
        again = make_run(seed=seed, steps=12)
        again.restore(found.tensors, found.state)
        assert again.state.step == run.state.step < 12
        fit(again, way.args[1], {}, notebook, notebook, Stop())
        notes, alone, other = single[seed]
        fit(alone, other.args[1], {}, notes, notes, Stop())
        torch.testing.assert_close(again.learners[0].parameters.weights, alone.learners[0].parameters.weights)


def test_restarts_that_are_trained_together_end_where_each_ends_alone(make_run):
    run = make_run(model=("mlp", {"width": 7, "dropout": 0.3}), normalization="batch")
    joined, single = ([make_run(seed=seed, normalization="batch").model.eval() for seed in range(3)] for _ in range(2))
    continue_together(joined, run, reference_optimizer, 9, lambda: False)
    for model in single:
        continue_training(model, run, reference_optimizer(), 9, lambda: False)
    for found, expected in zip(joined, single, strict=True):
        for name, tensor in expected.state_dict().items():
            torch.testing.assert_close(found.state_dict()[name], tensor)


def test_no_more_runs_are_under_way_than_there_is_room_for(start, notebook):
    joined, _ = pair(start, notebook, [{"steps": 3}] * 5)
    under_way, most = 0, 0

    def watched(way):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        yield from way
        under_way -= 1

    together((watched(begin(notes, way)) for notes, _, way in joined), lambda run: 2)
    assert most == 2 and all(run.state.step == 3 for _, run, _ in joined)
