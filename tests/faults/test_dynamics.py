"""Group E of the catalogue: numbers that are none, in the loss, the gradient, the weights or the validation; stops
between the parts of a batch; every kind of state that a step depends on.
"""

from __future__ import annotations

import json
import signal

import pytest

from dlcli.training import checkpoint
from tests.faults.left_behind import acknowledged, differences, newest_good, outcome
from tests.faults.runs import COMMON, KINDS, check_resumed
from tests.faults.test_streamed_data import pictures
from tests.faults.told import told

KIND = "batch norm and dropout"
WORDS = ["train", *KINDS[KIND], *COMMON]
STEPS = 48
STEP = "dlcli.training.loop:take_step"


def read(path):
    return json.loads(path.read_text())


def without_hook(ended):
    return ended._replace(err=ended.err.replace("asleep\nawake\n", ""))


# A model whose steps or evaluations go wrong when they are told to (E1, E2, E5, E6)

PLUGIN = """
import math
from typing import Literal
import torch
from torch import nn
from dlcli.models.predictor import Predictor
from dlcli.registry import register
from dlcli.schema import Count

class Faulty(nn.Module):
    def __init__(self, features, where, first, last):
        super().__init__()
        self.layer, self.where, self.first, self.last, self.steps = nn.Linear(features, 8), where, first, last, 0

    def forward(self, inputs):
        self.steps += self.training
        hidden = torch.tanh(self.layer(inputs.flatten(1)))
        if not self.first <= self.steps <= self.last or self.training == (self.where == "evaluation"):
            return hidden
        if self.where == "gradient":
            return hidden + (hidden * 0).abs().sqrt()
        return hidden * (torch.zeros(()) / 0 if self.where == "evaluation" or self.where == "loss" else 1)

@register("model", "faulty", normalization="none")
def faulty(spec, normalization, *, where: Literal["loss", "gradient", "evaluation"], first: Count, last: Count):
    \"\"\"Faulty.\"\"\"
    return Predictor(Faulty(math.prod(spec.shape), where, first, last), 8, spec.outputs)
"""


@pytest.fixture
def faulty(warm, tmp_path):
    """faulty(verb, where, ...): the command with such a model, in a folder that has its plugin."""
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "faulty.yaml").write_text("name: faulty\nwhere: loss\nfirst: 900\nlast: 900\n")
    (tmp_path / "faulty.py").write_text(PLUGIN)
    plugin = ["--plugin", tmp_path / "faulty.py"]

    def run(*words):
        return warm.run(*words, *plugin, cwd=tmp_path)

    run.words = ["train", "dataset=digits", "model=faulty", "training.epochs=4", *COMMON]
    ended = run(*run.words, "run_dir=sound")
    assert ended.code == 0, ended
    return run


@pytest.mark.short("gradient")
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_stops_there_and_the_run_goes_on_without_its_cause(faulty, tmp_path, where):
    """From the last checkpoint, which is finite, to the bits of a run that never met it."""
    run = tmp_path / "run"
    ended = faulty(*faulty.words, f"model.where={where}", "model.first=26", "model.last=26", "run_dir=run")
    told(ended, 5, f"the {where} of phase 'train' is not finite in step 26", "step-000000024", "optimizer.lr")
    assert read(run / "status.json")["state"] == "failed"
    for path in checkpoint.checkpoints(run / "checkpoints"):
        for named in checkpoint.load(path).tensors.values():
            assert all(tensor.isfinite().all() for tensor in named.values())
    assert newest_good(run) == acknowledged(run) == 24
    assert faulty("resume", "run").code == 0  # whose 26th step is never taken
    found = differences(outcome(run), outcome(tmp_path / "sound"))
    assert not found


@pytest.mark.faults
def test_a_step_of_nothing_but_what_is_left_out_is_skipped_and_counted(faulty, tmp_path):
    """0 / 0, as the mean over no token would be: the loss is no number, and the step is not taken."""
    words = [*faulty.words, "training.on_nonfinite=skip", "model.first=10", "model.last=11"]
    ended = faulty(*words, "run_dir=run")
    assert ended.code == 0, ended
    warnings = read(tmp_path / "run" / "summary.json")["warnings"]
    assert {"code": "skipped", "text": "2 turns were skipped: their gradients were not finite"} in warnings
    told(faulty(*words, "model.last=30", "run_dir=more"), 5, "10 times in a row")


def test_a_validation_that_is_not_finite_is_never_the_best(faulty, tmp_path):
    run = tmp_path / "run"
    words = [*faulty.words, "training.evaluate_every=1", "model.where=evaluation", "model.first=20", "model.last=40"]
    ended = faulty(*words, "run_dir=run")
    assert ended.code == 0, ended
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    risks = {row["step"]: row["risk/validation/loss"] for row in rows if "risk/validation/loss" in row}
    assert [step for step, risk in risks.items() if risk is None] == [24, 36]
    best = min((risk, step) for step, risk in risks.items() if risk is not None)
    assert read(run / "summary.json")["run"]["best"] == {"step": best[1], "validation_loss": best[0]}
    assert (run / "checkpoints" / f"step-{best[1]:09d}").is_dir()


def test_a_weight_that_overflows_is_told_before_a_save(warm, tmp_path):
    words = ["train", "dataset=diabetes", "dataset.standardize_targets=false", "model=linear", "optimizer=sgd"]
    words += ["optimizer.lr=1e38", "schedule=constant", "training.steps=8", *COMMON]
    ended = warm.run(*words, "run_dir=run", cwd=tmp_path)
    told(ended, 5, "the weight of phase 'train' is not finite in step 1", "no checkpoint had been saved")
    assert newest_good(tmp_path / "run") == -1


def test_a_loss_that_grows_without_end_is_a_warning_and_the_best_is_kept(warm, tmp_path):
    words = ["train", "dataset=diabetes", "model=linear", "optimizer=gd", "optimizer.lr=0.4", "schedule=constant"]
    words += ["training.steps=20", "training.evaluate_every=4", *COMMON]
    ended = warm.run(*words, "run_dir=run", cwd=tmp_path)
    assert ended.code == 0, ended
    summary = read(tmp_path / "run" / "summary.json")
    (warning,) = [warning for warning in summary["warnings"] if warning["code"] == "diverged"]
    assert warning["text"].startswith("training diverged: the train loss is ")
    best = summary["run"]["best"]["step"]
    assert best < 20 and (tmp_path / "run" / "checkpoints" / f"step-{best:09d}").is_dir()


def test_a_loss_that_grows_ends_the_run_where_that_is_asked_for(warm, tmp_path):
    words = ["train", "dataset=diabetes", "model=linear", "optimizer=gd", "optimizer.lr=0.4", "schedule=constant"]
    words += ["training.steps=20", "training.evaluate_every=1", "training.greatest_loss=5"]
    ended = warm.run(*words, *COMMON, "run_dir=run", cwd=tmp_path)
    told(ended, 5, "the mean loss of phase 'train' is", "above training.greatest_loss=5", "the last good checkpoint is")
    status, step = read(tmp_path / "run" / "status.json"), newest_good(tmp_path / "run")
    assert status["state"] == "failed" and 0 < step < status["step"] < 20
    assert (tmp_path / "run" / "checkpoints" / "step-000000001").is_dir()  # the best


DIVERGING = ["optimizer=sgd", "optimizer.lr=1e30", "normalization=none", "schedule=constant"]


@pytest.mark.parametrize("policy", ["stop", "skip", "rollback"])
def test_divergence(warm, tmp_path, policy):
    folder = tmp_path / "run"
    ended = warm.run(*WORDS, *DIVERGING, f"training.on_nonfinite={policy}", f"run_dir={folder}")
    told(ended._replace(err="\n".join(ended.err.splitlines())), 5, "phase 'train'", "step", "checkpoint")
    assert read(folder / "status.json")["state"] == "failed"
    assert "NaN" not in (folder / "metrics.jsonl").read_text()
    assert ended.out.count("back to step") == (3 if policy == "rollback" else 0)


