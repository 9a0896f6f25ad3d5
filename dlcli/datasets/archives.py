"""Regular files out of tar and zip archives, streamed: nothing is ever written, so no member can escape a folder."""

from __future__ import annotations

import gzip
import lzma
import math
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dlcli.datasets.files import reading
from dlcli.datasets.wording import quote
from dlcli.errors import DataError

SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")
GREATEST_MEMBERS = 300_000  # a million take ten seconds to look at, before any is read
GREATEST_LIST = 32 << 20  # bytes of the list in which a zip names its members
GREATEST_MEMBER = 256 << 20  # bytes of one file
GREATEST_RATIO = 100  # unpacked to packed; images and label files stay far below
END_MARK = 1024  # zero bytes behind the last member of a tar
FREE_BYTES = 64 << 20  # below this the ratio is not judged: small text packs well
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError)
AGAIN = "copy or download the archive again, or unpack it yourself and name the folder"


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each regular file, in the order of the archive.

    DataError for damage, links, devices, names that leave the folder, duplicates, and archives that unpack to too much.
    """
    seen: set[str] = set()
    with reading(path) as handle:
        try:
            for name, content in _zip(path, handle) if path.name.lower().endswith(".zip") else _tar(path, handle):
                _check_name(path, name, seen)
                yield name, content
        except (*DAMAGED, NotImplementedError, RuntimeError, UnicodeError, ValueError, LookupError) as fault:
            # zipfile raises RuntimeError for encrypted members, NotImplementedError for unknown methods, IndexError for
            # a member without a name
            reason = quote(str(fault) or type(fault).__name__, 70)[1:-1]
            raise DataError(f"{quote(path, 80)} is damaged: {reason}", AGAIN) from fault


def _check_name(path: Path, name: str, seen: set[str]) -> None:
    if name.startswith("/") or ".." in name.split("/") or "\\" in name or "\0" in name:
        raise DataError(f"{quote(path, 60)}: member {quote(name, 60)} points outside of the archive", AGAIN)
    if name in seen:
        raise DataError(f"{quote(path, 60)}: member {quote(name, 60)} occurs twice", AGAIN)
    seen.add(name)
    if len(seen) > GREATEST_MEMBERS:
        raise DataError(f"{quote(path, 80)} has more than {GREATEST_MEMBERS} members", AGAIN)


def _tar(path: Path, handle: BinaryIO) -> Iterator[tuple[str, bytes]]:
    packed = path.stat().st_size
    plain = path.name.lower().endswith(".tar")
    stream = Bounded(path, handle if plain else gzip.GzipFile(fileobj=handle), packed)
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            archive.members.clear()  # tarfile would keep every header
            if member.isdir():
                continue
            if not member.isreg():
                raise DataError(f"{quote(path, 60)}: member {quote(member.name, 60)} is no regular file", AGAIN)
            _check_size(path, member.name, member.size)
            yield member.name, archive.extractfile(member).read()
    while stream.read(1 << 20):  # to the end, where gzip compares its checksum
        pass
    if stream.tail != bytes(END_MARK):  # what tarfile takes for the end may be a cut between two members
        raise DataError(f"{quote(path, 80)} is damaged: it ends without the mark of its end", AGAIN)


def _zip(path: Path, handle: BinaryIO) -> Iterator[tuple[str, bytes]]:
    with unzipped(path, handle, GREATEST_LIST) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        total = sum(entry.file_size for entry in entries)
        _check_ratio(path, total, path.stat().st_size)
        for entry in entries:
            if (entry.external_attr >> 28) not in (0, 0o10):  # the type bits of st_mode: none, or a regular file
                raise DataError(f"{quote(path, 60)}: member {quote(entry.filename, 60)} is no regular file", AGAIN)
            _check_size(path, entry.filename, entry.file_size)
            with archive.open(entry) as member:  # `archive.read` unpacks all there is, whatever was declared
                yield entry.filename, member.read(entry.file_size)


@contextmanager
def unzipped(path: Path, handle: BinaryIO, most: int) -> Iterator[zipfile.ZipFile]:
    """An archive whose list of members takes no more than so many bytes."""
    listing = Listing(path, handle, most)
    with zipfile.ZipFile(listing) as archive:
        listing.most = math.inf
        yield archive


class Listing:
    """A file that refuses to be read in large pieces: `zipfile` takes the list of members, which it opens with, in one.

    What the end of a zip says of that list is best left to the one who reads it.
    """

    def __init__(self, path: Path, handle: BinaryIO, most: float):
        self.path, self.handle, self.most = path, handle, most
        self.seek, self.tell, self.seekable = handle.seek, handle.tell, handle.seekable

    def read(self, size: int = -1) -> bytes:
        if size > self.most:
            raise DataError(
                f"{quote(self.path, 80)} has too many members: their list alone takes {size} bytes",
                "unpack it yourself, or make several of it",
            )
        return self.handle.read(size)


def _check_size(path: Path, name: str, size: int) -> None:
    if size > GREATEST_MEMBER:
        raise DataError(
            f"{quote(path, 60)}: member {quote(name, 50)} has {size} bytes", f"{GREATEST_MEMBER} bytes at most"
        )


def _check_ratio(path: Path, unpacked: int, packed: int) -> None:
    if unpacked > max(FREE_BYTES, GREATEST_RATIO * packed):
        raise DataError(f"{quote(path, 80)} unpacks to more than {GREATEST_RATIO} times its size", AGAIN)


class Bounded:
    """A stream that refuses to unpack more than the archive's size can honestly hold."""

    def __init__(self, path: Path, stream: BinaryIO, packed: int):
        self.path, self.stream, self.packed = path, stream, packed
        self.unpacked, self.tail = 0, b""

    def read(self, size: int) -> bytes:
        content = self.stream.read(size)
        self.unpacked += len(content)
        self.tail = (self.tail + content[-END_MARK:])[-END_MARK:]
        _check_ratio(self.path, self.unpacked, self.packed)
        return content
