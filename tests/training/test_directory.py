import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from dlcli.errors import BusyError, StorageError, UsageError
from dlcli.training import directory
from dlcli.training.directory import RunDirectory, claim, claim_exact, plain_name, read_environment, read_status

CLAIM = """
import sys
from dlcli.training.directory import claim
for _ in range(25):
    print(claim(sys.argv[1], "mnist1d-mlp", 0))
"""


# Claiming


def test_a_run_is_named_by_time_problem_and_seed(tmp_path):
    run_dir = claim(str(tmp_path), "mnist1d-mlp", 3)
    assert run_dir.is_dir()
    datetime.strptime(run_dir.parent.name, "%Y-%m-%d")
    datetime.strptime(run_dir.name.removesuffix("-mnist1d-mlp-3"), "%H-%M-%S.%f")


def test_fifty_claims_of_two_processes_are_fifty_directories(tmp_path):
    program = [sys.executable, "-c", CLAIM, str(tmp_path)]
    started = [subprocess.Popen(program, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    claimed = [line for process in started for line in process.communicate()[0].split()]
    assert len(set(claimed)) == 50 and all(Path(path).is_dir() for path in claimed)


def test_claims_at_one_instant_are_distinct(tmp_path, monkeypatch):
    class Stopped(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2026, 1, 2, 3, 4, 5, 678_000, tz)

    monkeypatch.setattr(directory, "datetime", Stopped)
    with ThreadPoolExecutor(8) as pool:
        claimed = set(pool.map(lambda _: claim(str(tmp_path), "a", 0), range(50)))
    assert len(claimed) == 50
    assert {"03-04-05.678-a-0", "03-04-05.678-a-0-2", "03-04-05.678-a-0-50"} <= {path.name for path in claimed}


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("mnist1d-mlp", "mnist1d-mlp"),
        ("../../etc/passwd", "etc-passwd"),
        ("a b\n\x1b[31m:c", "a-b-31m-c"),
        ("\u202e évil", "vil"),
        ("...", "run"),
        ("", "run"),
        ("x" * 5000, "x" * 60),
    ],
)
def test_a_name_is_made_plain(what, name):
    assert plain_name(what) == name


@pytest.mark.parametrize("root", ["file", "file/below", "/proc/runs"])
def test_a_root_that_cannot_be_written_is_a_storage_error(tmp_path, root):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as caught:
        claim(str(tmp_path / root), "a", 0)
    assert caught.value.exit_code == 6 and str(tmp_path / root) in caught.value.message


def test_a_working_directory_that_is_gone_is_a_storage_error(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(StorageError):
        claim("outputs", "a", 0)


def test_an_exact_directory_is_made(tmp_path):
    assert claim_exact(str(tmp_path / "a" / "b")).is_dir()


def test_an_exact_directory_may_be_there_and_empty(tmp_path):
    assert claim_exact(str(tmp_path)) == tmp_path


def test_an_exact_directory_that_holds_something_is_refused(tmp_path):
    (tmp_path / "status.json").write_text("{}")
    with pytest.raises(UsageError, match="is not empty") as caught:
        claim_exact(str(tmp_path))
    assert f"dlcli resume {tmp_path}" in caught.value.hint


def test_an_exact_directory_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="not a directory"):
        claim_exact(str(tmp_path / "file"))


# Writing


def test_a_directory_has_one_writer(tmp_path):
    with RunDirectory(tmp_path), pytest.raises(BusyError), RunDirectory(tmp_path):
        pass
    with RunDirectory(tmp_path):
        pass


def test_the_log_is_closed_with_the_directory(tmp_path):
    with RunDirectory(tmp_path) as run:
        run.log.info("inside")
    run.log.warning("outside")
    assert "inside" in (tmp_path / "train.log").read_text()
    assert "outside" not in (tmp_path / "train.log").read_text()


def test_a_directory_that_is_gone_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError), RunDirectory(tmp_path / "gone"):
        pass


def test_the_status_keeps_its_start_over_a_resume(tmp_path):
    with RunDirectory(tmp_path) as run:
        run.write_status("running", 0)
        started = read_status(tmp_path)["started"]
    with RunDirectory(tmp_path) as run:
        assert run.previous["state"] == "running"
        run.write_status("interrupted", 7, "signal 15")
    status = read_status(tmp_path)
    assert (status["state"], status["step"], status["reason"]) == ("interrupted", 7, "signal 15")
    assert status["started"] == started <= status["updated"] and status["pid"] == os.getpid()


@pytest.mark.parametrize("content", [None, b"", b'{"state":', b"[1]", b'{"a":NaN}', b"\xff"])
def test_a_missing_or_damaged_status_is_empty(tmp_path, content):
    if content is not None:
        (tmp_path / "status.json").write_bytes(content)
    assert read_status(tmp_path) == {}


def test_commands_are_kept_one_line_per_start(tmp_path):
    with RunDirectory(tmp_path) as run:
        run.write_command(["dlcli", "train", "name=a b"])
        run.write_command(["dlcli", "resume", str(tmp_path)])
    assert (tmp_path / "command.txt").read_text() == f"dlcli train 'name=a b'\ndlcli resume {tmp_path}\n"


def test_a_command_of_any_bytes_is_kept(tmp_path):
    with RunDirectory(tmp_path) as run:
        run.write_command(["dlcli", os.fsdecode(b"\xff")])
    assert (tmp_path / "command.txt").read_bytes() == b"dlcli '\xff'\n"


def test_config_and_environment_are_written_as_given(tmp_path):
    with RunDirectory(tmp_path) as run:
        run.write_config("seed: 0\n")
        run.write_environment({"device": "cpu", "threads": 1})
    assert (tmp_path / "config.yaml").read_text() == "seed: 0\n"
    assert read_environment(tmp_path) == json.loads((tmp_path / "environment.json").read_text())
    assert read_environment(tmp_path)["threads"] == 1


def test_no_torch_is_needed_to_claim():
    program = "import sys, dlcli.training.directory; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
