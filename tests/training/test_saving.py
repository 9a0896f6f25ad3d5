"""Saving beside training: what waits for the disk, what does not, and what a failing disk is told as."""

import math
import threading
import time

import pytest
import torch

from dlcli.errors import Diverged, Interrupted, StorageError
from dlcli.training import checkpoint, durable, saving
from dlcli.training.loop import fit
from dlcli.training.saving import Saver
from dlcli.training.signals import Stop

SECONDS = 20  # more than anything here takes


@pytest.fixture
def disk(monkeypatch):
    """Writing a checkpoint waits for `disk.go`; `disk.reached` tells that it waits; `disk.fault` is raised then."""

    class Disk:
        go, reached, fault, saved = threading.Event(), threading.Event(), None, []

    write = checkpoint.save

    def slow(folder, taken, identity, rest):
        Disk.reached.set()
        assert Disk.go.wait(SECONDS)
        if Disk.fault:
            raise Disk.fault
        Disk.saved.append(taken.step)
        return write(folder, taken, identity, rest)

    monkeypatch.setattr(checkpoint, "save", slow)
    return Disk


def saver_of(run, folder, notebook, acknowledged):
    return Saver(run, folder, {}, notebook, lambda step, seconds: acknowledged.append(step))


def test_what_is_saved_is_the_state_of_its_step(make_run, notebook, tmp_path, disk):
    run, acknowledged = make_run(), []
    with saver_of(run, tmp_path, notebook, acknowledged) as saver:
        before = run.learners[0].parameters.weights.clone()
        saver.save()
        assert disk.reached.wait(SECONDS) and not acknowledged
        run.learners[0].parameters.weights.add_(1)  # training goes on
        run.state.step += 1
        disk.go.set()
    found = checkpoint.load(checkpoint.path_of(tmp_path, 0))
    run.restore(found.tensors, found.state)
    assert torch.equal(run.learners[0].parameters.weights, before) and run.state.step == 0
    assert acknowledged == [0]


def test_writing_rests_between_slices_until_somebody_waits_for_it(make_run, notebook, tmp_path, monkeypatch):
    monkeypatch.setattr(durable, "SLICE", 256)
    monkeypatch.setattr(saving, "IDLE", 1e9)
    run, acknowledged = make_run(), []
    with saver_of(run, tmp_path, notebook, acknowledged) as saver:
        saver.save()
        time.sleep(0.3)
        assert not acknowledged and not saver.rested
        saver.wait()
        assert acknowledged == [0]
    assert checkpoint.load(checkpoint.path_of(tmp_path, 0)).step == 0


def test_one_is_written_at_a_time(make_run, notebook, tmp_path, disk):
    run = make_run()
    with saver_of(run, tmp_path, notebook, []) as saver:
        saver.save()
        assert disk.reached.wait(SECONDS)
        threading.Timer(0.2, disk.go.set).start()
        run.state.step = 1
        saver.save()
        assert disk.saved[0] == 0, "the second did not wait"
    assert disk.saved == [0, 1]


def test_what_is_held_is_written_after_a_while_or_at_the_end_unless_a_better_one_came(
    make_run, notebook, tmp_path, disk, monkeypatch
):
    monkeypatch.setattr(saving, "GRACE", 1e9)
    run, written = make_run(), []
    disk.saved.clear()
    disk.go.set()

    def hold(saver, step):
        run.state.step, run.state.best = step, (step, 0.5)
        saver.hold()
        saver.look()

    with saver_of(run, tmp_path, notebook, written) as saver:
        hold(saver, 1)
        hold(saver, 2)
        assert not disk.saved, "the clock has not come"
        monkeypatch.setattr(saving, "GRACE", 0.0)
        saver.look()
        saver.wait()
        assert disk.saved == [2], "the better one"
        saver.look()
        monkeypatch.setattr(saving, "GRACE", 1e9)
        hold(saver, 3)
        run.state.step = 4
        saver.save()
        saver.wait()
        assert disk.saved == [2, 3, 4], "the best is kept beside the newest"
        hold(saver, 5)
        run.state.step, run.state.best = 6, (6, 0.4)
        saver.save()
        saver.wait()
        assert disk.saved == [2, 3, 4, 6], "it is the newest itself"
        hold(saver, 7)
    assert disk.saved == [2, 3, 4, 6, 7] == written
    assert checkpoint.load(checkpoint.path_of(tmp_path, 7)).state["step"] == 7


def test_a_run_that_fails_leaves_its_best_checkpoint(make_run, notebook, tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "GRACE", 1e9)
    run = make_run(steps=20, evaluate_every=5, checkpoint={"every": 100, "unit": "epochs"})
    noted = notebook.log

    def log(step, epoch, values):
        noted(step, epoch, values)
        if step == 8:
            run.learners[0].parameters.weights[0] = math.nan

    notebook.log = log
    with pytest.raises(Diverged):
        fit(run, tmp_path, {}, notebook, notebook, Stop())
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == ["step-000000005"]


