import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys

import pytest

from dlcli.errors import BusyError, StorageError
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


def test_no_link_is_followed(tmp_path):
    (tmp_path / "run.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        Lock(tmp_path).acquire()
    assert not (tmp_path / "elsewhere").exists()
