"""What happens around a run: to its data, the clock, the disk, the limits, and dlcli itself."""

from __future__ import annotations

import json
import signal
import time

import pytest

from tests.faults.left_behind import differences, outcome
from tests.faults.runs import COMMON, KINDS, check_resumed
from tests.faults.told import told

KIND = "batch norm and dropout"
WORDS = ["train", *KINDS[KIND], *COMMON]
STEP = "dlcli.training.loop:take_step"
YEAR = 365 * 86400


@pytest.fixture(scope="module")
def expected(unbroken):
    return outcome(unbroken(KIND)[0])


# The data (B15, B16)

TABLE = "a,b,y\n" + "".join(f"{n % 7},{n * n % 11},{'no' if n % 3 else 'yes'}\n" for n in range(60))
TEXT = "to be, or not to be: " * 60
SOURCES = {
    "table": ("t.csv", TABLE, ["dataset=csv", "model=mlp"]),
    "text": ("t.txt", TEXT, ["dataset=text", "dataset.window=8", "model=rnn"]),
}
HARM = {
    "vanishes": lambda path: path.unlink(),
    "is cut": lambda path: path.write_bytes(path.read_bytes()[:400]),
    # As many tokens as before: only their meaning has moved.
    "means something else": lambda path: path.write_bytes(path.read_bytes().replace(b"o", b"z")),
}


@pytest.mark.faults
@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("source", SOURCES)
def test_data_that_change_under_a_run(warm, tmp_path, source, harm):
    """The run that has read them ends as if nothing were; none goes on with them later."""
    name, content, words = SOURCES[source]
    words = ["train", *words, f"dataset.path={name}", "training.steps=12", "training.batch_size=10", *COMMON]
    (tmp_path / name).write_text(content)
    assert warm.run(*words, "run_dir=undisturbed", cwd=tmp_path).code == 0
    process = warm.start(*words, "run_dir=run", cwd=tmp_path, function=[STEP, 6, 0.5])
    process.wait_for("asleep")
    HARM[harm](tmp_path / name)
    assert process.wait().code == 0
    assert not differences(outcome(tmp_path / "run"), outcome(tmp_path / "undisturbed"))
    ended = warm.run("resume", "run", "training.steps=20", cwd=tmp_path)
    told(ended, 3 if harm == "vanishes" else 4, name if harm == "vanishes" else "data")
    (tmp_path / name).write_text(content)
    assert warm.run("resume", "run", "training.steps=20", cwd=tmp_path).code == 0


# The file system (C21, C23)


@pytest.mark.faults
def test_a_disk_that_takes_seconds_is_told(warm, expected, tmp_path):
    folder = tmp_path / "run"
    ended = warm.run(*WORDS, f"run_dir={folder}", function=["dlcli.training.checkpoint:save", 3, 6])
    assert ended.code == 0 and "warning: saving step-000000012 took 6 s: the disk is slow" in ended.out
    assert not differences(outcome(folder), expected)


def test_a_file_system_without_locks(warm, expected, tmp_path):
    """A file stands in for the lock. It outlives a kill, and the hint says which one to delete."""
    folder, stand_in, no_locks = tmp_path / "run", tmp_path / "run" / "run.lock.exclusive", ["fcntl:flock", 1, "ENOLCK"]
    process = warm.start(*WORDS, f"run_dir={folder}", function=no_locks)
    process.wait_for("epoch 2 ")
    process.send(signal.SIGSTOP)
    told(warm.run("resume", folder, function=no_locks), 9, f"in use by process {process.pid}", str(stand_in)[-60:])
    process.send(signal.SIGKILL)
    process.wait()
    told(warm.run("resume", folder, function=no_locks), 9, f"in use by process {process.pid}")
    stand_in.unlink()
    assert warm.run("resume", folder, function=no_locks).code == 0
    assert not differences(outcome(folder), expected) and not stand_in.exists()


# The process (D6, D11)


@pytest.mark.faults
def test_a_run_that_was_frozen_for_a_minute(warm, expected, tmp_path):
    process = warm.start(*WORDS, f"run_dir={tmp_path / 'run'}")
    process.wait_for("epoch 2 ")
    process.send(signal.SIGSTOP)
    time.sleep(60)
    process.send(signal.SIGCONT)
    assert process.wait().code == 0
    assert not differences(outcome(tmp_path / "run"), expected)


def test_a_system_without_room_for_a_thread(warm, expected, tmp_path):
    folder = tmp_path / "run"
    told(warm.run(*WORDS, f"run_dir={folder}", no_threads=True), 6, "thread", "ulimit")
    check_resumed(warm, folder, expected)


# The clock (D12)


@pytest.mark.faults
@pytest.mark.parametrize("errors", [[-YEAR, YEAR], [-56 * YEAR]], ids=["jumps", "1970"])
def test_a_wall_clock_that_is_wrong(warm, expected, tmp_path, errors):
    folder = tmp_path / "run"
    ended = warm.run(*WORDS, f"run_dir={folder}", clock=errors, function=[STEP, 30, "MemoryError"])
    assert ended.code == 7
    assert warm.run("resume", folder, clock=[error - YEAR for error in errors]).code == 0
    assert not differences(outcome(folder), expected)
    named = {warm.start(*WORDS, "training.epochs=1", cwd=tmp_path, clock=errors).wait().code for _ in range(2)}
    assert named == {0} and len(list((tmp_path / "outputs").glob("*/*/config.yaml"))) == 2


# Another dlcli (D18)


@pytest.fixture
def older(warm, tmp_path):
    """A run that a memory shortage has stopped at step 29."""
    folder = tmp_path / "run"
    assert warm.run(*WORDS, f"run_dir={folder}", function=[STEP, 30, "MemoryError"]).code == 7
    return folder


def test_an_upgrade_is_told(warm, older, expected):
    notes = json.loads((older / "environment.json").read_text())
    (older / "environment.json").write_text(json.dumps(notes | {"dlcli": "0.0.1"}))
    ended = warm.run("resume", older)
    assert ended.code == 0 and "warning: dlcli: 0.0.1, now " in ended.out
    assert not differences(outcome(older), expected)


def test_settings_of_another_version_are_refused_with_both_versions(warm, older):
    notes = json.loads((older / "environment.json").read_text())
    (older / "environment.json").write_text(json.dumps(notes | {"dlcli": "0.0.1"}))
    before = (older / "config.yaml").read_text()
    for other in (before.replace("  average: null\n", ""), before.replace("training:\n", "training:\n  novel: 1\n")):
        assert other != before
        (older / "config.yaml").write_text(other)
        told(warm.run("resume", older), 4, "written by dlcli 0.0.1")
    (older / "config.yaml").write_text(before)
    assert warm.run("resume", older).code == 0
