"""Group C of the catalogue: whatever the disk does to a save, a deletion or a resume, what was acknowledged stays.

DLCLI_POINTS is the number of system calls that are struck, one run each; 0 strikes every one of them. DLCLI_DAMAGES is
the number of damages of each kind to each file of a checkpoint.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess

import pytest

from tests.faults.conftest import small_disk
from tests.faults.left_behind import acknowledged, differences, newest_good, outcome, strays
from tests.faults.runs import COMMON, KINDS, check_resumed
from tests.faults.told import told
from tests.faults.warm import CALLS

POINTS = int(os.environ.get("DLCLI_POINTS", "2"))
DAMAGES = int(os.environ.get("DLCLI_DAMAGES", "1"))
KIND = "batch norm and dropout"
WORDS = ["train", *KINDS[KIND], *COMMON]


def points(total, seed):
    """Which of so many calls are struck."""
    if POINTS == 0 or total <= POINTS:
        return range(1, total + 1)
    return sorted(random.Random(seed).sample(range(1, total + 1), POINTS))


@pytest.fixture(scope="module")
def expected(unbroken):
    return outcome(unbroken(KIND)[0])


def calls_of(warm, words):
    """How many durable calls a command makes."""
    fault = {"calls": CALLS, "nth": 0, "deed": "count"}
    ended = warm.run(*words, fault=fault, no_sync=True)
    assert ended.code == 0, ended
    return int(ended.err.split()[-1])


@pytest.fixture(scope="module")
def calls(warm, tmp_path_factory):
    return calls_of(warm, [*WORDS, f"run_dir={tmp_path_factory.mktemp('counted') / 'run'}"])


@pytest.mark.short("after")
@pytest.mark.parametrize("deed", ["before", "after"])
def test_a_kill_at_any_call_of_a_run(warm, calls, expected, tmp_path, deed):
    assert calls > 150
    for nth in points(calls, deed):
        folder = tmp_path / f"{nth}"
        ended = warm.run(*WORDS, f"run_dir={folder}", fault={"calls": CALLS, "nth": nth, "deed": deed}, no_sync=True)
        assert ended.code in (-9, 0), ended
        if folder.is_dir():
            check_resumed(warm, folder, expected)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.short("before")
@pytest.mark.parametrize("deed", ["before", "after"])
def test_a_kill_at_any_call_of_a_resume(warm, expected, tmp_path, deed):
    """The resumed run has a damaged newest checkpoint, and leftovers of a save and of a deletion."""
    template = tmp_path / "template"
    process = warm.start(*WORDS, f"run_dir={template}", function=["dlcli.training.loop:take_step", 30, "MemoryError"])
    assert process.wait().code == 7
    last = max((template / "checkpoints").iterdir())
    os.truncate(last / "model.safetensors", 100)
    shutil.copytree(last, template / "checkpoints" / ".saving-step-000000032")
    shutil.copytree(last, template / "checkpoints" / ".deleting-step-000000004")
    counted = tmp_path / "counted"
    shutil.copytree(template, counted)
    total = calls_of(warm, ["resume", counted])
    for nth in points(total, deed):
        folder = tmp_path / f"{nth}"
        shutil.copytree(template, folder)
        ended = warm.run("resume", folder, fault={"calls": CALLS, "nth": nth, "deed": deed}, no_sync=True)
        assert ended.code in (-9, 0), ended
        check_resumed(warm, folder, expected, promised=24)


@pytest.mark.short("EIO", "ENOSPC")
@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EDQUOT", "EROFS", "ESTALE", "EXDEV", "EMFILE"])
def test_an_error_of_any_call(warm, calls, expected, tmp_path, error):
    for nth in points(calls, error):
        folder = tmp_path / f"{nth}"
        ended = warm.run(*WORDS, f"run_dir={folder}", fault={"calls": CALLS, "nth": nth, "deed": error}, no_sync=True)
        if ended.code:
            told(ended._replace(err=ended.err.partition("\ncalls ")[0]), 6)
        if (folder / "config.yaml").is_file():
            check_resumed(warm, folder, expected)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.short("3000")
@pytest.mark.parametrize("size", [700, 3_000, 12_000])
def test_a_limit_on_the_size_of_files(warm, expected, tmp_path, size):
    folder = tmp_path / "run"
    told(warm.run(*WORDS, f"run_dir={folder}", file_size=size), 6)
    if (folder / "config.yaml").is_file():
        check_resumed(warm, folder, expected)


@pytest.mark.short("60")
@pytest.mark.parametrize("kilobytes", [24, 60, 120])
def test_a_full_disk(warm, expected, tmp_path, kilobytes):
    with small_disk(tmp_path / "disk", kilobytes + 200) as disk:
        (disk / "ballast").write_bytes(bytes(200 * 1024))
        ended = warm.run(*WORDS, f"run_dir={disk / 'run'}")
        told(ended, 6, "MB free") if kilobytes > 24 else told(ended, 6)
        promised = acknowledged(disk / "run")
        assert newest_good(disk / "run") >= promised
        subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
        (disk / "ballast").unlink()
        if (disk / "run" / "config.yaml").is_file():
            check_resumed(warm, disk / "run", expected)


def test_a_read_only_disk_is_refused_before_training(warm, tmp_path):
    with small_disk(tmp_path / "disk", 100) as disk:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        ended = warm.run(*WORDS, f"run_dir={disk / 'run'}")
        told(ended, 6, "Read-only")
        assert "epoch" not in ended.out
        told(warm.run(*WORDS, f"output_root={disk}"), 6, "Read-only")


@pytest.mark.short("8")
@pytest.mark.parametrize("files", [3, 8, 13, 20, 26])
def test_a_disk_that_takes_no_more_files(warm, expected, tmp_path, files):
    with small_disk(tmp_path / "disk", 8000, files) as disk:
        told(warm.run(*WORDS, f"run_dir={disk / 'run'}"), 6, "No space left on device")
        assert newest_good(disk / "run") >= acknowledged(disk / "run")
        subprocess.run(["mount", "-o", "remount,nr_inodes=0", disk], check=True)
        if (disk / "run" / "config.yaml").is_file():
            check_resumed(warm, disk / "run", expected)


@pytest.mark.parametrize("protected", ["permission", "attribute"])
def test_a_protected_directory_is_refused_before_training(warm, unbroken, tmp_path, protected):
    """A new run in it, and a run that is in it already."""
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copytree(unbroken(KIND)[0], folder / "run")
    (folder / "run" / "summary.json").unlink()
    for path in (folder, folder / "run", folder / "run" / "checkpoints"):
        path.chmod(0o555)
    if protected == "attribute" and subprocess.run(["chattr", "-R", "+i", folder], capture_output=True).returncode:
        pytest.skip("no file can be made immutable here")
    try:
        for words in ([*WORDS, f"run_dir={folder / 'new'}"], ["resume", folder / "run"]):
            ended = warm.run(*words, bound_by_modes=True)
            told(ended, 6, str(folder)[:60])
            assert "epoch" not in ended.out
    finally:
        if protected == "attribute":
            subprocess.run(["chattr", "-R", "-i", folder], check=True)
        for path in (folder, folder / "run", folder / "run" / "checkpoints"):
            path.chmod(0o755)


def test_a_deleted_directory(warm, tmp_path):
    folder = tmp_path / "run"
    process = warm.start(*WORDS, "training.epochs=200", f"run_dir={folder}")
    process.wait_for("epoch 10 ")
    folder.rename(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone", ignore_errors=True)
    told(process.wait(), 6, str(folder)[:40])
    assert not folder.exists(), "a deleted run came back"


def test_too_few_open_files(warm, tmp_path):
    folder = tmp_path / "run"
    for limit in (4, 5, 6, 7):
        told(warm.run(*WORDS, f"run_dir={folder / str(limit)}", open_files=limit), 6, "ulimit -n")


def damage(path, deed, generator):
    content = bytearray(path.read_bytes())
    if deed == "truncation":
        content = content[: generator.randrange(len(content))]
    else:
        bit = generator.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.mark.short("flipped bit")
@pytest.mark.parametrize("deed", ["truncation", "flipped bit"])
def test_a_damaged_checkpoint_is_passed_over(warm, unbroken, expected, tmp_path, deed):
    generator = random.Random(deed)
    for name in ("manifest.json", "model.safetensors", "optimizer.safetensors", "state.json") * DAMAGES:
        folder = tmp_path / name
        shutil.copytree(unbroken(KIND)[0], folder)
        (folder / "summary.json").unlink()  # as if it had been killed before its report
        damage(max((folder / "checkpoints").iterdir()) / name, deed, generator)
        verified = warm.run("verify", folder)
        told(verified, 4, "1 damaged")
        assert "step-000000044  good  <- a resume goes on from here" in verified.out
        ended = warm.run("resume", folder)
        assert ended.code == 0, ended
        assert f"warning: checkpoint step-000000048 damaged ({name}: " in ended.out
        assert "; using step-000000044" in ended.out and "resuming from step 44" in ended.out
        assert not differences(outcome(folder), expected)
        shutil.rmtree(folder)


def test_without_a_good_checkpoint_nothing_starts_anew(warm, unbroken, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(unbroken(KIND)[0], folder)
    (folder / "summary.json").unlink()
    for path in (folder / "checkpoints").iterdir():
        os.truncate(path / "state.json", 2)
    told(warm.run("verify", folder), 4)
    for _ in range(2):
        ended = warm.run("resume", folder)
        told(ended, 4, "no checkpoint in")
        assert "epoch" not in ended.out


def test_a_run_whose_checkpoints_are_gone_does_not_start_anew(warm, unbroken, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(unbroken(KIND)[0], folder)
    (folder / "summary.json").unlink()
    shutil.rmtree(folder / "checkpoints")
    for _ in range(2):
        told(warm.run("resume", folder), 4, "one of step 48 was saved")


def test_a_checkpoint_of_another_run(warm, unbroken, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(unbroken(KIND)[0], folder)
    ended = warm.run(*WORDS, f"run_dir={tmp_path / 'other'}", "seed=1")
    assert ended.code == 0
    newest = max((folder / "checkpoints").iterdir())
    shutil.rmtree(newest)
    shutil.copytree(tmp_path / "other" / "checkpoints" / newest.name, newest)
    (folder / "summary.json").unlink()
    told(warm.run("resume", folder), 4, "another run")


@pytest.mark.parametrize("words", [["model.width=17"], ["seed=1"], ["dataset=iris"], ["optimizer=sgd"],
                                   ["training.epochs=1"], ["dataset.label_noise=0.5"]])  # fmt: skip
def test_a_run_is_not_resumed_with_other_settings(warm, unbroken, words):
    folder = unbroken(KIND)[0]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name not in ("train.log", "run.lock")}
    told(warm.run("resume", folder, *words), 4)
    now = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name not in ("train.log", "run.lock")}
    assert now == before


def test_the_clock_does_not_matter(warm, unbroken, expected, tmp_path):
    """Files of 1970 and of the future: the order is that of steps."""
    folder = tmp_path / "run"
    shutil.copytree(unbroken(KIND)[0], folder)
    (folder / "summary.json").unlink()
    for number, path in enumerate(sorted((folder / "checkpoints").iterdir(), reverse=True)):
        os.utime(path, (number * 1e9, number * 1e9))
    shutil.rmtree(folder / "checkpoints" / "step-000000048")
    assert "resuming from step 44" in warm.run("resume", folder).out
    assert not differences(outcome(folder), expected)


def test_a_run_that_was_moved_when_it_was_done(warm, unbroken, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(unbroken(KIND)[0], folder)
    (folder / ".report.html.4711").touch()  # a process that was killed while it wrote the page
    (folder / "report.html").unlink()
    ended = warm.run("resume", folder)
    assert ended.code == 0 and "already complete" in ended.out and f"dlcli report {folder}" in ended.out
    assert (folder / "report.html").exists() and not strays(folder)


def test_a_page_that_a_full_disk_has_left_old_is_written_when_the_run_is_reported(warm, unbroken, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(unbroken(KIND)[0], folder)
    (folder / "report.html").write_text("of another budget")
    before = (folder / "summary.json").stat().st_mtime_ns - 1
    os.utime(folder / "report.html", ns=(before, before))
    assert warm.run("resume", folder).code == 0
    assert "Why the test risk is what it is" in (folder / "report.html").read_text()
