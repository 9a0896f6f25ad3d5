"""Signals as flags that the loop reads between steps, so that a stop never meets a half-finished one."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

BURST = 0.5  # seconds
PRESSED = "\nstopping: what is under way is saved first; Ctrl-C again stops at once\n"
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """While entered: SIGINT, SIGTERM and SIGHUP ask to stop, SIGUSR1 asks for a checkpoint; a second SIGINT stops at
    once, by KeyboardInterrupt. Handlers belong to the main thread; in any other, nothing is installed.
    """

    def __init__(self, shared: bool = False, answers: bool = False) -> None:
        """shared: with other ranks, so that a signal counts once they have agreed on it, all in the same step. answers:
        whoever presses Ctrl-C at a terminal.
        """
        self.shared, self.answers = shared, answers
        self.received: int | None = None  # number of the first signal that asked to stop
        self.requested: int | None = None  # the same, or of several ranks what the loop has made of it
        self.save_now = False  # the loop takes it back
        self._save_received = False  # as `received` is to `requested`
        self._before: dict[signal.Signals, Any] = {}
        self._raised_at = -math.inf  # when the last KeyboardInterrupt was raised

    @property
    def asks(self) -> bool:
        """Whether there is anything that the loop should see to between two steps."""
        return self.requested is not None or self.save_now

    def asked_to_end(self) -> bool:
        return self.requested is not None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                # Under nohup SIGHUP is ignored, and stays so. An ignored SIGINT is not respected: shells ignore it for
                # every job in the background, where `kill -INT` is the way to stop one.
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._stop)
            self._before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._save)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            if number == signal.SIGINT and kind is KeyboardInterrupt:
                continue  # the process ends; the rest of a burst must not disturb that
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: installed by C code
        self._before.clear()

    def agree(self, greatest: Callable[[int], int | None]) -> None:
        """What one rank has received is asked of all, in this step; greatest: of the numbers that ranks call it with.

        A stop saves, so that there is nothing to lose where one rank is asked to stop and another one to save.
        """
        if saving := self._save_received:
            self._save_received = False
        if told := greatest(2 * (self.received or 0) + saving):
            self.requested, self.save_now = told // 2 or None, True

    def own(self) -> None:
        """From now on the signals of this process are enough."""
        self.shared, self.requested = False, self.received

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received is not None:
            # One interrupt of a burst is enough, but not the last word: raised within a callback it gets lost.
            if time.monotonic() - self._raised_at < BURST:
                return
            self._raised_at = time.monotonic()
            raise KeyboardInterrupt
        if self.received is None:
            self.received = int(number)
            if number == signal.SIGINT and self.answers:
                answer(PRESSED)
        if not self.shared:
            self.requested = self.received

    def _save(self, number: int, frame: FrameType | None) -> None:
        if self.shared:
            self._save_received = True
        else:
            self.save_now = True


def answer(text: str) -> None:
    """Tell whoever sits at a terminal. Past all buffers: a handler may have interrupted one that was being written."""
    with suppress(OSError):
        if os.isatty(2):
            os.write(2, text.encode())
