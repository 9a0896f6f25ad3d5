"""Checkpoints written while training goes on: the loop pays for a copy in host memory, a thread for the disk."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from dlcli.training import checkpoint
from dlcli.training.checkpoint import Snapshot
from dlcli.training.run import Run

POLITE = 10  # niceness of the writing, 0 to 19
IDLE = 3  # times as long as it works that the writing rests, while nobody waits for it: steps need the memory's speed
GRACE = 2.0  # seconds that a process that is killed may lose: a copy waits so long in memory for a better one
RARELY = 5  # times as long as a save took, with its rests, until the next that nobody asked for at this step


class Flushed(Protocol):
    def flush(self) -> None: ...


class Saver:
    """Saves a run, one checkpoint at a time: where one is being written still, the next waits for it.

    A checkpoint is acknowledged, and older ones forgotten, once it is durable. What its writing fails with is raised by
    the next call, whichever that is. Use as a context manager; leaving it waits for the disk, whatever ended the block,
    because nobody else may enter the run directory before, and what was held is written then.
    """

    def __init__(
        self,
        run: Run,
        folder: Path,
        identity: dict[str, Any],
        journal: Flushed,
        acknowledge: Callable[[int, float], object],
    ):
        """acknowledge: told of the step, and the seconds that its writing took, by the thread that writes."""
        self._run, self._folder, self._identity = run, folder, identity
        self._journal, self._acknowledge = journal, acknowledge
        self._thread = ThreadPoolExecutor(1, "checkpoint", initializer=step_back)
        self._writing: Future[None] | None = None
        self._taken: Snapshot | None = None  # the last, whose memory is free once it is written
        self._held = False  # and it is not being written yet
        self._begun = time.monotonic()  # when something was written last
        self._hurried = threading.Event()  # somebody waits
        self._rested = self._begun + GRACE  # when another save is worth its time, by time.monotonic

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()
        self._hurried.set()
        while self._writing is not None and not self._writing.done():
            with suppress(KeyboardInterrupt):
                wait([self._writing])
        self._thread.shutdown()
        self.wait()

    def save(self) -> None:
        """Keep the run as it stands; of several ranks, which are alike, the first does. Raises Diverged if it is not
        finite."""
        self.wait()
        if self._held and self._taken.step == self._run.state.best_step:
            self._release()
            self.wait()
        self._take()
        self._release()

    def hold(self) -> None:
        """Keep the run as it stands, the best so far, in memory: on disk after a while, unless a better one comes."""
        self.wait()
        self._take()

    def _take(self) -> None:
        run = self._run
        if run.ranks.rank > 0:
            if run.sharded:
                run.tensors()  # the first puts together what all have
            return
        run.state.window = {name: float(value) for name, value in run.state.window.items()}
        self._taken = checkpoint.snapshot(run.state.step, run.tensors(), run.plain_state(), self._taken)
        self._held = True

    def _release(self) -> None:
        """Let what is held be written."""
        if self._held:
            self._held, self._begun = False, time.monotonic()
            self._hurried.clear()
            self._writing = self._thread.submit(self._write, self._taken, self._run.state.best_step)

    @property
    def rested(self) -> bool:
        """Whether another checkpoint would keep more than moments and leave nearly all of the time to training."""
        return (self._writing is None or self._writing.done()) and time.monotonic() >= self._rested

    def look(self) -> None:
        """Raise what the writing has failed with, if it has ended; otherwise leave it alone. Write what was held."""
        if self._writing is not None and self._writing.done():
            self.wait()
        if time.monotonic() >= self._begun + GRACE:
            self._release()

    def wait(self) -> None:
        """Until what was saved is durable."""
        self._hurried.set()
        if self._writing is not None:
            wait([self._writing])
            ended, self._writing = self._writing, None
            ended.result()

    def _write(self, taken: Snapshot, best: int) -> None:
        started = time.monotonic()
        self._journal.flush()
        checkpoint.save(self._folder, taken, self._identity, lambda worked: self._hurried.wait(IDLE * worked))
        now = time.monotonic()
        self._rested = now + max(GRACE, RARELY * (now - started))
        self._acknowledge(taken.step, now - started)
        forget(self._folder, self._run.checkpoint.keep, best)


def step_back() -> None:
    """Let the thread that trains go first, where cores are scarce; threads that this one starts do likewise."""
    if sys.platform == "linux":  # where a thread has a priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), POLITE)


def forget(folder: Path, keep: int, best: int) -> None:
    """Delete the checkpoints that are neither among the newest `keep` nor of the step `best`."""
    checkpoint.prune(folder, keep, protect=(best,))
