"""Group S of the catalogue: what befalls a sweep costs no job that was done, and the rest goes on."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.faults.conftest import small_disk
from tests.faults.left_behind import differences, outcome
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
