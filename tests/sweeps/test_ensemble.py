"""A sweep as one program: every job has the directory, the numbers and the end that it would have alone."""

import json
import signal

import pytest

from dlcli import config as configs
from dlcli.sweeps.ensemble import program
from dlcli.training import ensemble

SHORT = ("dataset=iris", "model.width=5", "training.steps=60", "training.batch_size=10", "decompose.budget=none")
TOGETHER = ("-m", "hydra/launcher=ensemble", "pictures=never")


def rows(run_dir):
    """Of metrics.jsonl; what other runs have reached changes the terms of those that end after them."""
    found = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if not name.startswith("decomposition/")} for row in found]


def state(run_dir):
    return json.loads((run_dir / "status.json").read_text())["state"]


@pytest.fixture
def count_stacks(monkeypatch):
    sizes = []
    original = ensemble.Stack.__init__

    def counted(self, runs):
        sizes.append(len(runs))
        original(self, runs)

    monkeypatch.setattr(ensemble.Stack, "__init__", counted)
    return sizes


def test_a_job_leaves_what_it_leaves_alone_and_a_failed_one_costs_the_others_nothing(dlcli, count_stacks, summary_of):
    answer = dlcli("train", *TOGETHER, *SHORT, "seed=0,1", "optimizer.lr=0.01,1e36")
    assert answer.code == 11 and "2 of 4 jobs failed" in answer.err
    assert count_stacks[0] == 4 and count_stacks[-1] == 2
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


def test_a_stopped_sweep_has_checkpoints_of_all_jobs_and_goes_on(dlcli, monkeypatch):
    original = ensemble.Stack.step

    def step(self):
        if self.runs[0].state.step == 31:
            monkeypatch.setattr(ensemble.Stack, "step", original)
            signal.raise_signal(signal.SIGTERM)
        return original(self)

    monkeypatch.setattr(ensemble.Stack, "step", step)
    stopped = dlcli("train", *TOGETHER, *SHORT, "seed=range(3)")
    assert stopped.code == 143 and "dlcli resume" in stopped.err
    jobs = sorted(stopped.run_dir.glob("seed=*"))
    assert [state(path) for path in jobs] == ["interrupted"] * 3
    assert all((path / "checkpoints" / "step-000000032").is_dir() for path in jobs)
    assert dlcli("resume", str(jobs[0])).code == 0  # alone
    assert dlcli("resume", str(stopped.run_dir)).code == 0  # the others, together
    whole = dlcli("train", *TOGETHER, *SHORT, "seed=range(3)").run_dir
    for path in jobs:
        for found, expected in zip(rows(path), rows(whole / path.name), strict=True):
            assert found == pytest.approx(expected, rel=1e-4)


def test_a_program_is_shared_by_runs_that_differ_in_numbers():
    base = program(configs.load_checked([], None))
    for free in ("seed=3", "optimizer=sgd", "schedule=constant", "dataset.label_noise=0.2", "training.clip_norm=1"):
        assert program(configs.load_checked([free], None)) == base
    for fixed in ("model.width=7", "normalization=batch", "training.batch_size=7", "training.precision=bf16"):
        assert program(configs.load_checked([fixed], None)) != base
