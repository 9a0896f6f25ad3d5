"""Where a sweep is watched: a table of its jobs on a terminal, and in any case a line for each job that has ended.

It reads the run directories, so it shows a job the same wherever that runs.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dlcli.sweeps import Job, Outcome, line
from dlcli.training import strict_json

if TYPE_CHECKING:
    from rich.table import Table

REDRAW = 1.0  # seconds
TAIL = 4096  # bytes of metrics.jsonl in which its last row is
AROUND = 6  # lines of the terminal that are not rows of the table
SHOWN = ("risk/train/loss", "risk/validation/loss")


class Board:
    """Use as a context manager; a reader that goes away does not stop the sweep."""

    def __init__(self, jobs: Sequence[Job], total: int):
        self._jobs, self._total = jobs, total
        self._outcomes: dict[int, Outcome] = {}
        self._since: dict[int, float] = {}  # number of a job -> when it was started
        self._live: Any = None
        self._drawn = 0.0

    def __enter__(self) -> Self:
        if sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(), auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            with suppress(OSError):
                self._live.stop()

    def started(self, job: Job) -> None:
        self._since[job.number] = time.monotonic()

    def ended(self, job: Job, outcome: Outcome) -> None:
        self._outcomes[job.number] = outcome
        text = line(job.number, self._total, outcome, Path(job.folder))
        with suppress(OSError, ValueError, AttributeError):
            if self._live is None:
                print(text, flush=True)
            else:
                self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def draw(self) -> None:
        """At most once a second."""
        if self._live is None or time.monotonic() - self._drawn < REDRAW:
            return
        self._drawn = time.monotonic()
        with suppress(OSError):
            self._live.update(self.table(self._live.console.height), refresh=True)

    def table(self, height: int) -> Table:
        """Running jobs first, then those to come, then those that have ended, as many as fit."""
        from rich.table import Table
        from rich.text import Text

        states = [outcome.state for outcome in self._outcomes.values()]
        done, pruned = states.count("done"), states.count("pruned")
        running = [job for job in self._jobs if job.number in self._since and job.number not in self._outcomes]
        waiting = [job for job in self._jobs if job.number not in self._since]
        ended = [job for job in self._jobs if job.number in self._outcomes]
        counts = f"{len(running)} running, {len(waiting)} waiting, {done} done, {len(ended) - done - pruned} failed"
        counts += f", {pruned} pruned" if pruned else ""
        table = Table("job", "state", "epoch", "train loss", "validation", "seconds", title=counts, box=None)
        for job in (running + waiting + ended)[: max(1, height - AROUND)]:
            table.add_row(Text(Path(job.folder).name), *self._cells(job))
        return table

    def _cells(self, job: Job) -> tuple[str, ...]:
        if job.number not in self._since:
            return ("waiting", "", "", "", "")
        outcome, newest = self._outcomes.get(job.number), last_row(Path(job.folder) / "metrics.jsonl")
        training = job.config["training"]
        epoch = f"{newest['epoch']:.4g}" if "epoch" in newest else ""
        if epoch and training["epochs"]:
            epoch += f"/{training['epochs']}"
        elapsed = outcome.seconds if outcome else time.monotonic() - self._since[job.number]
        risks = (f"{newest[name]:.4g}" if newest.get(name) is not None else "" for name in SHOWN)
        return (outcome.state if outcome else "running", epoch, *risks, f"{elapsed:.0f}")


def last_row(path: Path) -> dict[str, Any]:
    """The newest values of metrics.jsonl, by name; empty where there are none yet."""
    found: dict[str, Any] = {}
    with suppress(OSError), path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        for text in file.read().split(b"\n"):
            with suppress(ValueError):  # the first one may be cut, the last one may be half written
                found |= strict_json.parse_object(text)
    return found
