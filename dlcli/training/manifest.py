"""The manifest of a checkpoint: what every file holds, and the checks that come before a byte of it is used.

Separate because everything here faces input that may be damaged or hostile: links, pipes, huge or nested files,
false declarations. Each ends as CheckpointError, quickly and in little memory.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from dlcli.errors import CheckpointError, StorageError
from dlcli.training import strict_json
from dlcli.training.tensor_file import Kind, parse_kind

MANIFEST, STATE = "manifest.json", "state.json"
FORMAT, VERSION = "dlcli checkpoint", 1
STEM = re.compile(r"[A-Za-z0-9_-]{1,64}")
KEYS = {"format", "version", "step", "identity", "files", "tensors", "digest"}
# Errors of `open` and `read` that speak of the file; others (too many open files, say) speak of the machine.
FILE_FAULTS = {errno.ENOENT: "missing", errno.ELOOP: "is a link", errno.EIO: "cannot be read"}
FILE_FAULTS |= dict.fromkeys((errno.ENXIO, errno.EISDIR, errno.ENOTDIR), "not a regular file")


class Damaged(CheckpointError):
    """A checkpoint that is not what was once written; an older one may serve."""

    def __init__(self, path: Path, where: str, fault: str):
        fault = fault[:80]
        super().__init__(
            f"{path} is not a usable dlcli checkpoint ({where}: {fault})"[:200],
            "choose another checkpoint of the run; `dlcli resume` takes the newest good one",
        )
        self.path, self.where, self.fault = path, where, fault


class File(NamedTuple):
    bytes: int
    sha256: str


class Manifest(NamedTuple):
    step: int
    identity: dict[str, Any]
    files: dict[str, File]
    tensors: dict[str, dict[str, Kind]]  # file stem -> name -> what it is


def dump(manifest: Manifest) -> bytes:
    body = {"format": FORMAT, "version": VERSION, **manifest._asdict()}
    body["files"] = {name: file._asdict() for name, file in manifest.files.items()}
    document = strict_json.dump(body | {"digest": sha256(strict_json.dump(body)).hexdigest()})
    assert len(document) <= strict_json.LIMIT, "too many tensors for one manifest"
    return document


def read(path: Path) -> Manifest:
    """The manifest of the checkpoint folder `path`, consistent in itself and with what lies beside it.

    Raises Damaged; CheckpointError if a newer dlcli wrote it.
    """
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise Damaged(path, path.name, "not a folder")
    except OSError as error:
        raise _fault(path, path.name, error) from error
    document = _read(path, MANIFEST, strict_json.LIMIT)
    try:
        body = strict_json.parse_object(document)
        if strict_json.dump(body) != document:  # one spelling only, so no bit is free to change
            raise ValueError("not as it was written")
        if body.get("format") != FORMAT:
            raise ValueError("not a dlcli checkpoint")
        if type(body.get("version")) is int and body["version"] > VERSION:
            message = f"{path} was written by a newer dlcli (format {body['version']})"
            raise CheckpointError(message[:200], "upgrade dlcli")
        found = _parse(body)
        if path.name != f"step-{found.step:09d}":
            raise ValueError(f"it is of step {found.step}")
    except (ValueError, RecursionError) as error:
        raise Damaged(path, MANIFEST, str(error)) from error
    names = {entry.name for entry in path.iterdir()} - {MANIFEST}
    if names != set(found.files):
        name = min(names ^ set(found.files))
        raise Damaged(path, name[:80].encode("unicode_escape").decode(), "missing" if name in found.files else "extra")
    return found


def _parse(body: dict[str, Any]) -> Manifest:
    digest = body.pop("digest", None)
    if set(body) != KEYS - {"digest"} or body["version"] != VERSION:
        raise ValueError("unknown layout")
    if sha256(strict_json.dump(body)).hexdigest() != digest:
        raise ValueError("checksum")
    if type(body["step"]) is not int or body["step"] < 0 or not isinstance(body["identity"], dict):
        raise ValueError("malformed step or identity")
    tensors = {stem: _parse_kinds(stem, kinds) for stem, kinds in _mapping(body["tensors"]).items()}
    most = {f"{stem}.safetensors": sum(k.bytes for k in kinds.values()) for stem, kinds in tensors.items()}
    files = {name: _parse_file(entry) for name, entry in _mapping(body["files"]).items()}
    if set(files) != {*most, STATE}:
        raise ValueError("files and tensors do not agree")
    if any(file.bytes > most.get(name, 0) + strict_json.LIMIT for name, file in files.items()):
        raise ValueError("a file is larger than its tensors")
    return Manifest(body["step"], body["identity"], files, tensors)


def _parse_kinds(stem: str, kinds: Any) -> dict[str, Kind]:
    if not STEM.fullmatch(stem):
        raise ValueError("malformed name of a file")
    if not all(isinstance(entry, list) and len(entry) == 2 for entry in _mapping(kinds).values()):
        raise ValueError("malformed tensor")
    return {name: parse_kind(*entry) for name, entry in kinds.items()}


def _parse_file(entry: Any) -> File:
    file = File(**_mapping(entry)) if set(_mapping(entry)) == set(File._fields) else File(-1, "")
    if type(file.bytes) is not int or file.bytes < 0 or not isinstance(file.sha256, str):
        raise ValueError("malformed entry of a file")
    return file


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("malformed")
    return value


def read_verified(path: Path, name: str, file: File) -> bytes:
    """The content of a file of the checkpoint. Raises Damaged unless it has the declared size and checksum."""
    content = _read(path, name, file.bytes)
    if len(content) != file.bytes:
        raise Damaged(path, name, "size")
    if sha256(content).hexdigest() != file.sha256:
        raise Damaged(path, name, "checksum")
    return content


def _read(path: Path, name: str, limit: int) -> bytes:
    """A regular file of at most `limit` bytes; no link is followed, no pipe waited for, no device touched."""
    try:
        descriptor = os.open(path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise Damaged(path, name, "not a regular file")
            if found.st_size > limit:
                raise Damaged(path, name, "size")
            return stream.readall()
    except OSError as error:
        raise _fault(path, name, error) from error


def _fault(path: Path, name: str, error: OSError) -> CheckpointError | StorageError:
    if error.errno in FILE_FAULTS:
        return Damaged(path, name, FILE_FAULTS[error.errno])
    return StorageError(f"cannot read {path / name}: {error.strerror}"[:200], "check the disk and the permissions")
