"""Opening local files: whatever is wrong with a path becomes one DataError that names it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dlcli.datasets.wording import quote
from dlcli.errors import DataError, StorageError, UsageError

GREATEST_BYTES = 16 << 30  # that any source may unpack into; a larger set would not fit beside a model anyway
SYSTEM_FAULTS = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.ESTALE}


def required(path: str | None, dataset: str) -> Path:
    """The path that the user gave. UsageError where there is none."""
    if path is None:
        raise UsageError(f"dataset={dataset} needs dataset.path", "add dataset.path=FILE to the command")
    return Path(path).expanduser()


@contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """A binary handle on a regular file. DataError where it is missing, unreadable, empty or no regular file."""
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer that never comes.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as fault:  # ValueError: NUL in the path
        raise unreadable(path, fault) from fault
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
        raise DataError(f"{quote(path, 100)} is {kind}", "name a data file")
    with os.fdopen(descriptor, "rb") as handle:
        if status.st_size == 0:
            raise DataError(f"{quote(path, 100)} is empty", "copy or download the file again")
        try:
            yield handle
        except OSError as fault:
            raise unreadable(path, fault) from fault


def unreadable(path: Path, fault: Exception) -> DataError | StorageError:
    """The error for a path that could not be opened or read."""
    reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
    message = f"cannot read {quote(path, 100)}: {quote(reason, 60)[1:-1]}"
    if isinstance(fault, OSError) and fault.errno in SYSTEM_FAULTS:
        return StorageError(message, "check the disk and the limits of the system")
    return DataError(message, "check the path and its permissions; relative paths start at the current folder")


def is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
