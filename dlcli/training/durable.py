"""Files that survive a crash: the only calls of dlcli that write, sync and rename durable state.

A name always shows either the old or the new content, whole: a file is written under another name, synced, renamed,
and then its folder is synced. A failed sync is never repeated on the same descriptor, because the kernel may have
dropped the pages that it could not write.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from dlcli.errors import StorageError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # disk, quota, file-size limit
TOO_MANY = {errno.EMFILE, errno.ENFILE}  # open files, of this process or of all
MORE_FILES = "raise the limit of open files: ulimit -n 1024"
BESIDE = re.compile(r"\..+\.[0-9]+")  # names of files that are not yet in their place
SLICE = 2 * 2**20  # bytes between two rests
PIECE = 64 * 2**20  # bytes per write call; Linux writes at most 2 GiB at once


@contextmanager
def storage(path: Path, needed: int = 0) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError that names `path` and, where room lacks, how much."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in FULL:
            raise no_room(path, needed, reason) from error
        hint = MORE_FILES if error.errno in TOO_MANY else "check the disk, the permissions and the path"
        raise StorageError(f"cannot write {path}: {reason}", hint) from error


def no_room(path: Path, needed: int, reason: str) -> StorageError:
    free = free_bytes(path)
    room = "" if free is None else f" ({megabytes(needed)} MB needed, {megabytes(free)} MB free)"
    hint = "free some space or raise the quota or file-size limit, then continue with: dlcli resume RUN_DIR"
    return StorageError(f"cannot write {path}: {reason}{room}", hint)


def free_bytes(path: Path) -> int | None:
    """Room for an ordinary user on the file system of `path`, which need not exist yet; None if it cannot be told."""
    for folder in (path, *path.parents):
        with suppress(OSError):
            found = os.statvfs(folder)
            return found.f_bavail * found.f_frsize
    return None


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f}"


def write_new(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    """A file that must not exist yet, synced; its name is durable only after `sync_folder`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(descriptor, rest[:PIECE]) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unhurried(pieces: Iterable[memoryview], rest: Callable[[float], object]) -> Iterator[memoryview]:
    """The same bytes, a slice at a time; `rest` is told the seconds that whoever takes them needed for each."""
    for piece in pieces:
        for start in range(0, len(piece), SLICE):
            taken = time.perf_counter()
            yield piece[start : start + SLICE]
            rest(time.perf_counter() - taken)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Delete what `replace` has left in `folder` and below, in processes that died. Nobody may be writing there."""
    with storage(folder):
        for path in folder.rglob(".*"):
            if BESIDE.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                path.unlink()


def replace(path: Path, content: bytes) -> None:
    """Put a file in place of the one that may be there. Raises StorageError; the old content then stays."""
    replace_all({path: content})


def replace_all(files: Mapping[Path, bytes]) -> None:
    """`replace` for each of them, one after the other, where nothing depends on one before all are durable."""
    for path, content in files.items():
        _put(path, content)
    for folder in dict.fromkeys(path.parent for path in files):
        with storage(folder):
            sync_folder(folder)


def _put(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with storage(path, len(content)):
        with suppress(FileNotFoundError):
            beside.unlink()  # left by a process that died and had the same number
        try:
            write_new(beside, [content])
            beside.replace(path)
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise
