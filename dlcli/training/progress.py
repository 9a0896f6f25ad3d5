"""Where a person watches: a progress bar on a terminal, one plain line per evaluation anywhere else."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from dlcli.training.train_log import escaped

if TYPE_CHECKING:
    import rich.progress

REDRAW = 0.25  # seconds between drawings of the bar


class ProgressDisplay:
    """Shows what it is told and asks nothing of the device. A reader that goes away does not stop training.

    No thread redraws the bar: `advance` does, at most four times a second, so small models lose no time to it.
    """

    def __init__(self, stream: TextIO | None = None, lines: bool = True):
        """lines: whether `epoch_line` shows anything."""
        self._lines = lines
        self._stream = sys.stdout if stream is None else stream
        self._bar: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None
        self._drawn = 0.0
        self._gone = self._stream is None or self._stream.closed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, total_steps: int, step: int = 0) -> None:
        """step: where a resumed run goes on."""
        if self._gone or not self._stream.isatty() or os.environ.get("TERM") == "dumb":
            return
        import rich.console  # here, because a run whose output is a file needs none of it
        from rich import progress

        self._bar = progress.Progress(
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[measured]}"),
            progress.TimeRemainingColumn(),
            console=rich.console.Console(file=self._stream),
            auto_refresh=False,
            transient=True,
        )
        self._task = self._bar.add_task("", total=total_steps, completed=step, measured="")
        self._bar.start()

    def advance(self, step: int, loss: float, samples_per_second: float) -> None:
        if self._bar is None:
            return
        measured = f"loss {loss:.4g}  {samples_per_second:,.0f} samples/s"
        self._bar.update(self._task, completed=step, measured=measured)
        if time.monotonic() - self._drawn >= REDRAW:
            self._drawn = time.monotonic()
            self._guard(self._bar.refresh)

    def epoch_line(self, text: str) -> None:
        """A line that stays."""
        if not self._lines:
            return
        if self._bar is not None:
            self._guard(lambda: self._bar.console.print(escaped(text), markup=False, highlight=False, soft_wrap=True))
        elif not self._gone:
            self._guard(lambda: print(escaped(text), file=self._stream, flush=True))

    def stop(self) -> None:
        if self._bar is not None:
            self._guard(self._bar.stop)
            self._bar = None

    def _guard(self, draw: Callable[[], object]) -> None:
        try:
            draw()
        except (OSError, ValueError):  # the reader left (`| head`), the terminal hung up, or the stream was closed
            self._gone, self._bar = True, None
            with suppress(OSError, ValueError):
                # What is still buffered would fail again at exit, and change the exit code.
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
