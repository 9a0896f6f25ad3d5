"""Official files of public data sets: found in a folder, or downloaded once and checked against a pinned sum."""

from __future__ import annotations

import fcntl
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import IO, NamedTuple, TypeVar
from urllib.parse import urlsplit

from dlcli.datasets.wording import quote
from dlcli.errors import DataError, StorageError

CHUNK = 1 << 20
TIMEOUT = 30  # seconds without a byte


class Official(NamedTuple):
    """A file as its authors publish it."""

    name: str
    url: str
    size: int  # bytes
    sha256: str


Answer = TypeVar("Answer")
Present = Callable[[Path], list[Path] | None]  # folder -> the files of the data set in it, or None


def locate(dataset: str, present: Present, published: Iterable[Official], root: str | None) -> list[Path]:
    """The files of a data set: in `root`, else where a distribution packages them, else the cache, else downloaded.

    DataError where `root` lacks them or the download fails; StorageError where the cache cannot be written.
    """
    published = tuple(published)
    if root is not None:
        found = present(Path(root).expanduser())
        if found is None:
            names = ", ".join(file.name for file in published)
            raise DataError(
                f"no official files of {dataset} in dataset.root={quote(root, 100)}",
                f"it must hold {names}; other formats are read by dataset=image_folder or dataset=npz"[:200],
            )
        return found
    cache = cache_folder() / dataset
    packaged = dataset.replace("_", "-")
    for folder in (Path("/usr/share/datasets", packaged), Path(f"/usr/share/dataset-{packaged}"), cache):
        found = present(folder)
        if found is not None:
            return found
    for file in published:
        download(file, cache)
    found = present(cache)
    assert found is not None, f"{dataset}: what was downloaded is not what is looked for"
    return found


def cache_folder() -> Path:
    """Where downloads are kept: $DLCLI_CACHE, else ~/.cache/dlcli."""
    if folder := os.environ.get("DLCLI_CACHE"):
        return Path(folder).expanduser()
    try:
        return Path.home() / ".cache" / "dlcli"
    except RuntimeError:  # neither HOME nor a user entry
        return Path(tempfile.gettempdir()) / f"dlcli-{os.getuid()}"


def download(file: Official, folder: Path, schemes: tuple[str, ...] = ("https",)) -> Path:
    """Fetch `file` into `folder` unless it is there. Under its final name it is complete and checked, or absent."""
    target = folder / file.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a second process waits here, then finds the file
            if not target.exists():
                _fetch(file, target, schemes)
    except OSError as fault:
        raise StorageError(
            f"cannot write {quote(target, 100)}: {quote(fault.strerror, 40)}", "set DLCLI_CACHE to another folder"
        ) from fault
    return target


def _fetch(file: Official, target: Path, schemes: tuple[str, ...]) -> None:
    partial = target.with_name(f".{target.name}.partial")  # one name is enough: we hold the lock
    try:
        with partial.open("wb") as sink:
            digest, size = _transfer(file, sink, schemes)
            sink.flush()
            os.fsync(sink.fileno())
        if size != file.size:
            raise _failed(file, f"got {size}{' or more' if size > file.size else ''} of {file.size} bytes")
        if digest != file.sha256:
            raise _failed(file, f"sha256 is {digest[:12]}..., not {file.sha256[:12]}...")
        partial.replace(target)
        _sync_folder(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def _transfer(file: Official, sink: IO[bytes], schemes: tuple[str, ...]) -> tuple[str, int]:
    """Copy at most one chunk more than the pinned size, so that an endless answer ends."""
    digest, size = sha256(), 0
    if urlsplit(file.url).scheme not in schemes:
        raise _failed(file, f"only {' and '.join(schemes)} addresses are fetched")
    response = _reach(file, lambda: urllib.request.build_opener(_Redirects(schemes)).open(file.url, timeout=TIMEOUT))
    with response:
        while size <= file.size and (chunk := _reach(file, lambda: response.read(CHUNK))):
            digest.update(chunk)
            size += sink.write(chunk)
    return digest.hexdigest(), size


def _reach(file: Official, ask: Callable[[], Answer]) -> Answer:
    try:
        return ask()
    except urllib.error.HTTPError as fault:
        fault.close()  # it is the answer too, with its connection
        raise _failed(file, f"the server answered {fault.code}") from fault
    except urllib.error.URLError as fault:
        raise _failed(file, str(fault.reason)) from fault
    except (OSError, http.client.HTTPException, ValueError) as fault:
        raise _failed(file, str(fault) or type(fault).__name__) from fault


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirection only where it stays within the allowed schemes."""

    def __init__(self, schemes: tuple[str, ...]):
        self.schemes = schemes

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # the names are urllib's
        scheme = urlsplit(newurl).scheme
        if scheme not in self.schemes:
            fp.close()
            raise urllib.error.URLError(f"redirected to {scheme}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _failed(file: Official, reason: str) -> DataError:
    return DataError(
        f"cannot download {quote(file.url, 100)}: {quote(reason, 60)[1:-1]}",
        f"fetch {file.name} by other means and pass dataset.root=FOLDER_THAT_HOLDS_IT",
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
