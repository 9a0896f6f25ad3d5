"""Weights & Biases: one run, offline in a folder of the run directory (`wandb sync` sends it), or online."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # says nothing to its makers

import wandb

from dlcli.trackers import Subject
from dlcli.training.durable import replace


class Service:
    def __init__(self, place: str, subject: Subject):
        """place: offline or online. Nothing of this machine is told beyond the settings."""
        self._count = subject.path / "wandb" / "rows"  # an offline run cannot be asked what it has
        self.rows = int(self._count.read_text()) if self._count.is_file() else 0
        self._run = wandb.init(
            project=subject.project,
            id=subject.id,
            name=subject.path.name,
            dir=subject.path,
            mode=place,
            resume="allow",
            reinit="create_new",  # of a sweep, the jobs in one process
            config=subject.settings,
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_git=True,
                disable_code=True,
                x_disable_meta=True,
                x_disable_machine_info=True,
                x_disable_stats=True,
            ),
        )
        self._run.define_metric("*", step_metric="step")

    def log(self, rows: Sequence[Mapping[str, float]], first: int) -> None:
        for number, row in enumerate(rows, first):
            self._run.log(dict(row), step=number, commit=True)
        replace(self._count, str(first + len(rows)).encode())

    def end(self, state: str) -> None:
        self._run.finish(exit_code=0 if state == "done" else 1)
