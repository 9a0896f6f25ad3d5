"""What a run was computed with: versions, device, threads, and the commit of the user's code."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from dlcli import __version__

LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "hydra-core", "omegaconf", "safetensors", "tensorboard")
BITWISE = ("dlcli", "python", "machine", "device", "threads", "libraries")  # equal where a run repeats to the bit
GIT_SECONDS = 2  # a slow file system must not hold up a run for a fact of this kind


def environment(device: str, threads: int) -> dict[str, Any]:
    """Plain JSON for environment.json. No environment variable and no remote address is read: they may be secret."""
    return {
        "dlcli": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "device": device,
        "threads": threads,
        "git": _first_git_state(Path.cwd()),
    }


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What changed since a run was started, of the things on which its last bits depend: 'threads: 2, now 1'."""
    found = []
    for name in BITWISE:
        old, new = before.get(name), now[name]
        if name == "libraries":
            old = old if isinstance(old, dict) else {}
            found += [
                f"{lib}: {old[lib]}, now {version}" for lib, version in new.items() if old.get(lib, version) != version
            ]
        elif old != new:
            found.append(f"{name}: {old}, now {new}")
    return found


@cache  # half a millisecond each, and a sweep asks for every run
def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@cache  # what this process has imported does not change either, and a sweep asks for every run
def _first_git_state(folder: Path) -> dict[str, Any] | None:
    return git_state(folder)


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit, and whether tracked files differ from it; None outside a repository or without git."""
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return None
    return {"commit": commit.strip(), "dirty": _dirty(folder)}


def _dirty(folder: Path) -> bool | None:
    """None if it cannot be told. A file that a filter rewrites (git-lfs) is taken for changed once its time is."""
    filters = _git(folder, "config", "--includes", "--null", "--name-only", "--get-regexp", r"^filter\.") or ""
    keys = filters.split("\0")[:-1]
    if any("=" in key for key in keys):  # `-c` would set another key
        return None
    silent = [word for key in keys for word in ("-c", f"{key}=")]
    changes = _git(folder, *silent, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
    return None if changes is None else bool(changes.strip())


def _git(folder: Path, *arguments: str) -> str | None:
    # A repository's own config may name programs that git would run: a file-system monitor, hooks, filters (see
    # `_dirty`), and whatever fetches the objects that a partial clone lacks.
    safe = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
    try:
        answer = subprocess.run(
            ["git", "--no-optional-locks", *safe, "-C", folder, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            env=os.environ | {"GIT_ALLOW_PROTOCOL": "none"},
            timeout=GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout
