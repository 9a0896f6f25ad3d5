"""Group H of the catalogue: one run on several ranks, what they compute, and what becomes of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dlcli.errors import DataError, DistributedError, Interrupted
from dlcli.ranked import first_cause
from dlcli.training.directory import RunDirectory, read_status
from dlcli.training.elastic import RESUME, cause
from dlcli.training.ranks import parted
from tests.faults.conftest import Ended
from tests.faults.left_behind import differences, outcome
from tests.faults.runs import COMMON, KINDS
from tests.faults.told import told

LOST = ["DistributedError", 10, "the ranks lost each other", ""]
PLAIN = [*KINDS["batch norm and dropout"], "model.dropout=0", "normalization=layer"]
EXACT = {
    "plain": PLAIN,
    "accumulated and clipped": [*PLAIN, "training.accumulate=3", "training.clip_norm=0.1"],
    # Each further iteration of L-BFGS multiplies what rounding has begun, and along a line the loss is flat at its
    # least: what rounds it by 1e-7 moves the weights by the root of that.
    "line search": [*KINDS["full batch"], "training.steps=1", "optimizer.iterations=1"],
    "sharpness": ["dataset=digits", "model=lenet", "optimizer=sam", "training.epochs=1"],
    "augmentation": ["dataset=digits", "model=lenet", "augmentation=standard", "training.epochs=1"],
}


@pytest.fixture
def start(warm):
    """start(word, ..., size=2) -> its ranks: as `torchrun` starts them, but in warm forks."""

    def run(*words, size=2, **last):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(size)}
        return [
            warm.start(*words, env=place | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, **last if rank else {})
            for rank in range(size)
        ]

    return run


@pytest.fixture
def codes(start):
    """The exit codes of those ranks, once they have ended."""
    return lambda *words, size=2: [each.wait().code for each in start(*words, size=size)]


def tensors(run_dir, name="model"):
    return load_file(max((run_dir / "checkpoints").iterdir()) / f"{name}.safetensors")


def metrics(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.short("plain", "line search")
@pytest.mark.parametrize("kind", EXACT)
def test_two_ranks_take_the_steps_of_one(warm, start, tmp_path, kind):
    words = ["train", *EXACT[kind], *COMMON]
    assert warm.run(*words, f"run_dir={tmp_path / 'one'}").code == 0
    first, second = (each.wait() for each in start(*words, f"run_dir={tmp_path / 'two'}"))
    assert (first.code, second.code) == (0, 0), (first, second)
    assert not second.out and not second.err
    one, two = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    assert max(np.abs(one[name] - two[name]).max() for name in one) < (1e-3 if kind == "line search" else 1e-5)


def test_an_evaluation_on_ranks_is_that_of_one_process_to_the_bit(codes, tmp_path):
    """Batch normalization too: its statistics are those of rank 0, which the checkpoint has."""
    words = [*KINDS["batch norm and dropout"], *COMMON, f"run_dir={tmp_path / 'run'}"]
    assert codes("train", *words, size=3) == [0, 0, 0]
    last = next(row for row in reversed(metrics(tmp_path / "run")) if "risk/validation/loss" in row)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    for split in ("train", "validation"):
        for metric, risk in summary["risks"][split].items():
            assert last[f"risk/{split}/{metric}"] == risk["value"]


def test_diagnostics_are_those_of_one_process(warm, codes, tmp_path):
    words = ["train", *PLAIN, *COMMON, "training.diagnostics=true"]
    assert warm.run(*words, f"run_dir={tmp_path / 'one'}").code == 0
    assert codes(*words, f"run_dir={tmp_path / 'two'}") == [0, 0]
    one, two = (diagnostics(tmp_path / name) for name in ("one", "two"))
    assert one.keys() == two.keys() and {tag.split("/")[1] for tag, _ in one} >= {"train", "update_ratio"}
    for place, value in one.items():
        assert two[place] == pytest.approx(value, rel=1e-2, abs=1e-6), place


def diagnostics(run_dir):
    """(tag, step) -> what TensorBoard has."""
    accumulator = EventAccumulator(str(run_dir / "tensorboard")).Reload()
    tags = [tag for tag in accumulator.Tags()["scalars"] if tag.startswith("diagnostics/")]
    return {(tag, event.step): event.value for tag in tags for event in accumulator.Scalars(tag)}


def test_a_signal_to_one_rank_stops_all_in_one_step_and_they_resume_to_the_bit(warm, start, codes, tmp_path):
    words = ["train", *KINDS["batch norm and dropout"], *COMMON]
    assert codes(*words, f"run_dir={tmp_path / 'unbroken'}") == [0, 0]
    run = tmp_path / "run"
    first, second = start(*words, f"run_dir={run}", function=["dlcli.training.loop:take_step", 26, 0.3])
    second.wait_for("asleep")
    second.send(signal.SIGTERM)
    assert second.wait().code == 143
    told(first.wait(), 143, "stopped by signal 15 at step ", "checkpoint saved")
    shutil.copytree(run, tmp_path / "other")
    assert codes("resume", run) == [0, 0]
    assert not differences(outcome(run), outcome(tmp_path / "unbroken"))
    alone = warm.run("resume", tmp_path / "other")  # checkpoints know nothing of ranks
    assert alone.code == 0 and "resuming from step 26" in alone.out


SHARDED = {
    "perceptron": [*PLAIN, "training.accumulate=3", "training.batch_size=96", "training.clip_norm=0.1"],
    "convolutions": ["dataset=digits", "model=cnn", "model.width=6", "optimizer=nesterov", "training.epochs=1"],
    "frozen features": ["dataset=digits", "model=kernel", "model.width=20", "optimizer=momentum", "training.epochs=1"],
    "tied decoder": [*KINDS["language"], "model=transformer", "model.positions=rotary", "model.width=12",
                     "model.heads=2", "optimizer=adamw"],
}  # fmt: skip


@pytest.mark.short("perceptron")
@pytest.mark.parametrize("kind", SHARDED)
@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_ranks_with_a_part_of_the_weights_each_take_the_steps_of_one(warm, start, tmp_path, kind, size):
    """And leave its files: weights and memory of the optimizer whole, in their order."""
    words = ["train", *SHARDED[kind], *COMMON]
    assert warm.run(*words, f"run_dir={tmp_path / 'one'}").code == 0
    several = start(*words, "training.sharded=true", f"run_dir={tmp_path / 'more'}", size=size)
    first, *others = (each.wait() for each in several)
    assert (first.code, *(each.code for each in others)) == (0,) * size, (first, others)
    assert not first.err and not any(each.out or each.err for each in others)
    for name in ("model", "optimizer"):
        one, more = tensors(tmp_path / "one", name), tensors(tmp_path / "more", name)
        assert one.keys() == more.keys()
        assert max(np.abs(one[each] - more[each]).max() for each in one) < 1e-5
    risks = [json.loads((tmp_path / name / "summary.json").read_text())["risks"] for name in ("one", "more")]
    for split, found in risks[0].items():
        assert risks[1][split]["loss"]["value"] == pytest.approx(found["loss"]["value"], abs=1e-5)


def test_ranks_with_a_part_of_the_weights_each_stop_together_and_anybody_goes_on(warm, start, codes, tmp_path):
    words = ["train", *PLAIN, *COMMON, "training.sharded=true"]
    assert codes(*words, f"run_dir={tmp_path / 'unbroken'}") == [0, 0]
    run = tmp_path / "run"
    first, second = start(*words, f"run_dir={run}", function=["dlcli.training.loop:take_step", 26, 0.3])
    second.wait_for("asleep")
    second.send(signal.SIGTERM)
    assert (first.wait().code, second.wait().code) == (143, 143)
    for name in ("alone", "whole"):
        shutil.copytree(run, tmp_path / name)
    assert codes("resume", run) == [0, 0]
    assert not differences(outcome(run), outcome(tmp_path / "unbroken"))
    assert warm.run("resume", tmp_path / "alone").code == 0
    assert codes("resume", tmp_path / "whole", "training.sharded=false", size=3) == [0, 0, 0]
    expected = tensors(tmp_path / "unbroken")
    for name in ("alone", "whole"):
        found = tensors(tmp_path / name)
        assert max(np.abs(found[each] - expected[each]).max() for each in expected) < 1e-5


def test_ranks_with_parts_of_weights_and_of_batches_need_equal_ones(start, tmp_path):
    words = [*PLAIN, *COMMON, "training.sharded=true", "training.accumulate=2", "training.batch_size=95"]
    first, second = start("train", *words, f"run_dir={tmp_path / 'run'}")
    told(first.wait(), 2, "needs a batch that 2 ranks divide, and 95 is none", "training.batch_size=94")
    assert second.wait().code == 2


PARTS = ["training.sharded=true"]


@pytest.mark.parametrize("words", [[], pytest.param(PARTS, marks=pytest.mark.slow)], ids=["whole", "parts"])
@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_rank_that_is_killed_ends_the_run_and_is_named(cold, tmp_path, victim, words):
    process, ranks = launched(cold, tmp_path / "run", *words)
    os.kill(ranks[victim], signal.SIGKILL)
    killed = time.monotonic()
    out, err = process.communicate(timeout=60)
    where = tmp_path / "run" if victim > 0 else "RUN_DIR"  # which only rank 0 knew
    told(Ended(process.returncode, out, err), 10, f"rank {victim} died (signal 9)", f"dlcli resume {where}")
    assert time.monotonic() - killed < 10
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks)


def test_who_started_the_ranks_of_a_job_notes_the_first_cause(tmp_path):
    with RunDirectory(tmp_path) as directory:
        directory.write_status("failed", 7, "the ranks lost each other")
    with pytest.raises(DistributedError) as caught, first_cause(tmp_path):
        raise DistributedError("rank 1 died (signal 9)", RESUME)
    assert caught.value.hint == f"continue with: dlcli resume {tmp_path}"
    status = read_status(tmp_path)
    assert (status["state"], status["step"], status["reason"]) == ("failed", 7, "rank 1 died (signal 9)")


def launched(cold, run, *words, first="step-000000004"):
    """A run on two ranks that has saved its first checkpoint, and its ranks."""
    lasting = ["training.epochs=100000", "training.evaluate_every=1000", "training.devices=2"]
    process = cold("train", *PLAIN, *COMMON, *lasting, *words, f"run_dir={run}", start_new_session=True)
    until = time.monotonic() + 120
    while not any(path.name >= first for path in (run / "checkpoints").glob("step-*")):
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.05)
    ranks = children(process.pid)
    assert len(ranks) == 2
    return process, ranks


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], PARTS], ids=["whole", "parts"])
def test_a_run_whose_rank_was_killed_goes_on_to_the_bit(cold, tmp_path, words):
    long = ["training.epochs=40", "training.evaluate_every=20"]
    process, ranks = launched(cold, tmp_path / "run", *long, *words)
    os.kill(ranks[0], signal.SIGKILL)
    assert process.wait(60) == 10
    assert cold("resume", "run").wait(200) == 0
    process, _ = launched(cold, tmp_path / "unbroken", *long, *words)
    assert process.wait(200) == 0
    assert not differences(outcome(tmp_path / "run"), outcome(tmp_path / "unbroken"))


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], PARTS], ids=["whole", "parts"])
def test_a_request_to_save_that_one_rank_receives_is_met_by_all_in_that_step(warm, start, tmp_path, words):
    words = ["train", *PLAIN, *COMMON, *words]
    assert [each.wait().code for each in start(*words, f"run_dir={tmp_path / 'unbroken'}")] == [0, 0]
    run = tmp_path / "run"
    first, second = start(*words, f"run_dir={run}", function=["dlcli.training.loop:take_step", 26, 0.3])
    second.wait_for("asleep")
    second.send(signal.SIGUSR1)
    assert (first.wait().code, second.wait().code) == (0, 0)
    assert "step-000000026 saved" in (run / "train.log").read_text()
    assert not differences(outcome(run), outcome(tmp_path / "unbroken"))


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], PARTS], ids=["whole", "parts"])
def test_a_request_to_save_is_passed_on_to_the_ranks(cold, tmp_path, words):
    run = tmp_path / "run"
    process, _ = launched(cold, run, "checkpoint.every=4", "checkpoint.unit=epochs", *words, first="step-000000048")
    process.send_signal(signal.SIGUSR1)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    told(Ended(process.returncode, out, err), 143, "stopped by signal 15 at step ", "checkpoint saved")
    saved = [int(line.split("step-")[1].split()[0]) for line in (run / "train.log").read_text().splitlines()
             if line.endswith(" saved") and "step-" in line]  # fmt: skip
    assert len([step for step in saved if step % 48]) == 2


@pytest.mark.faults
@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_that_stalls_ends_the_run_within_its_time(cold, tmp_path, victim):
    process, ranks = launched(cold, tmp_path / "run", "training.rank_timeout=3")
    os.kill(ranks[victim], signal.SIGSTOP)
    stalled = time.monotonic()
    out, err = process.communicate(timeout=60)
    told(Ended(process.returncode, out, err), 10, f"rank {victim} did not answer any more")
    assert time.monotonic() - stalled < 3 + 40, "torch's launcher leaves a process that does not end thirty seconds"
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks)


@pytest.mark.faults
def test_ranks_end_with_the_process_that_has_started_them(cold, tmp_path):
    process, ranks = launched(cold, tmp_path / "run")
    process.kill()
    process.communicate()
    killed = time.monotonic()
    while any(Path(f"/proc/{pid}").exists() and running(pid) for pid in ranks):
        assert time.monotonic() - killed < 5
        time.sleep(0.05)


def running(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
def test_two_machines_train_one_run_by_torchrun(tmp_path):
    """As the page on clusters has it; both launchers run here."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    words = ["train", *PLAIN, *COMMON, "training.device=cpu"]
    for nodes, name in enumerate(("one", "two"), 1):
        launch = [f"--nnodes={nodes}", "--nproc-per-node=1", "--master-addr=localhost", f"--master-port={port}"]
        work = ["-m", "dlcli", *words, f"run_dir={tmp_path / name}"]
        machines = [
            subprocess.Popen(
                [sys.executable, "-m", "torch.distributed.run", *launch, f"--node-rank={node}", *work],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.DEVNULL,
            )
            for node in range(nodes)
        ]
        assert [machine.wait(300) for machine in machines] == [0] * nodes
    one, two = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    assert 0 < max(np.abs(one[name] - two[name]).max() for name in one) < 1e-5


