"""Groups D and F of the catalogue: signals in every phase, neighbours, memory, bugs, surroundings, logs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from dlcli.training.directory import claim
from tests.faults.left_behind import differences, newest_good, outcome
from tests.faults.runs import COMMON, KINDS, check_resumed
from tests.faults.told import told

KIND = "batch norm and dropout"
WORDS = ["train", *KINDS[KIND], *COMMON]
SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
PHASES = {
    "data": ("dlcli.build:read_data", 1),
    "first step": ("dlcli.training.loop:take_step", 1),
    "training": ("dlcli.training.loop:take_step", 26),
    "evaluation": ("dlcli.training.loop:measure", 2),
    "saving": ("dlcli.training.checkpoint:save", 3),
    "last save": ("dlcli.training.checkpoint:save", 12),
    "forgetting": ("dlcli.training.saving:forget", 5),
    "decomposition": ("dlcli.conclusion.conclude:conclude", 1),
}


@pytest.fixture(scope="module")
def expected(unbroken):
    return outcome(unbroken(KIND)[0])


def read(path):
    return json.loads(path.read_text())


# Signals


@pytest.mark.short("SIGTERM-training", "SIGINT-evaluation", "SIGHUP-decomposition", "SIGTERM-data")
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_in_any_phase(warm, expected, tmp_path, phase, number):
    folder, (path, nth) = tmp_path / "run", PHASES[phase]
    process = warm.start(*WORDS, f"run_dir={folder}", function=[path, nth, 0.3])
    process.wait_for("asleep")
    process.send(number)
    ended = process.wait()
    told(ended._replace(err=ended.err.replace("asleep\nawake\n", "")), 128 + number, f"stopped by signal {number}")
    if not folder.exists():
        assert phase == "data"
        return
    assert read(folder / "status.json")["state"] == "interrupted"
    step = read(folder / "status.json")["step"]
    assert newest_good(folder) == step, "steps were lost"
    assert f"dlcli resume {folder}" in ended.err
    check_resumed(warm, folder, expected)


# Two as a person presses them: nearer to each other, two count once for a main thread that waits for its turn (the one
# that writes a checkpoint is polite, and may hold the interpreter for long on a busy machine).
@pytest.mark.parametrize(("times", "apart"), [(2, 0.3), (10, 0.02)], ids=["2", "10"])
def test_interrupted_twice_stops_at_once(warm, expected, tmp_path, times, apart):
    folder = tmp_path / "run"
    process = warm.start(*WORDS, f"run_dir={folder}", function=["dlcli.training.loop:take_step", 26, 60])
    process.wait_for("asleep")
    for _ in range(times):
        process.send(signal.SIGINT)
        time.sleep(apart)
    ended = process.wait(20)
    told(ended._replace(err=ended.err.replace("asleep\n", "")), 130, "stopped at once")
    check_resumed(warm, folder, expected)


def test_terminated_and_then_killed(warm, expected, tmp_path):
    folder = tmp_path / "run"
    process = warm.start(*WORDS, f"run_dir={folder}", function=["dlcli.training.loop:take_step", 26, 60])
    process.wait_for("asleep")
    process.send(signal.SIGTERM)
    process.send(signal.SIGKILL)
    assert process.wait().code == -9
    ended = warm.run("resume", folder)
    assert "the previous process ended without saying so" in ended.out
    assert not differences(outcome(folder), expected)


def test_a_request_to_save(warm, expected, tmp_path):
    folder = tmp_path / "run"
    process = warm.start(*WORDS, f"run_dir={folder}", function=["dlcli.training.loop:take_step", 26, 0.3])
    process.wait_for("asleep")
    process.send(signal.SIGUSR1)
    assert process.wait().code == 0
    assert "step-000000026 saved" in (folder / "train.log").read_text()
    assert not differences(outcome(folder), expected)


@pytest.mark.short("0.4")
@pytest.mark.parametrize("seconds", [0.05, 0.4, 0.8])
def test_terminated_while_starting(cold, tmp_path, seconds):
    process = cold(*WORDS, "run_dir=run")
    time.sleep(seconds)
    process.terminate()
    out, err = process.communicate(timeout=100)
    assert process.returncode in (143, -signal.SIGTERM)
    assert "Traceback" not in err and not out.count("epoch")


# Streams and surroundings


def test_a_reader_that_leaves(cold, tmp_path):
    process = cold(*WORDS, "run_dir=run")
    assert process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=100)
    assert read(tmp_path / "run" / "status.json")["state"] == "done"
    assert process.returncode == 0 and not err


@pytest.mark.short()
@pytest.mark.parametrize("closed", ["<&- >&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(cold, tmp_path, closed):
    script = f"exec {sys.executable} -m dlcli.cli {' '.join(WORDS)} run_dir=run {closed}"
    subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, timeout=100)
    assert read(tmp_path / "run" / "status.json")["state"] == "done"


@pytest.mark.parametrize("environment", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"HOME": ""}, {"TERM": "dumb"}],
                         ids=str)  # fmt: skip
def test_odd_surroundings(warm, expected, tmp_path, environment):
    ended = warm.run(*WORDS, f"run_dir={tmp_path / 'run'}", env=environment)
    assert ended.code == 0 and not ended.err
    assert not differences(outcome(tmp_path / "run"), expected)


@pytest.mark.short("0o77")
@pytest.mark.parametrize("mask", [0o077, 0o000, 0o022], ids=oct)
def test_files_are_as_private_as_the_mask_makes_them(warm, tmp_path, mask):
    assert warm.run(*WORDS, f"run_dir={tmp_path / 'run'}", umask=mask).code == 0
    for path in [tmp_path / "run", *(tmp_path / "run").rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~mask, path


@pytest.mark.faults
def test_a_deleted_working_directory(cold, tmp_path):
    (tmp_path / "here").mkdir()
    script = f"cd here; rmdir ../here; exec {sys.executable} -m dlcli.cli {' '.join(WORDS)} run_dir={tmp_path}/run"
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}  # noqa: PTH109
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "internal error" not in done.stderr, done.stderr
    assert done.returncode == 0 or (done.stderr.count("error: ") == 1 and done.returncode in (2, 6))


# Neighbours


def times(folder):
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}


def at_rest(folder):
    """The times of all files, once the checkpoint in the background is written."""
    before, now = {}, None
    while before != now:
        time.sleep(0.3)
        with suppress(FileNotFoundError):
            before, now = now, times(folder)
    return before


def test_a_busy_directory_names_its_holder(warm, expected, tmp_path):
    folder = tmp_path / "run"
    process = warm.start(*WORDS, f"run_dir={folder}", function=["dlcli.training.loop:take_step", 26, 5])
    process.wait_for("asleep")
    before = at_rest(folder)
    told(warm.run("resume", folder), 9, f"process {process.pid}")
    told(warm.run(*WORDS, f"run_dir={folder}"), 2, "not empty")
    assert times(folder) == before
    assert process.wait().code == 0
    assert not differences(outcome(folder), expected)


def test_fifty_starts_in_one_second(tmp_path):
    with ThreadPoolExecutor(50) as pool:
        claimed = list(pool.map(lambda _: claim(str(tmp_path), "mlp-digits", 0), range(50)))
    assert len(set(claimed)) == 50 and all(path.is_dir() for path in claimed)


def test_a_copy_of_a_live_directory_goes_on(warm, expected, tmp_path):
    folder = tmp_path / "run"
    process = warm.start(*WORDS, f"run_dir={folder}")
    process.wait_for("epoch 2 ")
    subprocess.run(["cp", "-a", folder, tmp_path / "copy"], capture_output=True)
    assert process.wait().code == 0
    ended = warm.run("resume", tmp_path / "copy")
    assert ended.code == 0, ended
    assert not differences(outcome(tmp_path / "copy"), expected)


# Memory, devices, bugs


def test_memory_that_ends(warm, expected, tmp_path):
    folder = tmp_path / "run"
    ended = warm.run(*WORDS, f"run_dir={folder}", function=["dlcli.training.loop:take_step", 26, "MemoryError"])
    told(ended, 7, "out of memory", "training.accumulate=2 fits")
    assert read(folder / "status.json")["state"] == "failed"
    check_resumed(warm, folder, expected)


@pytest.mark.faults
def test_too_little_memory_for_the_batch(warm, tmp_path):
    words = ["train", "dataset=two_moons", "dataset.examples=100000", "model=mlp", "model.width=512", "optimizer=sgd"]
    ended = warm.run(*words, "training.batch_size=full", "run_dir=run", cwd=tmp_path, memory=600 * 2**20)
    told(ended, 7, "out of memory", "training.accumulate=")


def test_too_little_memory_for_the_model(warm, tmp_path):
    ended = warm.run("train", "dataset=digits", "model.width=30000", cwd=tmp_path, memory=500 * 2**20)
    told(ended, 7, "out of memory")
    assert not (tmp_path / "outputs").exists()


def test_a_bug_is_kept_with_its_traceback(warm, expected, tmp_path):
    folder = tmp_path / "run"
    ended = warm.run(*WORDS, f"run_dir={folder}", function=["dlcli.training.loop:take_step", 26, "AssertionError"])
    told(ended, 1, "internal error: AssertionError: injected", "train.log")
    assert "Traceback" in (folder / "train.log").read_text()
    check_resumed(warm, folder, expected)


# Logs


def test_events_for_scripts(warm, tmp_path):
    folder = tmp_path / "run"
    process = warm.start(
        *WORDS, f"run_dir={folder}", "--log", "json", function=["dlcli.training.loop:take_step", 26, 1]
    )
    process.wait_for("asleep")
    process.send(signal.SIGTERM)
    ended = process.wait()
    events = [json.loads(line) for line in ended.out.splitlines()]
    assert [event["event"] for event in events][:1] == ["started"] and events[-1]["event"] == "error"
    assert events[-1]["code"] == ended.code == 143
    resumed = warm.run("resume", folder, "--log", "json")
    events = [json.loads(line) for line in resumed.out.splitlines()]
    names = [event["event"] for event in events]
    assert names[0] == "resumed" and names[-1] == "finished" and {"step", "epoch", "checkpoint_saved"} < set(names)
    assert events[0]["step"] == 26 and events[-1]["risks"]["test"]
    assert "Risks" in resumed.err


def test_torn_logs_are_healed(warm, unbroken, expected, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(unbroken(KIND)[0], folder)
    (folder / "summary.json").unlink()
    with (folder / "metrics.jsonl").open("ab") as rows:
        rows.write(b'{"step": 999, "epo')
    for path in (folder / "tensorboard").iterdir():
        with path.open("ab") as events:
            events.write(b"\x18\0\0\0\0\0\0\0torn")
    assert warm.run("resume", folder).code == 0
    assert not differences(outcome(folder), expected)


@pytest.mark.parametrize("name", ["status.json", "environment.json", "summary.json", "config.yaml", "command.txt"])
@pytest.mark.short("None-config.yaml", "content0-status.json", "content1-environment.json", "content3-summary.json")
@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"[]", b'{"a": 1}', b"a: [", None])
def test_damaged_notes_are_survived(warm, unbroken, tmp_path, name, content):
    """The files beside the checkpoints: a resume, a report and a verification end well or with one error line."""
    folder = tmp_path / "run"
    shutil.copytree(unbroken(KIND)[0], folder)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    for words in (["verify"], ["report"], ["resume"]):
        ended = warm.run(*words, folder)
        if ended.code:
            assert ended.code in (2, 3, 4)
            told(ended, ended.code)
        assert "Traceback" not in ended.err
