"""What every peer does: prepare a task, then train on demand, and tell what it cost.

PYTHON PEER.py TASK DATA.npz       one line of JSON when ready; then for each line "STEPS" read, one line of JSON
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import version
from typing import Any

import numpy as np


class Clock:
    """Wall and CPU seconds between its two calls: a framework's own set-up before its first step is left out."""

    def start(self, *_: Any) -> None:
        self.began = time.perf_counter(), time.process_time()

    def stop(self, *_: Any) -> None:
        self.spent = time.perf_counter() - self.began[0], time.process_time() - self.began[1]

    @contextmanager
    def running(self) -> Iterator[None]:
        self.start()
        yield
        self.stop()


def serve(prepare: Callable[[str, np.ndarray, np.ndarray, Clock], Callable[[int], float]], *packages: str) -> None:
    """prepare: (task, inputs, targets, clock) -> advance(steps) -> the last loss; `advance` runs the clock itself."""
    task, path = sys.argv[1:]
    answers, clock = os.fdopen(os.dup(1), "w"), Clock()
    with np.load(path) as data, redirect_stdout(sys.stderr):  # what a framework prints is no answer
        advance = prepare(task, data["inputs"], data["targets"], clock)
        print(json.dumps({"versions": {name: version(name) for name in packages}}), file=answers, flush=True)
        for line in sys.stdin:
            loss, (wall, cpu) = float(advance(int(line))), clock.spent
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB
            answer = {"wall": wall, "cpu": cpu, "loss": loss, "memory": memory}
            print(json.dumps(answer), file=answers, flush=True)
