"""Sweeps whose jobs are processes: the same runs as one after the other, and no job hurts another."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from hydra.core.plugins import Plugins

from dlcli.sweeps.processes import reason
from dlcli.training import cores
from hydra_plugins.dlcli.process import ProcessLauncher, shared_out
from tests.sweeps.faulty import FAULTY

QUICK = ("dataset=digits", "model.width=16", "training.epochs=2", "decompose.budget=none", "training.threads=1")
PARALLEL = ("train", "-m", "hydra/launcher=process", "hydra.launcher.slots=2")


@pytest.fixture
def faulty(dlcli, tmp_path):
    """The words that give the jobs of a sweep the fault `initialization.deed`."""
    (tmp_path / "faulty.py").write_text(FAULTY)
    (tmp_path / "conf" / "initialization").mkdir(parents=True)
    (tmp_path / "conf" / "initialization" / "faulty.yaml").write_text("name: faulty\ndeed: none\n")
    return ("--plugin", "faulty", "initialization=faulty", "initialization.deed=none,raise,kill,exhaust")


def test_the_server_of_the_forks_is_ready_for_a_whole_job_and_takes_nothing_apart_at_its_end():
    program = (
        "import os, sys\n"
        "class Kept:\n"
        "    def __del__(self, write=os.write): write(1, b'taken apart')\n"
        "kept = Kept()\n"
        "import dlcli.sweeps.warm\n"
        "print(sorted({'torch', 'dlcli.conclusion.conclude'} & set(sys.modules)), flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "['dlcli.conclusion.conclude', 'torch']\n"


def weights(run_dir):
    newest = max((run_dir / "checkpoints").iterdir())
    return safetensors.torch.load_file(newest / "model.safetensors")


def same_weights(first, second):
    return all(torch.equal(tensor, weights(second)[name]) for name, tensor in weights(first).items())


def status(run_dir):
    return json.loads((run_dir / "status.json").read_text())["state"]


def test_a_job_that_raises_is_killed_or_runs_out_of_memory_hurts_no_other_and_resume_completes(dlcli, faulty, tmp_path):
    swept = dlcli(*PARALLEL, *QUICK, *faulty, "seed=2", "run_dir=swept")
    assert swept.code == 11 and "3 of 4 jobs failed" in swept.err, swept.err
    lines = {line.split()[1]: line for line in swept.out.splitlines() if line.startswith("[")}
    assert "test loss" in lines["initialization.deed=none"]
    assert "FAILED: RuntimeError: a bug of the user" in lines["initialization.deed=raise"]
    assert "FAILED: killed by signal 9 (SIGKILL)" in lines["initialization.deed=kill"]
    assert "FAILED: out of memory" in lines["initialization.deed=exhaust"]
    assert len((tmp_path / "swept" / "results.csv").read_text().splitlines()) == 5
    (tmp_path / "cured").touch()
    assert dlcli("resume", "swept", "--plugin", "faulty").code == 0
    assert dlcli("train", *QUICK, "seed=2", "run_dir=alone").code == 0
    for deed in ("none", "raise", "kill", "exhaust"):
        assert same_weights(tmp_path / "alone", tmp_path / "swept" / f"initialization.deed={deed}")


@pytest.mark.slow
def test_of_32_jobs_three_fail_in_three_ways_29_finish_and_resume_completes(dlcli, tmp_path):
    deeds = "deed = {7: 'raise', 13: 'kill', 21: 'exhaust'}.get(number, 'none')"
    numbered = FAULTY.replace('deed: Literal["none", "raise", "kill", "exhaust"]', "number: int")
    (tmp_path / "numbered.py").write_text(numbered.replace("    def act", f"    {deeds}\n    def act"))
    (tmp_path / "conf" / "initialization").mkdir(parents=True)
    (tmp_path / "conf" / "initialization" / "faulty.yaml").write_text("name: faulty\nnumber: 0\n")
    plugin = ("--plugin", "numbered")
    jobs = ("initialization=faulty", "initialization.number=range(32)", "run_dir=swept")
    swept = dlcli(*PARALLEL, *QUICK, *plugin, *jobs)
    assert swept.code == 11 and "3 of 32 jobs failed" in swept.err, swept.err
    folders = {number: tmp_path / "swept" / f"initialization.number={number}" for number in range(32)}
    finished = {number for number, folder in folders.items() if (folder / "summary.json").exists()}
    assert finished == set(range(32)) - {7, 13, 21}
    written = {number: (folders[number] / "summary.json").stat().st_mtime_ns for number in finished}
    (tmp_path / "cured").touch()
    resumed = dlcli("resume", "swept", *plugin)
    assert resumed.code == 0, resumed.err
    assert {number: (folders[number] / "summary.json").stat().st_mtime_ns for number in finished} == written
    assert all(same_weights(folders[0], folder) for folder in folders.values())
    assert len((tmp_path / "swept" / "results.csv").read_text().splitlines()) == 33


def test_a_signal_stops_every_job_with_a_checkpoint_and_resume_completes(dlcli, tmp_path):
    jobs = [tmp_path / "swept" / f"seed={seed}" for seed in (1, 2, 3)]

    def interrupt():
        while not all((job / "metrics.jsonl").exists() for job in jobs[:2]):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    long = (*QUICK, "training.epochs=3000", "seed=1,2,3", "run_dir=swept")
    threading.Thread(target=interrupt).start()
    stopped = dlcli(*PARALLEL, *long)
    assert stopped.code == 130 and "stopped by signal 2; 3 jobs of the sweep are left" in stopped.err
    assert [status(job) for job in jobs[:2]] == ["interrupted"] * 2 and not jobs[2].exists()
    assert all(any((job / "checkpoints").iterdir()) for job in jobs[:2])
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (-9, "killed by signal 9 (SIGKILL); by somebody, or by the system for want of memory"),
        (-11, "killed by signal 11 (SIGSEGV)"),
        (3, "its process ended with exit code 3, see train.log"),
    ],
)
def test_a_process_that_says_nothing_is_told_by_its_exit_code(code, told):
    assert reason(code) == told


@pytest.mark.parametrize(
    ("gpus", "devices", "shares"),
    [
        ([], 2, []),
        (["0", "1", "2"], 1, ["0", "1", "2"]),
        (["4", "5", "6", "7"], 2, ["4,5", "6,7"]),
        (["0", "1", "2"], 2, ["0,1"]),
        (["0"], 2, ["0"]),
    ],
)
def test_a_job_for_several_devices_sees_as_many_gpus(gpus, devices, shares):
    assert shared_out(gpus, devices) == shares


@pytest.mark.parametrize(("devices", "at_once"), [([1, 1], 4), ([1, 2], 2), ([3, 3], 1), ([8], 1)])
def test_jobs_for_several_devices_do_not_fill_the_cores_several_times(monkeypatch, devices, at_once):
    monkeypatch.setattr(cores, "allowed_cores", lambda: 4)
    jobs = [SimpleNamespace(config={"training": {"device": "cpu", "devices": count}}) for count in devices]
    assert ProcessLauncher("auto", 1).place(jobs).slots == at_once


def test_a_launcher_that_gives_up_fails_the_sweep_and_a_resume_goes_on(dlcli, monkeypatch):
    def given_up(arguments):
        raise BrokenProcessPool("a worker process managed by the executor was unexpectedly terminated")

    with monkeypatch.context() as patched:
        patched.setattr(Plugins, "instantiate_sweeper", lambda self, **given: SimpleNamespace(sweep=given_up))
        broken = dlcli("train", "-m", "dataset=iris", "training.epochs=1", "seed=0,1", "run_dir=sweep")
    assert broken.code == 11 and "error: a process of the launcher was killed" in broken.err
    assert "hint: go on with: dlcli resume sweep" in broken.err
    assert dlcli("resume", "sweep").code == 0 and Path("sweep/seed=1/summary.json").exists()
