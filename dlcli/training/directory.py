"""The run directory, the interface between training and everything after it: claimed once, written by one process."""

from __future__ import annotations

import io
import os
import re
import shlex
import socket
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from logging import Logger
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from dlcli.errors import DlcliError, StorageError, UsageError
from dlcli.training import strict_json
from dlcli.training.durable import remove_leftovers, replace, replace_all, storage, sync_folder
from dlcli.training.lock import Lock
from dlcli.training.train_log import TrainLog

ATTEMPTS = 10_000
LONGEST_NAME = 60
RunStatus = Literal["running", "done", "failed", "interrupted", "pruned"]


def claim(output_root: str, what: str, seed: int) -> Path:
    """A new directory OUTPUT_ROOT/DATE/TIME-WHAT-SEED of our own, whatever the clock says and whoever claims beside us.

    The time is local, to the millisecond; a name that is taken gets a number behind it. Raises StorageError.
    """
    now = datetime.now().astimezone()
    name = f"{now:%H-%M-%S}.{now.microsecond // 1000:03d}-{plain_name(what)}-{seed}"
    with storage(Path(output_root)):
        day = Path(output_root).absolute() / f"{now:%Y-%m-%d}"
        day.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, ATTEMPTS):
            run_dir = day / (name if attempt == 1 else f"{name}-{attempt}")
            with suppress(FileExistsError):
                run_dir.mkdir()
                sync_folder(day)
                return run_dir
    raise StorageError(f"no free name for a run in {day}", "check the clock, or give run_dir=DIRECTORY")


def claim_exact(run_dir: str) -> Path:
    """The directory that the user named, new or empty. Raises UsageError if it holds anything, or is no directory."""
    with storage(Path(run_dir)):
        path = Path(run_dir).absolute()
        if path.exists() and not path.is_dir():
            raise UsageError(f"run_dir={run_dir} is not a directory", "name a new or an empty one")
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            hint = f"continue that run with `dlcli resume {shlex.quote(run_dir)}`, or name another directory"
            raise UsageError(f"run_dir={run_dir} is not empty", hint)
        sync_folder(path.parent)
    return path


def plain_name(what: str) -> str:
    """`what` as part of a file name: letters, digits, dot, dash and underscore of ASCII."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", what).strip("-._")[:LONGEST_NAME] or "run"


def read_status(run_dir: Path) -> dict[str, Any]:
    """What status.json says; empty if there is none or it is damaged."""
    return _read_object(run_dir / "status.json")


def read_environment(run_dir: Path) -> dict[str, Any]:
    return _read_object(run_dir / "environment.json")


def _read_object(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        return strict_json.parse_object(path.read_bytes())
    return {}


class RunDirectory:
    """A run directory while this process writes it: locked, with its log open. Use as a context manager.

    Entering raises BusyError if another process writes it, StorageError if it is gone or cannot be written.
    """

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.previous: dict[str, Any] = {}  # status.json as found; state "running" means that run was killed
        self._lock = Lock(path)
        self._log = TrainLog(path / "train.log")

    def __enter__(self) -> Self:
        self._lock.acquire()
        try:
            remove_leftovers(self.path)
            self._log.open()
        except BaseException:
            self._lock.release()
            raise
        self.previous = read_status(self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, DlcliError):  # whoever raised it does not know where it ran
            error.hint = error.hint.replace("RUN_DIR", shlex.quote(str(self.path)))
        self._log.close()
        self._lock.release()

    @property
    def log(self) -> Logger:
        return self._log.logger

    def write_config(self, text: str) -> None:
        replace(self.path / "config.yaml", text.encode())

    def write_command(self, argv: list[str]) -> None:
        """Add a line to command.txt, which the shell would read as `argv`: one per start of this run."""
        path = self.path / "command.txt"
        with storage(path):
            before = path.read_bytes() if path.exists() else b""
        replace(path, before + shlex.join(argv).encode(errors="surrogateescape") + b"\n")

    def write_environment(self, facts: dict[str, Any]) -> None:
        replace(self.path / "environment.json", strict_json.dump_lines(facts))

    @property
    def acknowledged(self) -> int | None:
        """The step of the newest checkpoint that was said to be durable; None if there never was one."""
        step = self.previous.get("checkpoint")
        return step if type(step) is int else None

    def acknowledge(self, step: int) -> None:
        """Say that the checkpoint of `step` is durable."""
        self.previous["checkpoint"] = step
        self.write_status("running", step)

    def write_status(self, state: RunStatus, step: int, reason: str = "") -> None:
        """Put status.json in place; call at the start and at the end."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        status = {
            "state": state,
            "step": step,
            "checkpoint": self.acknowledged,
            "reason": reason,
            "started": self.previous.get("started", now),
            "updated": now,
            "pid": os.getpid(),
            "host": socket.gethostname(),
        }
        replace(self.path / "status.json", strict_json.dump_lines(status))
        self.previous = status

    def write_summary(self, summary: dict[str, Any]) -> None:
        replace(self.path / "summary.json", strict_json.dump_lines(summary))

    def write_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Arrays by their paths below the directory, such as losses/test_loss.npy."""
        files = {}
        for name, array in arrays.items():
            path, content = self.path / name, io.BytesIO()
            with storage(path):
                path.parent.mkdir(exist_ok=True)
            np.save(content, array, allow_pickle=False)
            files[path] = content.getvalue()
        replace_all(files)
