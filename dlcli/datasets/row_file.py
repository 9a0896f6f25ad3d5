"""The inputs of a table that memory does not hold, once more in the cache: as records that are read by number.

A permutation wants rows from everywhere, and to have one out of a parquet file is to unpack a group of many thousands.
So the groups are unpacked once, in their order, and each row is kept as float64 numbers of one length.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import weakref
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np

from dlcli.datasets.official import cache_folder
from dlcli.datasets.wording import quote
from dlcli.errors import DataError, StorageError

SPARE = 1 << 30  # bytes of the disk that are left alone


class RowFile:
    """(rows, width) float64 on disk; `read` is what an `OnDisk` array asks."""

    def __init__(self, path: Path, width: int):
        self.path, self.width = path, width
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # held open: if the name goes, the rows stay
        weakref.finalize(self, os.close, self.descriptor)

    def read(self, places: np.ndarray) -> np.ndarray:
        """(k, width) float64; neighbours are read together."""
        order = np.argsort(places, kind="stable")
        ordered, found, size = places[order], np.empty((len(places), self.width)), 8 * self.width
        starts = np.flatnonzero(np.diff(ordered, prepend=-2) != 1).tolist()
        for start, stop in zip(starts, [*starts[1:], len(ordered)], strict=True):
            place = int(ordered[start])
            if os.preadv(self.descriptor, [found[start:stop]], place * size) != (stop - start) * size:
                raise DataError(f"{quote(self.path, 80)}, row {place + 1}: the file was cut", "remove it, start anew")
        back = np.empty_like(found)
        back[order] = found
        return back


def kept(source: Path, rows: int, width: int, form: str, chunks: Iterator[np.ndarray]) -> RowFile:
    """The rows of `source`, as `chunks` of (k, width) float64 have them, which is asked only if they are not yet there.

    form: what else the rows depend on. StorageError without the room for them.
    """
    status, size = source.stat(), 8 * rows * width
    identity = f"{source.resolve()} {status.st_size} {status.st_mtime_ns} {form}"
    target = cache_folder() / "rows" / f"{sha256(identity.encode()).hexdigest()[:32]}.f64"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a second process, or rank, waits here, then finds the file
            if not target.exists() or target.stat().st_size != size:
                if shutil.disk_usage(target.parent).free < size + SPARE:
                    raise StorageError(
                        f"the rows of {quote(source, 60)} take {size} bytes in {quote(target.parent, 60)}: no room",
                        "set DLCLI_CACHE to a folder on a larger disk, or choose fewer dataset.features",
                    )
                write(target, chunks)
        return RowFile(target, width)
    except OSError as fault:
        raise StorageError(
            f"cannot write {quote(target, 100)}: {quote(fault.strerror, 40)}", "set DLCLI_CACHE to another folder"
        ) from fault


def write(target: Path, chunks: Iterator[np.ndarray]) -> None:
    """Under its final name it is complete, or absent."""
    partial = target.with_suffix(".partial")  # one name is enough: the lock is held
    try:
        with partial.open("wb") as sink:
            for chunk in chunks:
                sink.write(np.ascontiguousarray(chunk, np.float64))
            sink.flush()
            os.fsync(sink.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
