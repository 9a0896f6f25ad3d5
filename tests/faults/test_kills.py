"""kill -9 at random moments: nothing that was acknowledged is lost, and the resumed run is the unbroken one to the bit.

A running command is frozen, its directory copied, and the command let go again: every copy is what a kill at that
moment would have left. DLCLI_KILLS is the number of copies per kind of run; thousands are possible.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time

import pytest

from tests.faults.left_behind import acknowledged, differences, newest_good, outcome, strays

KILLS = int(os.environ.get("DLCLI_KILLS", "0"))
COMMON = ["decompose.budget=none", "training.log_every=3", "checkpoint.unit=steps", "checkpoint.every=4"]
KINDS = {
    "batch norm and dropout": ["dataset=digits", "model=mlp", "model.width=16", "model.dropout=0.2",
                               "normalization=batch", "training.epochs=4"],
    "language": ["dataset=copy_memory", "model=rnn", "training.steps=12",
                 "dataset.examples=400", "dataset.test_examples=50", "dataset.delay=5"],
    "vae": ["dataset=digits", "model=vae", "training.epochs=3"],
    "gan": ["dataset=gaussian_ring", "dataset.examples=600", "dataset.test_examples=200",
            "model=gan", "model.width=16", "training.steps=24"],
    "full batch": ["dataset=iris", "model=mlp", "model.width=8", "optimizer=lbfgs", "training.steps=20"],
    "augmentation and sharpness": ["dataset=digits", "model=cnn", "augmentation=standard", "optimizer=sam",
                                   "training.epochs=2"],
    "plateau of a regression": ["dataset=diabetes", "model=mlp", "schedule=plateau", "optimizer=momentum",
                                "training.epochs=6"],
}  # fmt: skip


@pytest.fixture(scope="module")
def unbroken(warm, tmp_path_factory):
    """unbroken(kind) -> directory of a run that nothing disturbed, and the seconds it took."""
    done = {}

    def run(kind):
        if kind not in done:
            folder, started = tmp_path_factory.mktemp("unbroken") / "run", time.monotonic()
            ended = warm.run("train", *KINDS[kind], *COMMON, f"run_dir={folder}")
            assert ended.code == 0, ended
            done[kind] = folder, time.monotonic() - started
        return done[kind]

    return run


def frozen_copies(warm, words, folder, count, seconds, generator):
    """Directories as kills at `count` random moments of one command leave them."""
    process = warm.start(*words, f"run_dir={folder / 'run'}")
    moments = sorted(generator.uniform(0, seconds) for _ in range(count))
    started, stopped = time.monotonic(), 0.0
    for number, moment in enumerate(moments):
        time.sleep(max(0.0, started + stopped + moment - time.monotonic()))
        frozen = time.monotonic()
        process.send(signal.SIGSTOP)
        if (folder / "run").is_dir():
            shutil.copytree(folder / "run", folder / f"copy-{number}", symlinks=True)
        process.send(signal.SIGCONT)
        stopped += time.monotonic() - frozen
    assert process.wait().code == 0
    return [folder / f"copy-{number}" for number in range(count) if (folder / f"copy-{number}").is_dir()]


def check_resumed(warm, copy, expected):
    """Resume what a kill left; returns the step it went on from."""
    promised, found = acknowledged(copy), newest_good(copy)
    assert found >= promised, f"step {promised} was acknowledged, {found} is what is left"
    if not (copy / "config.yaml").exists():  # killed before the run had begun: there is nothing to go on with
        assert promised == -1
        return -1
    ended = warm.run("resume", copy)
    assert ended.code == 0, ended
    if found >= 0 and "already complete" not in ended.out:
        assert f"resuming from step {found}" in ended.out
    assert not differences(outcome(copy), expected)
    assert not strays(copy)
    shutil.rmtree(copy)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_kill_at_random_moments(warm, unbroken, tmp_path, kind):
    folder, seconds = unbroken(kind)
    expected, generator = outcome(folder), random.Random(f"{kind} {os.environ.get('DLCLI_SEED', 0)}")
    left = KILLS or 2
    while left > 0:
        count = min(left, 8)
        copies = frozen_copies(warm, ["train", *KINDS[kind], *COMMON], tmp_path, count, 0.8 * seconds, generator)
        for copy in copies:
            check_resumed(warm, copy, expected)
        shutil.rmtree(tmp_path / "run")
        left -= count