def test_a_rollback_that_helps(warm, tmp_path):
    """Halving a rate that only just diverges is enough; the summary tells, and a kill changes nothing."""
    words = ["train", "dataset=diabetes", "model=linear", "optimizer=gd", "optimizer.lr=0.4", "schedule=constant",
             "training.steps=1000", "training.on_nonfinite=rollback", "decompose.budget=none", "checkpoint.unit=steps",
             "checkpoint.every=300"]  # fmt: skip
    ended = warm.run(*words, f"run_dir={tmp_path / 'run'}")
    assert ended.code == 0, ended
    warnings = read(tmp_path / "run" / "summary.json")["warnings"]
    assert any(warning["code"] == "rollbacks" for warning in warnings)
    killed = warm.start(*words, f"run_dir={tmp_path / 'killed'}")
    killed.wait_for("back to step")
    killed.send(signal.SIGKILL)
    killed.wait()
    check_resumed(warm, tmp_path / "killed", outcome(tmp_path / "run"))


# The end (E7)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 0, "already complete"),
        (["training.epochs=4"], 0, "resuming from step 48"),
        (["training.epochs=3"], 4, "past the end of a run of 36 steps"),
        (["training.epochs=null", "training.steps=48"], 0, "resuming from step 48"),
        (["training.epochs=null", "training.steps=10"], 4, "past the end of a run of 10 steps"),
    ],
)
def test_a_run_at_its_end_takes_no_further_step(warm, unbroken, words, code, said):
    folder = unbroken(KIND)[0]
    before = outcome(folder)
    ended = warm.run("resume", folder, *words)
    assert ended.code == code and said in ended.out + ended.err, ended
    if code:
        told(ended, code)
    assert outcome(folder) == before


# What a step depends on (E8 to E10)


@pytest.mark.faults
@pytest.mark.parametrize("cores", [(1, None), (None, 1)], ids=["one, then all", "all, then one"])
def test_as_many_readers_as_cores_make_no_difference(warm, tmp_path, cores):
    """To images that are decoded by threads ahead of the steps."""
    words = [*pictures(side=80)(tmp_path), "dataset.streaming=true", "model=cnn", "training.batch_size=7"]
    words = ["train", *words, "augmentation=standard", "training.steps=24", *COMMON]
    assert warm.run(*words, "run_dir=unbroken", cwd=tmp_path).code == 0
    process = warm.start(*words, "run_dir=run", cwd=tmp_path, function=[STEP, 11, 0.3], cores=cores[0])
    process.wait_for("asleep")
    process.send(signal.SIGTERM)
    assert process.wait().code == 143
    assert warm.run("resume", "run", cwd=tmp_path, cores=cores[1]).code == 0
    assert not differences(outcome(tmp_path / "run"), outcome(tmp_path / "unbroken"))


@pytest.mark.short("SIGTERM")
@pytest.mark.parametrize("deed", [signal.SIGTERM, signal.SIGKILL], ids=lambda deed: deed.name)
def test_a_stop_between_the_parts_of_a_batch(warm, tmp_path, deed):
    """Only whole steps are saved."""
    words = [
        "train",
        *KINDS["full batch"],
        *COMMON,
        "optimizer=adam",
        "training.accumulate=3",
        "training.batch_size=60",
    ]
    assert warm.run(*words, f"run_dir={tmp_path / 'unbroken'}").code == 0
    folder, second_of_the_tenth = tmp_path / "run", 3 * 9 + 2
    hook = ["dlcli.training.step:FreshNoise", second_of_the_tenth, 0.3]
    process = warm.start(*words, f"run_dir={folder}", function=hook)
    process.wait_for("asleep")
    process.send(deed)
    ended = process.wait()
    assert ended.code == (143 if deed == signal.SIGTERM else -9)
    assert newest_good(folder) == (10 if deed == signal.SIGTERM else 8)
    check_resumed(warm, folder, outcome(tmp_path / "unbroken"))


@pytest.mark.short("gan")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_state_is_restored(warm, unbroken, tmp_path, kind):
    """Two players, running statistics, averages, the history of a line search, a schedule that waits for progress."""
    folder = tmp_path / "run"
    process = warm.start("train", *KINDS[kind], *COMMON, f"run_dir={folder}", function=[STEP, 3, 0.3])
    process.wait_for("asleep")
    process.send(signal.SIGTERM)
    told(without_hook(process.wait()), 143, "stopped by signal 15 at step 3")
    check_resumed(warm, folder, outcome(unbroken(kind)[0]))
