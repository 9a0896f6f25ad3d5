import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys

import pytest

from dlcli.errors import BusyError, CheckpointError, StorageError
from dlcli.training.lock import Lock

HOLD = """
import sys, time
from pathlib import Path
from dlcli.training.lock import Lock
lock = Lock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `tmp_path`."""
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_with_the_name_of_the_first(tmp_path, holder):
    before = (tmp_path / "run.lock").read_bytes()
    with pytest.raises(BusyError, match=f"in use by process {holder.pid} on '{socket.gethostname()}'") as caught:
        Lock(tmp_path).acquire()
    assert caught.value.exit_code == 9
    assert (tmp_path / "run.lock").read_bytes() == before


def test_a_killed_holder_blocks_nobody(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    Lock(tmp_path).acquire()


def test_a_released_lock_is_free(tmp_path):
    first = Lock(tmp_path)
    first.acquire()
    with pytest.raises(BusyError):
        Lock(tmp_path).acquire()
    first.release()
    Lock(tmp_path).acquire()


def test_a_file_stands_in_where_there_are_no_locks(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    first = Lock(tmp_path)
    first.acquire()
    with pytest.raises(BusyError) as caught:
        Lock(tmp_path).acquire()
    assert str(tmp_path / "run.lock.exclusive") in caught.value.hint
    first.release()
    Lock(tmp_path).acquire()


@pytest.mark.parametrize("note", [b"", b"\x00\xff", b"[1]", b'{"pid":"\x1b[2J","host":3}', b"[" * 4000])
def test_a_damaged_note_still_refuses(tmp_path, holder, note):
    (tmp_path / "run.lock").write_bytes(note)
    with pytest.raises(BusyError, match="in use by another process"):
        Lock(tmp_path).acquire()


def test_a_directory_that_is_gone_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError):
        Lock(tmp_path / "gone").acquire()


@pytest.mark.parametrize("name", ["train.log", "run.lock", "tensorboard", "losses/test_loss.npy"])
@pytest.mark.parametrize("kind", ["a link", "no regular file"])
def test_a_directory_with_something_that_leads_elsewhere_is_left_alone(tmp_path, name, kind):
    run_dir, path = tmp_path / "run", tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "elsewhere") if kind == "a link" else os.mkfifo(path)
    with pytest.raises(CheckpointError, match=f"{name} is {kind}"):
        Lock(run_dir).acquire()
    assert not (tmp_path / "elsewhere").exists() and (name == "run.lock" or not (run_dir / "run.lock").exists())


def test_the_links_of_wandb_are_its_own(tmp_path):
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "latest-run").symlink_to("run-1")
    Lock(tmp_path).acquire()
