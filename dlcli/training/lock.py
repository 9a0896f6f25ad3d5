"""One writer per run directory, and nowhere else: a lock that the kernel releases at any death of its process.

Where the file system has no locks (some network mounts), a file made exclusively stands in for it; that one outlives
a kill, so the message then names the file to delete.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

from dlcli.errors import BusyError, CheckpointError
from dlcli.training import strict_json
from dlcli.training.durable import storage

NAME, STAND_IN = "run.lock", "run.lock.exclusive"
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}
MOST = 4096  # bytes of the note that names the holder
OTHERS = {"checkpoints", "wandb"}  # folders that are judged as they are read, or written by somebody else


class Lock:
    """Held from `acquire` to `release`, or to the end of the process."""

    def __init__(self, run_dir: Path):
        self._path = run_dir / NAME
        self._stand_in: Path | None = None
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Raises BusyError, naming the holder, if another process writes here, and CheckpointError if something here
        leads elsewhere; nothing is changed then."""
        refuse_links(self._path.parent)
        with storage(self._path):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o666)
            try:
                self._lock(descriptor)
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, strict_json.dump({"pid": os.getpid(), "host": socket.gethostname()}), 0)
            except BaseException:
                os.close(descriptor)
                raise
        self._descriptor = descriptor

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._busy(descriptor, "wait for it, or stop it with SIGTERM: it saves a checkpoint first") from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            self._make_stand_in(descriptor)

    def _make_stand_in(self, descriptor: int) -> None:
        stand_in = self._path.with_name(STAND_IN)
        try:
            os.close(os.open(stand_in, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC))
        except FileExistsError:
            raise self._busy(descriptor, f"if that process is gone, delete {stand_in}") from None
        self._stand_in = stand_in

    def _busy(self, descriptor: int, hint: str) -> BusyError:
        holder = "another process"
        with suppress(ValueError, KeyError, OSError):
            note = strict_json.parse_object(os.pread(descriptor, MOST, 0))
            holder = f"process {int(note['pid'])} on {note['host']!a:.64}"
        return BusyError(f"{self._path.parent} is in use by {holder}", hint)

    def release(self) -> None:
        if self._descriptor is None:
            return
        if self._stand_in is not None:
            with suppress(OSError):
                self._stand_in.unlink()
        os.close(self._descriptor)  # the file stays: removing it would race with the next process
        self._descriptor = self._stand_in = None


def refuse_links(run_dir: Path) -> None:
    """Raises CheckpointError for what is neither a file nor a folder: who writes into a run directory that came from
    elsewhere would write through its links, and wait for its pipes."""

    def fail(error: OSError) -> None:
        raise error

    with storage(run_dir):
        for folder, folders, files in os.walk(run_dir, onerror=fail):
            for path in (Path(folder, name) for name in (*folders, *files)):
                with suppress(FileNotFoundError):  # what another process has just put in place
                    mode = path.lstat().st_mode
                    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                        what = "a link" if stat.S_ISLNK(mode) else "no regular file"
                        hint = "a run writes into its own directory only; put a copy of the file there, or remove it"
                        raise CheckpointError(f"{path} is {what}", hint)
            folders[:] = [name for name in folders if name not in OTHERS]
