"""The jobs of a sweep dealt to a few processes, each of which trains those that share a program as one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from dlcli.sweeps import Job, Outcome
from dlcli.sweeps.processes import Child, Nursery, belong_to_the_sweep, reason

# What runs of one program may differ in. Whatever shape such a difference gives the data, the engine sees.
FREE = {
    "training": {"epochs", "steps", "clip_norm", "average", "evaluate_every", "log_every"}
    | {"on_nonfinite", "greatest_loss"},
    "dataset": {"train_fraction", "label_noise", "validation_fraction", "seed"},
}
FIXED = ("model", "task", "normalization")
Part = list[Job]


class Stacks:
    """Satisfies `dispatch.Place`: it takes all jobs at once, and each of its processes tells how its own have ended."""

    def __init__(self, jobs: Sequence[Job], processes: int, gpus: Sequence[str] = ()):
        """processes, gpus: as of a Nursery."""
        self.slots = len(jobs)
        self._nursery = Nursery(processes, gpus)
        self._parts = parts(jobs, self._nursery.slots)
        self._living: list[Child] = []
        self._told: set[Child] = set()  # to stop
        self._ended: dict[int, Outcome] = {}

    def start(self, job: Job) -> int:
        return job.number  # its process starts when there is one free for its part

    def wait(self, running: Sequence[int], seconds: float) -> list[int]:
        while self._parts and len(self._living) < self._nursery.slots:
            part = self._parts.pop(0)
            self._living.append(self._nursery.start(work, part, f"jobs {part[0].number} to {part[-1].number}"))
        for answer in wait([child.answer for child in self._living], seconds):
            (child,) = (each for each in self._living if each.answer is answer)
            try:
                number, outcome = answer.recv()
                self._ended[number] = outcome
            except EOFError:
                self._living.remove(child)
                log = Path(child.what[0].folder).name + "/train.log"
                self._leave(child.what, "failed", reason(self._nursery.end(child), log))
        return [number for number in running if number in self._ended]

    def outcome(self, ended: int) -> Outcome:
        return self._ended[ended]

    def stop(self, running: int, at_once: bool) -> None:
        """All of them, since those that share a program stop together."""
        for part in self._parts:
            self._leave(part, "stopped", "it was not begun")
        self._parts.clear()
        for child in self._living:
            if at_once:
                child.process.kill()
            elif child not in self._told:  # a second signal would be one more wish than there was
                self._told.add(child)
                child.process.terminate()

    def _leave(self, part: Part, state: str, why: str) -> None:
        """What a process has not told."""
        for job in part:
            self._ended.setdefault(job.number, Outcome(Path(job.folder).name, state, 0.0, why))


def work(part: Part, answer: Connection) -> None:
    """The life of the process."""
    belong_to_the_sweep(part[0])
    from dlcli.sweeps.ensemble import carry_out

    carry_out(part, lambda job, outcome: answer.send((job.number, outcome)))


def parts(jobs: Sequence[Job], processes: int) -> list[Part]:
    """What a process is given at once: jobs of one program, of which every process has its share."""
    found = []
    for group in groups(jobs):
        size = -(-len(group) // processes)
        found += [group[start : start + size] for start in range(0, len(group), size)]
    return sorted(found, key=len, reverse=True)  # the longest first, so that all end at about the same time


def groups(jobs: Sequence[Job]) -> list[list[Job]]:
    """Those that may share a program, in the order of the first of each group."""
    found: dict[str, list[Job]] = {}
    for job in jobs:
        found.setdefault(program(job.config), []).append(job)
    return list(found.values())


def program(config: dict[str, Any]) -> str:
    parts = {name: config[name] for name in FIXED}
    for name, free in FREE.items():
        parts[name] = {key: value for key, value in config[name].items() if key not in free}
    return json.dumps(parts, sort_keys=True)
