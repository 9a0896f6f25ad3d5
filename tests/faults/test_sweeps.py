"""Group S of the catalogue: what befalls a sweep costs no job that was done, and the rest goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.conftest import Ended, small_disk
from tests.faults.left_behind import differences, newest_good, outcome
from tests.faults.runs import COMMON, KINDS
from tests.faults.told import told

SWEEP = ["train", "-m", *KINDS["batch norm and dropout"], "training.epochs=2", *COMMON]
JOBS = ("seed=0", "seed=1", "seed=2")
WORDS = [*SWEEP, "seed=0,1,2"]
IN_THE_SECOND = ["dlcli.training.loop:take_step", 24 + 10, 2]  # seconds that this step takes; a job has 24 of them


@pytest.fixture(scope="module")
def unbroken_jobs(warm, tmp_path_factory):
    root = tmp_path_factory.mktemp("swept") / "sweep"
    ended = warm.run(*WORDS, f"run_dir={root}")
    assert ended.code == 0, ended
    return {job: outcome(root / job) for job in JOBS}


def check_complete(root, unbroken_jobs):
    for job in JOBS:
        assert not differences(outcome(root / job), unbroken_jobs[job]), job
    rows = (root / "results.csv").read_text().splitlines()
    assert len(rows) == 1 + len(JOBS)


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_sweep_that_is_stopped_goes_on_with_what_is_left(warm, unbroken_jobs, tmp_path, number):
    root = tmp_path / "sweep"
    process = warm.start(*WORDS, f"run_dir={root}", function=IN_THE_SECOND)
    process.wait_for("asleep")
    told(warm.run("resume", root), 9, f"process {process.pid}")
    told(warm.run(*WORDS, f"run_dir={root}"), 2, "not empty")
    process.send(number)
    ended = process.wait()
    if number == signal.SIGKILL:
        assert ended.code == -9
    else:
        ended = ended._replace(err=ended.err.replace("asleep\nawake\n", ""))
        told(ended, 128 + number, f"stopped by signal {number}", "2 jobs of the sweep are left", f"dlcli resume {root}")
    done = {path: path.stat().st_mtime_ns for path in (root / JOBS[0]).rglob("*")}
    assert not (root / JOBS[2]).exists()
    ended = warm.run("resume", root)
    assert ended.code == 0, ended
    assert {path: path.stat().st_mtime_ns for path in (root / JOBS[0]).rglob("*")} == done, "a finished job ran again"
    check_complete(root, unbroken_jobs)


@pytest.mark.faults
def test_a_full_disk_stops_the_sweep_and_keeps_the_jobs_that_were_done(warm, unbroken_jobs, tmp_path):
    with small_disk(tmp_path / "disk", 1300) as disk:  # a save wants a megabyte to spare
        root = disk / "sweep"
        told(warm.run(*WORDS, f"run_dir={root}"), 6)
        done = [job for job in JOBS if (root / job / "summary.json").exists()]
        assert 1 <= len(done) < len(JOBS)
        begun = [job for job in JOBS if (root / job).exists()]
        assert len(begun) <= len(done) + 1, "a job was begun on a full disk"
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        ended = warm.run("resume", root)
        assert ended.code == 0, ended
        check_complete(root, unbroken_jobs)


# Launchers that run several jobs at a time

LONG = [*SWEEP, "training.epochs=400", "training.evaluate_every=1000", "checkpoint.every=200", "seed=0,1,2"]


@pytest.fixture(scope="module", params=["process", "ensemble"])
def launched(request, warm, tmp_path_factory):
    """A launcher, and what its jobs learn when nothing disturbs them."""
    root = tmp_path_factory.mktemp("long") / "sweep"
    ended = warm.run(*LONG, f"hydra/launcher={request.param}", f"run_dir={root}")
    assert ended.code == 0, ended
    return request.param, {job: learned(root / job) for job in JOBS}


def learned(folder):
    """All but the decomposition: its pool is the runs that had ended before, and of several at a time any may."""
    found = outcome(folder)
    return {name: found[name] for name in ("checkpoints", "model", "optimizer", "state", "status")}


def of_this_sweep(mark):
    """The processes that were started with it in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL],
                         ids=lambda number: number.name)  # fmt: skip
def test_a_signal_to_a_sweep_of_several_jobs_at_a_time(warm, cold, launched, tmp_path, number):
    """All save and end, also where the sweep itself is killed; nobody is left; and the rest is done to the bit.

    Not so where one job of an ensemble had nothing saved yet: it then goes on alone, whose sums end in other bits.
    """
    (launcher, undisturbed), root, mark = launched, tmp_path / "sweep", f"mark={tmp_path}"
    words = [*LONG, f"hydra/launcher={launcher}", f"run_dir={root}"]
    process = cold(*words, env={"mark": str(tmp_path)}, start_new_session=True)
    until, running = time.monotonic() + 100, JOBS if launcher == "ensemble" else JOBS[:2]
    while not all(any((root / job / "checkpoints").glob("step-*")) for job in running):
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    ended = Ended(process.returncode, out, err)
    if number == signal.SIGKILL:
        assert ended.code == -9
    else:
        told(ended, 128 + number, f"stopped by signal {number}", "jobs of the sweep are left", f"dlcli resume {root}")
    until = time.monotonic() + 10
    while of_this_sweep(mark):
        assert time.monotonic() < until, "somebody was left behind"
        time.sleep(0.05)
    for job in running if launcher == "process" or number != signal.SIGKILL else ():
        status = json.loads((root / job / "status.json").read_text())
        assert status["state"] == "interrupted" and newest_good(root / job) == status["step"] < 4800
    ended = warm.run("resume", root)
    assert ended.code == 0, ended
    assert {job: learned(root / job) for job in JOBS} == undisturbed


@pytest.mark.faults
def test_names_that_look_alike_in_a_path_are_different_jobs(warm, tmp_path):
    root = tmp_path / "sweep"
    ended = warm.run(*SWEEP, "training.epochs=1", "tags=[a/b],[a:b],[a b],[../x]", f"run_dir={root}")
    assert ended.code == 0, ended
    folders = sorted(path.parent for path in root.rglob("config.yaml"))
    assert len(folders) == 4 and all(folder.parent == root for folder in folders)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sweep"]


@pytest.mark.parametrize("words", [["seed=1,1"], ["seed=range(1,1)"], ["seed=0,1", "optimizer.lr=0.1,x"]])
def test_a_bad_grid_is_refused_before_the_first_job(warm, words):
    process = warm.start(*SWEEP, *words)
    told(process.wait(), 2)
    assert not (process.room / "outputs").exists()
