"""The jobs of a sweep in this process, those that differ in numbers only as one program."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlcli import build, registry, session
from dlcli import config as configs
from dlcli.errors import Interrupted
from dlcli.protocols import Data
from dlcli.sweeps import Job, Outcome, failed, interrupted, is_complete
from dlcli.sweeps.board import Board
from dlcli.sweeps.pruning import quiet_display
from dlcli.training.directory import RunDirectory
from dlcli.training.loop import Course
from dlcli.training.room import room
from dlcli.training.signals import Stop
from dlcli.training.together import together

# What runs of one program may differ in. Whatever shape such a difference gives the data, the engine sees.
FREE = {
    "training": {"epochs", "steps", "clip_norm", "average", "evaluate_every", "log_every"}
    | {"on_nonfinite", "greatest_loss"},
    "dataset": {"train_fraction", "label_noise", "validation_fraction", "seed"},
}
FIXED = ("model", "task", "normalization")


def carry_out(jobs: Sequence[Job], root: Path, total: int) -> list[Outcome]:
    """Their outcomes, in the order of the jobs. Raises Interrupted after a signal, with a checkpoint of each run."""
    outcomes: dict[int, Outcome] = {}
    registry.load_plugins(jobs[0].plugins)
    with Stop() as stop, Board(jobs, total) as board:
        try:
            for group in groups(jobs):
                read = Reader()
                together((course(job, stop, board, outcomes, read) for job in group), room)
        except Interrupted as fault:
            raise interrupted(root, len(jobs) - len(outcomes), fault) from None
    return [outcomes[job.number] for job in jobs]


class Reader:
    """Reads a data set once for all runs that ask for it."""

    def __init__(self) -> None:
        self._known: dict[str, Data] = {}

    def __call__(self, section: dict[str, Any]) -> Data:
        key = json.dumps(section, sort_keys=True)
        if key not in self._known:
            self._known[key] = build.read_data(section)
        return self._known[key]


def course(job: Job, stop: Stop, board: Board, outcomes: dict[int, Outcome], read: Reader) -> Course[None]:
    """Bring the run of one job to its end, wherever it stands, as `run_job` does."""
    folder, started = Path(job.folder), time.perf_counter()
    board.started(job)
    outcome = Outcome(folder.name, "done", 0.0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not is_complete(folder):
            yield from train_or_resume(folder, job, stop, read)
    except Interrupted:
        raise
    except Exception as fault:
        outcome = failed(folder, fault)
    outcomes[job.number] = outcome._replace(seconds=time.perf_counter() - started)
    board.ended(job, outcomes[job.number])


def train_or_resume(folder: Path, job: Job, stop: Stop, read: Reader) -> Course[Any]:
    quiet, saved = quiet_display(folder), folder / "config.yaml"
    with RunDirectory(folder) as directory:
        if (folder / "environment.json").is_file() and saved.is_file():
            config = configs.load_saved(saved)
            return (yield from session.resumed_course(directory, config, job.argv, stop, quiet, read))
        return (yield from session.new_course(directory, job.config, job.argv, stop, quiet, read))


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
