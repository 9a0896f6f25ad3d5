"""Where a run is watched: by a person, a bar on a terminal and plain lines anywhere else; by a script, events."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO

from dlcli.training.train_log import escaped

if TYPE_CHECKING:
    import rich.progress

REDRAW = 0.25  # seconds between drawings of the bar


class Display(Protocol):
    """What a run tells whoever watches it."""

    def log_to(self, log: logging.Logger) -> None:
        """Where lines are kept, whether they are shown or not."""

    def say(self, text: str) -> None:
        """A line for a person, and for train.log."""

    def event(self, name: str, **facts: Any) -> None:
        """A fact for a script: started, resumed, checkpoint_saved, finished, error."""

    def start(self, total_steps: int, step: int = 0) -> None:
        """step: where a resumed run goes on."""

    def advance(self, step: int, loss: float, samples_per_second: float) -> None: ...
    def evaluated(self, step: int, epoch: float, values: dict[str, float]) -> None: ...
    def stop(self) -> None: ...


def warning(display: Display, text: str) -> None:
    """What has to be known, for a person and for a script."""
    display.say(f"warning: {text}")
    display.event("warning", text=text)


class ProgressDisplay:
    """Shows what it is told and asks nothing of the device. A reader that goes away does not stop training.

    No thread redraws the bar: `advance` does, at most four times a second, so small models lose no time to it.
    """

    def __init__(self, stream: TextIO | None = None, lines: bool = True):
        """lines: whether `say` shows anything; the log of the run has its lines in any case."""
        self._lines = lines
        self._log: logging.Logger | None = None
        self._total = 0
        self._stream = sys.stdout if stream is None else stream
        self._bar: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None
        self._drawn = 0.0
        self._gone = self._stream is None or self._stream.closed

    def log_to(self, log: logging.Logger) -> None:
        self._log = log

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (None, self._lines)  # in another process: the same, on the stdout of that one

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, total_steps: int, step: int = 0) -> None:
        self._total = total_steps
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

    def event(self, name: str, **facts: Any) -> None:
        """A person reads lines."""

    def evaluated(self, step: int, epoch: float, values: dict[str, float]) -> None:
        shown = "  ".join(f"{key.removeprefix('risk/')} {value:.4g}" for key, value in values.items())
        self.say(f"epoch {epoch:g}  step {step}/{self._total}  {shown}")

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._log is not None:
            self._log.info(text)
        if not self._lines:
            return
        if self._bar is not None:
            self._guard(lambda: self._bar.console.print(escaped(text), markup=False, highlight=False, soft_wrap=True))
        elif not self._gone:
            self._guard(lambda: whole_line(escaped(text), self._stream))

    def stop(self) -> None:
        if self._bar is not None:
            self._guard(self._bar.stop)
            self._bar = None

    def _guard(self, draw: Callable[[], object]) -> None:
        try:
            draw()
        except (OSError, ValueError):  # the reader left (`| head`), the terminal hung up, or the stream was closed
            self._gone, self._bar = True, None
            leave(self._stream)


class EventLines:
    """One JSON object per event on a stream, for scripts; what a person reads goes to stderr.

    Every object has `event` and `time` (seconds since 1970). A number that is not finite is null.
    """

    def __init__(self, stream: TextIO | None = None):
        self._stream = sys.stdout if stream is None else stream
        self._people = ProgressDisplay(sys.stderr)

    def log_to(self, log: logging.Logger) -> None:
        self._people.log_to(log)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()

    def say(self, text: str) -> None:
        self._people.say(text)

    def event(self, name: str, **facts: Any) -> None:
        try:
            line = json.dumps({"event": name, "time": round(time.time(), 3), **facts}, allow_nan=False)
            whole_line(line, self._stream)
        except (OSError, ValueError, AttributeError):  # a reader that left, or no stdout at all, stops no training
            leave(self._stream)

    def start(self, total_steps: int, step: int = 0) -> None:
        """Told by `started` and `resumed`."""

    def advance(self, step: int, loss: float, samples_per_second: float) -> None:
        self.event("step", step=step, loss=finite(loss), samples_per_second=finite(samples_per_second))

    def evaluated(self, step: int, epoch: float, values: dict[str, float]) -> None:
        self.event("epoch", step=step, epoch=epoch, **{name: finite(value) for name, value in values.items()})

    def stop(self) -> None:
        """Nothing was drawn."""


def whole_line(text: str, stream: TextIO) -> None:
    """In one call, because the thread that writes checkpoints speaks as well."""
    stream.write(f"{text}\n")
    stream.flush()


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def leave(stream: TextIO) -> None:
    """Nobody reads `stream` any more: what is still buffered must not fail again at exit and change the exit code."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
