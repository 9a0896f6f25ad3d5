"""Inputs that memory does not hold, once more in the cache: as records of one length that are read by number.

A permutation wants rows from everywhere, and to have one out of a parquet file is to unpack a group of many thousands;
to decode a small picture is mostly Python's own work, which threads cannot share. So the groups are unpacked, and small
pictures decoded, once and in their order. What no run has read for a month is removed when room is made for others.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import weakref
from collections.abc import Iterator
from hashlib import sha256
from math import prod
from pathlib import Path

import numpy as np

from dlcli.datasets.official import cache_folder
from dlcli.datasets.wording import quote
from dlcli.errors import DataError, StorageError

SPARE = 1 << 30  # bytes of the disk that are left alone
SMALL = 1 << 14  # bytes of an image: decoding it is mostly Python's own work, and to read it is faster
FORGOTTEN = 30 * 86400  # seconds without a reader, after which a file goes


class RowFile:
    """(rows, *item) on disk; `read` is what an `OnDisk` array asks."""

    def __init__(self, path: Path, item: tuple[int, ...], dtype: np.dtype):
        self.path, self.item, self.dtype = path, item, dtype
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # held open: if the name goes, the rows stay
        weakref.finalize(self, os.close, self.descriptor)

    def read(self, places: np.ndarray) -> np.ndarray:
        """(k, *item); neighbours are read together."""
        order = np.argsort(places, kind="stable")
        ordered, found = places[order], np.empty((len(places), *self.item), self.dtype)
        size = self.dtype.itemsize * prod(self.item)
        starts = np.flatnonzero(np.diff(ordered, prepend=-2) != 1).tolist()
        for start, stop in zip(starts, [*starts[1:], len(ordered)], strict=True):
            place = int(ordered[start])
            if os.preadv(self.descriptor, [found[start:stop]], place * size) != (stop - start) * size:
                raise DataError(f"{quote(self.path, 80)}, row {place + 1}: the file was cut", "remove it, start anew")
        back = np.empty_like(found)
        back[order] = found
        return back


def kept(
    source: Path, identity: str, rows: int, item: tuple[int, ...], dtype: np.dtype, chunks: Iterator[np.ndarray]
) -> RowFile:
    """The rows of `source`, as `chunks` of (k, *item) have them, which are asked only if they are not yet there.

    identity: all that the rows depend on, with sizes and times of files. StorageError without the room for them.
    """
    size = dtype.itemsize * rows * prod(item)
    target = cache_folder() / "rows" / f"{sha256(identity.encode()).hexdigest()[:32]}.rows"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a second process, or rank, waits here, then finds the file
            if not target.exists() or target.stat().st_size != size:
                forget(target.parent)
                if shutil.disk_usage(target.parent).free < size + SPARE:
                    raise StorageError(
                        f"the rows of {quote(source, 60)} take {size} bytes in {quote(target.parent, 60)}: no room",
                        "set DLCLI_CACHE to a folder on a larger disk, or choose fewer dataset.features",
                    )
                write(target, chunks, dtype)
            os.utime(target)
        return RowFile(target, item, dtype)
    except OSError as fault:
        raise StorageError(
            f"cannot write {quote(target, 100)}: {quote(fault.strerror, 40)}", "set DLCLI_CACHE to another folder"
        ) from fault


def identity_of(source: Path) -> str:
    """Of a file."""
    status = source.stat()
    return f"{source.resolve()} {status.st_size} {status.st_mtime_ns}"


def forget(folder: Path) -> None:
    """Whoever has such a file open keeps its rows."""
    for path in folder.iterdir():
        if path.stat().st_mtime < time.time() - FORGOTTEN:
            path.unlink(missing_ok=True)


def write(target: Path, chunks: Iterator[np.ndarray], dtype: np.dtype) -> None:
    """Under its final name it is complete, or absent."""
    partial = target.with_suffix(".partial")  # one name is enough: the lock is held
    try:
        with partial.open("wb") as sink:
            for chunk in chunks:
                sink.write(np.ascontiguousarray(chunk, dtype))
            sink.flush()
            os.fsync(sink.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