def test_steps_are_taken_while_the_disk_is_busy(make_run, notebook, tmp_path, disk):
    run = make_run(steps=12, log_every=1, evaluate_every=100, checkpoint={"every": 5, "unit": "steps"})
    noted = notebook.log

    def log(step, epoch, values):
        if step == 9:  # four steps after the save, and it has not ended
            assert disk.reached.is_set() and not disk.saved
            disk.go.set()
        noted(step, epoch, values)

    notebook.log = log
    fit(run, tmp_path, {}, notebook, notebook, Stop())
    assert disk.saved == [5, 10, 12]


def test_a_disk_rests_for_a_multiple_of_what_a_save_took(make_run, notebook, tmp_path, disk, monkeypatch):
    run = make_run()
    with saver_of(run, tmp_path, notebook, []) as saver:
        assert not saver.rested, "there are only moments to be kept"
    monkeypatch.setattr(saving, "GRACE", 0)
    with saver_of(run, tmp_path, notebook, []) as saver:
        assert saver.rested
        for step, rarely, rested in ((0, 0, True), (1, 1e9, False)):
            monkeypatch.setattr(saving, "RARELY", rarely)
            run.state.step = step
            disk.go.clear()
            disk.reached.clear()
            saver.save()
            assert disk.reached.wait(SECONDS) and not saver.rested, "one is being written"
            disk.go.set()
            saver.wait()
            assert saver.rested is rested


def test_which_steps_are_saved_changes_no_number(make_run, notebook, tmp_path, monkeypatch):
    """Of `auto` the clock decides: here the disk gets no second turn before the end, or no turn at all."""
    monkeypatch.setattr(saving, "RARELY", 1e9)
    rows, weights = [], []
    for every, grace, saved in ((1, 1e9, [20, 19, 18]), ("auto", 0, [20, 5]), ("auto", 1e9, [20])):
        monkeypatch.setattr(saving, "GRACE", grace)
        run, folder = (
            make_run(steps=20, evaluate_every=100, checkpoint={"every": every, "unit": "steps"}),
            tmp_path / f"{every}-{grace}",
        )
        notebook.rows.clear()
        fit(run, folder, {}, notebook, notebook, Stop())
        assert [checkpoint.load(path).step for path in checkpoint.checkpoints(folder)] == saved
        weights.append((folder / "step-000000020" / "model.safetensors").read_bytes())
        rows.append(list(notebook.rows))
    assert weights[0] == weights[1] == weights[2] and rows[0] == rows[1] == rows[2]


@pytest.mark.parametrize("ended", ["at the end", "by a signal"])
def test_a_run_ends_only_when_its_last_checkpoint_is_durable(make_run, notebook, tmp_path, disk, ended):
    run, stop, acknowledged = make_run(steps=3, checkpoint={"every": 1e6, "unit": "steps"}), Stop(), []
    stop.requested = 15 if ended == "by a signal" else None
    threading.Timer(0.2, disk.go.set).start()
    try:
        fit(run, tmp_path, {}, notebook, notebook, stop, lambda step, seconds: acknowledged.append(step))
    except Interrupted:
        assert ended == "by a signal"
    assert acknowledged == [run.state.step]


def test_a_fault_of_the_disk_is_raised_by_the_next_step(make_run, notebook, tmp_path, disk):
    run = make_run(steps=1000, evaluate_every=1000, checkpoint={"every": 5, "unit": "steps"})
    disk.fault = StorageError("cannot write it: full", "")
    disk.go.set()
    with pytest.raises(StorageError, match="cannot write it: full"):
        fit(run, tmp_path, {}, notebook, notebook, Stop())
    assert not checkpoint.checkpoints(tmp_path)
    assert run.state.step < 1000


def test_a_fault_of_the_journal_leaves_the_checkpoint_unwritten(make_run, notebook, tmp_path):
    def flush():
        raise StorageError("no metrics", "")

    notebook.flush, acknowledged = flush, []
    with pytest.raises(StorageError, match="no metrics"), saver_of(make_run(), tmp_path, notebook, acknowledged) as it:
        it.save()
        it.wait()
    assert not acknowledged and not checkpoint.checkpoints(tmp_path)


def test_what_is_not_finite_is_refused_by_the_step_itself(make_run, notebook, tmp_path):
    run = make_run()
    run.learners[0].parameters.weights.fill_(torch.nan)
    with saver_of(run, tmp_path, notebook, []) as saver, pytest.raises(Diverged):
        saver.save()
    assert not checkpoint.checkpoints(tmp_path)


def test_an_interrupt_does_not_leave_the_disk_behind(make_run, notebook, tmp_path, disk):
    """The directory is unlocked after the block: nothing may be written any more."""
    run, acknowledged = make_run(), []
    with pytest.raises(KeyboardInterrupt), saver_of(run, tmp_path, notebook, acknowledged) as saver:
        saver.save()
        assert disk.reached.wait(SECONDS)
        threading.Timer(0.2, disk.go.set).start()
        raise KeyboardInterrupt
    assert acknowledged == [0]
