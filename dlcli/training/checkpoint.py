"""Checkpoints that survive anything: written whole or not at all, and believed only after every byte was checked.

A checkpoint is a folder `step-000000120` of safetensors files, `state.json`, and a manifest written last. It is data:
nothing in it selects code. Checksums show damage, not origin.

Whoever calls anything here but `load` and `checkpoints` holds the lock of the run directory.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dlcli.errors import CheckpointError, Diverged, StorageError
from dlcli.training import manifest, strict_json, tensor_file
from dlcli.training.durable import free_bytes, no_room, storage, sync_folder, unhurried, write_new
from dlcli.training.manifest import MANIFEST, STATE, Damaged, Manifest

NAME = re.compile(r"step-([0-9]{9,})")
SAVING, DELETING, DAMAGED = ".saving-", ".deleting-", ".damaged"
MARGIN = 2**20  # bytes of free space beyond the tensors: headers, state, manifest
KEPT_AT_LEAST = 2  # verified checkpoints that retention never goes below

Tensors = dict[str, dict[str, Tensor]]  # file stem -> name -> tensor
Expected = dict[str, dict[str, tuple[torch.dtype, tuple[int, ...]]]]

# What this process has verified, by the look of its files, so that retention does not read every checkpoint again.
_verified: dict[Path, tuple[Any, ...]] = {}


class Snapshot(NamedTuple):
    """A run at one step, to be written: finite, and shared with nobody who goes on changing it."""

    step: int
    tensors: Tensors  # in host memory
    state: bytes  # strict JSON


class Loaded(NamedTuple):
    step: int
    tensors: Tensors  # in host memory
    state: dict[str, Any]
    path: Path
    identity: dict[str, Any]  # what `save` was given: run id, config digest, versions


def path_of(folder: Path, step: int) -> Path:
    return folder / f"step-{step:09d}"


def checkpoints(folder: Path) -> list[Path]:
    """Everything in `folder` that is named like a checkpoint, newest (by step, never by time) first; none verified."""
    if not _is_ours(folder):
        return []
    with storage(folder), os.scandir(folder) as entries:
        found = [(int(match[1]), entry.name) for entry in entries if (match := NAME.fullmatch(entry.name))]
    return [folder / name for _, name in sorted(found, reverse=True)]


def _is_ours(folder: Path) -> bool:
    """Whether the folder of checkpoints is there. Raises CheckpointError if something else has its name."""
    try:
        mode = os.lstat(folder).st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StorageError(
            f"cannot read {folder}: {error.strerror}"[:200], "check the disk and the permissions"
        ) from error
    if not stat.S_ISDIR(mode):
        what = "a link" if stat.S_ISLNK(mode) else "not a folder"
        raise CheckpointError(f"{folder} is {what}", "checkpoints are kept in a folder of the run directory itself")
    return True


def expect(tensors: Tensors) -> Expected:
    """What a checkpoint of `tensors` must declare, for `load`."""
    return {stem: {n: (t.dtype, tuple(t.shape)) for n, t in named.items()} for stem, named in tensors.items()}


def snapshot(step: int, tensors: Tensors, state: dict[str, Any], room: Snapshot | None = None) -> Snapshot:
    """A copy. Raises Diverged for a number that is not finite.

    tensors: file stem -> name -> tensor, e.g. {"model": {...}, "optimizer": {...}}; they may share memory. room: a
    snapshot that nobody reads any more, whose memory is used again: to get new costs more than to copy.
    """
    for stem, named in tensors.items():
        for name, tensor in named.items():
            if not tensor_file.is_finite(tensor):
                message = f"'{name}' of the {stem} is not finite at step {step}; no checkpoint of it is written"
                raise Diverged(message, "lower optimizer.lr or set training.clip_norm=1; the last checkpoint is intact")
    try:
        plain = strict_json.dump(state)
    except ValueError as error:
        raise Diverged(f"the state of the run at step {step} is not finite", "lower optimizer.lr") from error
    free = {stem: room.tensors.get(stem, {}) if room else {} for stem in tensors}
    copies = {stem: {n: host_copy(t, free[stem].get(n)) for n, t in named.items()} for stem, named in tensors.items()}
    return Snapshot(step, copies, plain)


def host_copy(tensor: Tensor, place: Tensor | None) -> Tensor:
    if place is not None and (place.shape, place.dtype) == (tensor.shape, tensor.dtype):
        return place.copy_(tensor.detach())
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def save(folder: Path, taken: Snapshot, identity: dict[str, Any], rest: Callable[[float], object] = bool) -> Path:
    """Write a checkpoint; once this returns it is durable. Flush metrics and events before. rest: see `unhurried`.

    Raises StorageError when the disk refuses; older checkpoints then stay.
    """
    _is_ours(folder)
    path = path_of(folder, taken.step)
    needed = MARGIN + sum(tensor.nbytes for named in taken.tensors.values() for tensor in named.values())
    free = free_bytes(folder)
    if free is not None and free < needed:
        raise no_room(path, needed, "not enough free space")
    with storage(path, needed):
        folder.mkdir(exist_ok=True)  # without parents: a run directory that was deleted does not come back
        _remove_strays(folder)
        beside = folder / f"{SAVING}{path.name}"
        beside.mkdir()
        try:
            _write(beside, taken, identity, rest)
            sync_folder(beside)
            _rename_new(beside, path)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        sync_folder(folder)
        sync_folder(folder.parent)  # the first save made `folder` itself
        _verified[path] = _look(path)
    return path


def _write(beside: Path, taken: Snapshot, identity: dict[str, Any], rest: Callable[[float], object]) -> None:
    """All files of a checkpoint, the manifest last. Hashing runs beside writing: both are slow and need no Python."""
    files, kinds = {}, {}
    with ThreadPoolExecutor(1) as hasher:

        def put(name: str, pieces: list[memoryview]) -> None:
            digest = hasher.submit(_digest, unhurried(pieces, rest))
            write_new(beside / name, unhurried(pieces, rest))
            files[name] = manifest.File(sum(len(piece) for piece in pieces), digest.result())

        for stem, named in taken.tensors.items():
            kinds[stem] = {name: tensor_file.kind(tensor.dtype, tensor.shape) for name, tensor in named.items()}
            put(f"{stem}.safetensors", tensor_file.encode(named))
        put(STATE, [memoryview(taken.state)])
    write_new(beside / MANIFEST, [manifest.dump(Manifest(taken.step, identity, files, kinds))])


def _digest(pieces: Iterable[memoryview]) -> str:
    digest = sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _rename_new(beside: Path, path: Path) -> None:
    # A folder never replaces one that holds something (POSIX), so nothing can be lost between the look and the rename.
    if path.is_symlink() or path.exists():
        raise CheckpointError(f"{path} exists already", "resume the run: it goes on after its newest checkpoint")
    beside.rename(path)


def prune(folder: Path, keep: int, protect: Collection[int] = ()) -> None:
    """Delete old checkpoints: the newest `keep` stay, and those of the steps in `protect` (the best, say).

    Whatever is asked, at least two stay that were read and verified; nothing damaged counts as one of them.
    """
    sound = 0
    for rank, path in enumerate(checkpoints(folder)):
        wanted = rank < keep or path in {path_of(folder, step) for step in protect}
        if sound < KEPT_AT_LEAST:
            sound += _is_sound(path)
        elif not wanted:
            with storage(path):
                # Out of sight first, so that a half-deleted checkpoint is never taken for a damaged one.
                path.rename(folder / f"{DELETING}{path.name}")
                shutil.rmtree(folder / f"{DELETING}{path.name}")
            _verified.pop(path, None)


def _is_sound(path: Path) -> bool:
    if path in _verified and _verified[path] == _look(path):
        return True
    try:
        found = manifest.read(path)
        for name, file in found.files.items():
            manifest.read_verified(path, name, file)
    except CheckpointError:
        return False
    _verified[path] = _look(path)
    return True


def _look(path: Path) -> tuple[Any, ...]:
    with suppress(OSError), os.scandir(path) as entries:
        stats = ((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)
        return tuple(sorted((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats))
    return ()


def load(path: Path, expected: Expected | None = None, run: str | None = None) -> Loaded:
    """One checkpoint, verified to the last byte: the bytes that are hashed are the bytes that are used.

    expected: types and shapes that the freshly built model needs; judged before any tensor is read.
    run: the id that `identity["run"]` must have.
    Raises CheckpointError (its subclass Damaged, if the checkpoint is not what was once written).
    """
    found = manifest.read(path)
    if run is not None and found.identity.get("run") != run:
        raise CheckpointError(f"{path} belongs to another run", "each run directory keeps its own checkpoints")
    if expected is not None:
        _refuse_mismatch(path, found, expected)
    state, tensors = {}, {}
    for name, file in found.files.items():
        content = manifest.read_verified(path, name, file)
        try:
            if name == STATE:
                state = strict_json.parse_object(content)
            else:
                stem = name.removesuffix(".safetensors")
                tensors[stem] = tensor_file.decode(content, found.tensors[stem])
        except ValueError as error:
            raise Damaged(path, name, str(error)) from error
    _verified[path] = _look(path)
    return Loaded(found.step, tensors, state, path, found.identity)


def _refuse_mismatch(path: Path, found: Manifest, expected: Expected) -> None:
    problems = []
    for stem in sorted(expected.keys() | found.tensors.keys()):
        here = found.tensors.get(stem, {})
        wanted = {name: tensor_file.kind(*entry) for name, entry in expected.get(stem, {}).items()}
        for name in sorted(wanted.keys() | here.keys()):
            if here.get(name) != wanted.get(name):
                fault = "missing" if name not in here else "extra" if name not in wanted else "another shape or type"
                problems.append(f"{stem}/{name} ({fault})")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        message = f"{path.name} does not fit this model: {', '.join(problems[:3])}{more}"
        raise CheckpointError(message[:200], "use the model, optimizer and data set that the run was started with")


def load_newest(
    folder: Path, expected: Expected | None, report: Callable[[str], None], run: str | None = None
) -> Loaded | None:
    """The newest checkpoint that is good; None if none was ever written.

    Damaged ones are renamed to `step-....damaged`, each with one line to `report`. Raises CheckpointError if there are
    checkpoints but none is good: a run never starts again from nothing by itself.
    """
    if not _is_ours(folder):
        return None
    with storage(folder):
        _remove_strays(folder)
    damaged: list[Damaged] = []
    loaded = None
    for path in checkpoints(folder):
        try:
            loaded = load(path, expected, run)
            break
        except Damaged as error:
            damaged.append(error)
            _set_aside(path)
    instead = f"using {loaded.path.name}" if loaded else "no older one is good"
    for error in damaged:
        report(f"checkpoint {error.path.name} damaged ({error.where}: {error.fault}); {instead}")
    if loaded is None and any(DAMAGED in entry.name for entry in folder.iterdir()):
        hint = "restore a checkpoint from a backup, or start a new run with: dlcli train --from RUN_DIR"
        raise CheckpointError(f"no checkpoint in {folder} is usable; the damaged ones are set aside there", hint)
    return loaded


def _set_aside(path: Path) -> None:
    aside, count = path.with_name(f"{path.name}{DAMAGED}"), 1
    while aside.exists() or aside.is_symlink():
        count += 1
        aside = path.with_name(f"{path.name}{DAMAGED}-{count}")
    with storage(path):
        path.rename(aside)


def _remove_strays(folder: Path) -> None:
    """What a process left that died within a save or a deletion; never acknowledged, or no longer wanted."""
    for stray in [entry for entry in folder.iterdir() if entry.name.startswith((SAVING, DELETING))]:
        shutil.rmtree(stray)
