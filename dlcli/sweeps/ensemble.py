"""Jobs in this process, those of them that share a program as one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dlcli import build, registry, session
from dlcli import config as configs
from dlcli.errors import Interrupted
from dlcli.protocols import Data
from dlcli.sweeps import LAST_REASON, Job, Outcome, failed, is_complete
from dlcli.sweeps.pruning import quiet_display
from dlcli.training.directory import RunDirectory
from dlcli.training.loop import Course
from dlcli.training.room import room
from dlcli.training.signals import Stop
from dlcli.training.together import together

Tell = Callable[[Job, Outcome], object]


def carry_out(jobs: Sequence[Job], tell: Tell) -> None:
    """Bring the jobs of one program to their ends, as `sweeps.carry_out` does with one.

    After a signal each run that was begun has a checkpoint. tell: how a job has ended, at its end.
    """
    left, read = {job.number: job for job in jobs}, Reader()

    def ended(job: Job, outcome: Outcome) -> None:
        del left[job.number]
        tell(job, outcome)

    registry.load_plugins(jobs[0].plugins)
    with Stop() as stop:
        try:
            together((course(job, stop, ended, read) for job in jobs), room)
        except Interrupted as fault:
            for job in list(left.values()):
                ended(job, Outcome(Path(job.folder).name, "stopped", 0.0, fault.message[:LAST_REASON]))


class Reader:
    """Reads a data set once for all runs that ask for it."""

    def __init__(self) -> None:
        self._known: dict[str, Data] = {}

    def __call__(self, section: dict[str, Any]) -> Data:
        key = json.dumps(section, sort_keys=True)
        if key not in self._known:
            self._known[key] = build.read_data(section)
        return self._known[key]


def course(job: Job, stop: Stop, ended: Tell, read: Reader) -> Course[None]:
    """Bring the run of one job to its end, wherever it stands, as `run_job` does."""
    folder, started = Path(job.folder), time.perf_counter()
    outcome = Outcome(folder.name, "done", 0.0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not is_complete(folder):
            yield from train_or_resume(folder, job, stop, read)
    except Interrupted:
        raise
    except Exception as fault:
        outcome = failed(folder, fault)
    ended(job, outcome._replace(seconds=time.perf_counter() - started))


def train_or_resume(folder: Path, job: Job, stop: Stop, read: Reader) -> Course[Any]:
    quiet, saved = quiet_display(folder), folder / "config.yaml"
    with RunDirectory(folder) as directory:
        if (folder / "environment.json").is_file() and saved.is_file():
            config = configs.load_saved(saved)
            return (yield from session.resumed_course(directory, config, job.argv, stop, quiet, read))
        return (yield from session.new_course(directory, job.config, job.argv, stop, quiet, read))