def children(pid):
    """The ranks that the process has started, in their order."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, path.read_text().split())
    return sorted(each for each in found if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes())


@pytest.mark.parametrize(
    ("notes", "codes", "kind", "message"),
    [
        ({0: LOST, 1: None}, {1: -9}, DistributedError, "rank 1 died (signal 9)"),
        ({0: LOST, 1: None}, {0: 10}, DistributedError, "rank 1 did not answer any more"),
        ({0: LOST, 1: ["DataError", 3, "row 7 is no number", ""]}, {0: 10}, DataError, "row 7 is no number"),
        ({0: ["Interrupted", 143, "stopped", ""], 1: LOST}, None, Interrupted, "stopped"),
        ({0: LOST, 1: LOST}, {0: 10}, DistributedError, "the ranks lost each other"),
        ({0: None, 1: []}, {0: -11}, DistributedError, "rank 0 died (signal 11)"),
    ],
)
def test_the_first_cause_is_told(tmp_path, notes, codes, kind, message):
    for rank, note in notes.items():
        if note is not None:
            (tmp_path / str(rank)).write_text(json.dumps(note))
    found = cause(tmp_path, 2, codes)
    assert type(found) is kind and found.message == message


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "[/build/gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:60595: Connection reset by peer. This is "
            "typically caused by a remote worker having crashed.",
            "the ranks lost each other: Read error [127.0.0.1]:60595: Connection reset by peer",
        ),
        ("NCCL error in: NCCLUtils.cpp:94\nmore", "the ranks lost each other: NCCL error in: NCCLUtils.cpp:94"),
        ("", "the ranks lost each other: RuntimeError"),
    ],
)
def test_a_lost_connection_is_told_in_a_line(said, expected):
    assert parted(RuntimeError(said)).message == expected


def test_a_sweep_is_not_for_torchrun(warm, tmp_path):
    ended = warm.run("train", "-m", "seed=1,2", env={"RANK": "0", "WORLD_SIZE": "2"}, cwd=tmp_path)
    told(ended, 2, "`torchrun` starts the ranks of one run, and this is a sweep", "training.devices=2")
