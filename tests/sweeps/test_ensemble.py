"""A sweep as one program: every job has the directory, the numbers and the end that it would have alone."""

import json
import os
import signal
import threading
import time

import pytest

from dlcli import config as configs
from dlcli.sweeps import Job
from dlcli.sweeps.ensemble import carry_out
from dlcli.sweeps.stacks import parts, program
from dlcli.training import ensemble
from tests.sweeps.faulty import FAULTY

SHORT = ("dataset=iris", "model.width=5", "training.steps=60", "training.batch_size=10", "decompose.budget=none")
TOGETHER = ("-m", "hydra/launcher=ensemble", "pictures=never")


def rows(run_dir):
    """Of metrics.jsonl; what other runs have reached changes the terms of those that end after them."""
    found = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if not name.startswith("decomposition/")} for row in found]


def state(run_dir):
    return json.loads((run_dir / "status.json").read_text())["state"]


def jobs_of(folder, *points):
    configurations = [configs.load_checked([*SHORT, "training.threads=1", *words]) for words in points]
    return [
        Job(number, str(folder / str(number)), config, ("dlcli",), ())
        for number, config in enumerate(configurations, 1)
    ]


def test_a_job_leaves_what_it_leaves_alone_and_a_failed_one_costs_the_others_nothing(dlcli, summary_of):
    answer = dlcli("train", *TOGETHER, *SHORT, "seed=0,1", "optimizer.lr=0.01,1e36")
    assert answer.code == 11 and "2 of 4 jobs failed" in answer.err
    single = dlcli("train", *SHORT, "pictures=never", "seed=1", "optimizer.lr=0.01").run_dir
    among = answer.run_dir / "seed=1,optimizer.lr=0.01"
    assert [state(path) for path in sorted(answer.run_dir.glob("seed=*"))] == ["done", "failed"] * 2
    assert {path.name for path in among.iterdir()} | {"report.html"} == {path.name for path in single.iterdir()}
    for found, expected in zip(rows(among), rows(single), strict=True):
        assert found == pytest.approx(expected, rel=1e-4)
    assert summary_of(among)["keys"] == summary_of(single)["keys"]
    log = (sorted(answer.run_dir.glob("seed=0,*"))[1] / "train.log").read_text()
    assert "is not finite in step" in log and "seed=1" not in log
    assert dlcli("resume", str(among)).code == 0


def test_a_job_that_fails_leaves_the_stack_of_its_process(monkeypatch, tmp_path):
    sizes, told = [], {}
    original = ensemble.Stack.__init__

    def counted(self, runs):
        sizes.append(len(runs))
        original(self, runs)

    monkeypatch.setattr(ensemble.Stack, "__init__", counted)
    points = [(f"seed={seed}", f"optimizer.lr={rate}") for seed in (0, 1) for rate in (0.01, 1e36)]
    carry_out(jobs_of(tmp_path, *points), lambda job, outcome: told.update({job.number: outcome.state}))
    assert told == {1: "done", 2: "failed", 3: "done", 4: "failed"}
    assert sizes[0] == 4 and sizes[-1] == 2


def test_a_stopped_sweep_has_checkpoints_of_all_jobs_and_goes_on(dlcli, tmp_path):
    jobs = [tmp_path / "swept" / f"seed={seed}" for seed in range(3)]

    def interrupt():
        while not all((job / "metrics.jsonl").exists() for job in jobs):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    long = (*SHORT, "training.steps=900", "training.log_every=10", "seed=range(3)")
    threading.Thread(target=interrupt).start()
    stopped = dlcli("train", *TOGETHER, *long, "run_dir=swept")
    assert stopped.code == 143 and "3 jobs of the sweep are left" in stopped.err and "dlcli resume" in stopped.err
    assert [state(path) for path in jobs] == ["interrupted"] * 3
    assert all(any((path / "checkpoints").iterdir()) for path in jobs)
    assert dlcli("resume", str(jobs[0])).code == 0  # alone
    assert dlcli("resume", "swept").code == 0  # the others, together
    assert dlcli("train", *TOGETHER, *long, "run_dir=whole").code == 0
    for path in jobs:
        for found, expected in zip(rows(path), rows(tmp_path / "whole" / path.name), strict=True):
            assert found == pytest.approx(expected, rel=1e-4)


def test_a_process_that_is_killed_fails_its_own_jobs_and_resume_completes(dlcli, tmp_path):
    (tmp_path / "faulty.py").write_text(FAULTY)
    (tmp_path / "conf" / "initialization").mkdir(parents=True)
    (tmp_path / "conf" / "initialization" / "faulty.yaml").write_text("name: faulty\ndeed: none\n")
    plugin = ("--plugin", "faulty", "initialization=faulty", "initialization.deed=none,kill")
    swept = dlcli("train", *TOGETHER, "hydra.launcher.slots=2", *SHORT, *plugin, "run_dir=swept")
    assert swept.code == 11 and "1 of 2 jobs failed" in swept.err, swept.err
    assert "FAILED: killed by signal 9 (SIGKILL)" in swept.out
    (tmp_path / "cured").touch()
    assert dlcli("resume", "swept", "--plugin", "faulty").code == 0


def test_jobs_of_one_program_are_dealt_to_all_processes(tmp_path):
    points = [*[(f"seed={seed}",) for seed in range(5)], *[(f"seed={seed}", "model.width=6") for seed in range(2)]]
    assert [[job.number for job in part] for part in parts(jobs_of(tmp_path, *points), 2)] == [
        [1, 2, 3],
        [4, 5],
        [6],
        [7],
    ]


def test_a_program_is_shared_by_runs_that_differ_in_numbers():
    base = program(configs.load_checked([], None))
    for free in ("seed=3", "optimizer=sgd", "schedule=constant", "dataset.label_noise=0.2", "training.clip_norm=1"):
        assert program(configs.load_checked([free], None)) == base
    for fixed in ("model.width=7", "normalization=batch", "training.batch_size=7", "training.precision=bf16"):
        assert program(configs.load_checked([fixed], None)) != base
