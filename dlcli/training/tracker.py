"""Where the numbers of a run are kept: metrics.jsonl, which the report reads, and TensorBoard, which people read.

At resume both are cut back to the step of the checkpoint. What belongs to a step is logged, and `flush` called, before
the checkpoint of that step is saved. A value has one place per step: what stands there is kept, and a repetition (the
final risks after those of the last evaluation, or in a resumed run) left out.
"""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from dlcli.training import strict_json
from dlcli.training.durable import replace, storage
from dlcli.training.events import EventFile, event_files, healed, tags_at


def tensorboard_command(logdir: Path) -> str:
    """The line that shows `logdir` in a browser, quoted for the shell."""
    return f"tensorboard --logdir {shlex.quote(str(logdir))}"


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The whole rows of metrics.jsonl, oldest first; torn or damaged lines are left out."""
    path = run_dir / "metrics.jsonl"
    return list(_rows(path.read_bytes())) if path.exists() else []


def _rows(content: bytes) -> Iterator[dict[str, Any]]:
    for line in content.split(b"\n"):
        try:
            row = strict_json.parse_object(line)
        except ValueError:
            continue
        if isinstance(row.get("step"), int):
            yield row


class Tracker:
    """Writes both from the first step, or after `resume_step`. Raises StorageError when the disk refuses."""

    def __init__(self, run_dir: Path, resume_step: int | None = None):
        """resume_step: of the checkpoint that was loaded; None starts anew, and what a killed start has left goes."""
        self._path = run_dir / "metrics.jsonl"
        self._folder = run_dir / "tensorboard"
        self._open(resume_step)

    def cut_back(self, step: int) -> None:
        """Forget what is later than `step`, to which the run has returned."""
        self.close()
        self._open(step)

    def _open(self, resume_step: int | None) -> None:
        last_step = -1 if resume_step is None else resume_step
        self._step = last_step  # the one that is written now
        with storage(self._path):
            rows = self._heal_rows(last_step)
            self._tags = self._heal_events(last_step)
            self._names = {name for row in rows if row["step"] == last_step for name in row}
            self._rows = self._path.open("ab", buffering=0)
            # Even a TensorBoard that has read the later steps already forgets them.
            try:
                self._events = EventFile(self._folder, None if resume_step is None else resume_step + 1)
            except BaseException:
                self._rows.close()
                raise

    def _heal_rows(self, last_step: int) -> list[dict[str, Any]]:
        found = self._path.read_bytes() if self._path.exists() else b""
        rows = [row for row in _rows(found) if row["step"] <= last_step]
        kept = b"".join(map(_line, rows))
        if kept != found:
            replace(self._path, kept)
        return rows

    def _heal_events(self, last_step: int) -> set[str]:
        """Returns the tags that stand at the last step."""
        tags: set[str] = set()
        for path in event_files(self._folder):
            content = path.read_bytes()
            kept = healed(content, last_step)
            if kept != content:
                replace(path, kept)
            tags |= tags_at(kept, last_step)
        return tags

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def log(self, step: int, epoch: float, values: dict[str, float]) -> None:
        """One row of metrics.jsonl, and a curve for every value. What is not finite is null there and named."""
        self._move_to(step)
        new = {name: value for name, value in values.items() if name not in self._names}
        self._names |= new.keys()
        finite = {name: value if math.isfinite(value) else None for name, value in new.items()}
        row: dict[str, Any] = {"step": step, "epoch": epoch, **finite}
        if nonfinite := [name for name, value in finite.items() if value is None]:
            row["nonfinite"] = nonfinite
        if new:
            with storage(self._path):
                self._rows.write(_line(row))
        for name, value in values.items():
            self.scalar(name, value, step)

    def scalar(self, tag: str, value: float, step: int) -> None:
        """A curve in TensorBoard alone: for what differs from run to run, such as speed."""
        if self._is_new(tag, step):
            with storage(self._folder):
                self._events.scalar(tag, value, step)

    def image(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """pixels: (height, width, 3) uint8."""
        if self._is_new(tag, step):
            with storage(self._folder):
                self._events.image(tag, pixels, step)

    def text(self, tag: str, markdown: str, step: int) -> None:
        if self._is_new(tag, step):
            with storage(self._folder):
                self._events.text(tag, markdown, step)

    def hparams(self, settings: dict[str, Any], metrics: dict[str, float], step: int) -> None:
        """The run's row in the HParams tab; call once, at the end. settings: flat, by dotted name.

        The metrics become scalars `final/NAME`, apart from every curve.
        """
        with storage(self._folder):
            self._events.hparams(settings, metrics, step)

    def _is_new(self, tag: str, step: int) -> bool:
        self._move_to(step)
        known = tag in self._tags
        self._tags.add(tag)
        return not known

    def _move_to(self, step: int) -> None:
        if step != self._step:
            self._step, self._names, self._tags = step, set(), set()

    def flush(self) -> None:
        """Make everything so far durable."""
        with storage(self._path):
            os.fsync(self._rows.fileno())
            self._events.flush()

    def close(self) -> None:
        self._rows.close()
        self._events.close()


def _line(row: dict[str, Any]) -> bytes:
    return strict_json.dump(row) + b"\n"
