"""The jobs of a sweep, given to the place where they run, and watched until the last has ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from dlcli import config as configs
from dlcli.errors import Interrupted
from dlcli.sweeps import Job, Outcome, interrupted
from dlcli.sweeps.board import Board
from dlcli.training.durable import replace
from dlcli.training.signals import Stop

LOOK = 0.25  # seconds between looks at signals and at the jobs


class Place(Protocol):
    """Where jobs run: processes of this machine, a cluster. What `start` gives back stands for a job there."""

    slots: int  # jobs that it takes at once; a cluster that has a queue of its own takes all

    def start(self, job: Job) -> Any: ...
    def wait(self, running: Sequence[Any], seconds: float) -> Sequence[Any]: ...  # those that have ended by then
    def outcome(self, ended: Any) -> Outcome: ...
    def stop(self, running: Any, at_once: bool) -> None: ...  # with a checkpoint, unless at once


def dispatch(jobs: Sequence[Job], place: Place, root: Path, total: int) -> list[Outcome]:
    """Their outcomes, in the order of the jobs; total: of the sweep, for the numbers that are shown.

    Raises Interrupted after a signal, when every running job has ended, KeyboardInterrupt after a second one.
    """
    waiting, running, outcomes = list(jobs), {}, {}
    with Stop() as stop, Board(jobs, total) as board:
        asked = False
        try:
            while waiting or running:
                while waiting and len(running) < place.slots:
                    job = waiting.pop(0)
                    running[place.start(job)] = job
                    board.started(job)
                for ended in place.wait(list(running), LOOK):
                    job, outcome = running.pop(ended), place.outcome(ended)
                    if outcome.state == "stopped" and not stop.requested:  # somebody stopped this job, not the sweep
                        outcome = outcome._replace(state="failed")
                    outcomes[job.number] = outcome
                    keep_config(job)
                    board.ended(job, outcome)
                board.draw()
                if stop.requested and not asked:
                    asked = True
                    waiting.clear()
                    for each in running:
                        place.stop(each, at_once=False)
        except BaseException:
            for each in running:
                place.stop(each, at_once=True)
            raise
    if stop.requested:
        left = len(jobs) - sum(outcome.state == "done" for outcome in outcomes.values())
        raise interrupted(root, left, Interrupted(f"stopped by signal {stop.requested}", "", stop.requested))
    return [outcomes[job.number] for job in jobs]


def keep_config(job: Job) -> None:
    """A job that died before it wrote anything is in the tables too, and is told by its settings."""
    path = Path(job.folder) / "config.yaml"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, configs.text(job.config).encode())
