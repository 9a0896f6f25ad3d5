"""MLflow: an experiment for each project, a run for each run, in a database file or on a server."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the next checkpoint tries again
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
for name, value in QUIET.items():
    os.environ.setdefault(name, value)

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Metric, Param, RunTag  # noqa: E402

from dlcli.trackers import Subject  # noqa: E402

ROWS = "dlcli/rows"  # a metric that counts them, written together with the last of a batch
RUN = "dlcli.run"
MOST_METRICS, MOST_SETTINGS, LONGEST = 900, 100, 500  # in one call; letters of a setting
FOREIGN = re.compile(r"[^\w\-. :/]")  # what no name may hold
STATES = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class Service:
    def __init__(self, place: str, subject: Subject):
        """place: an address with ://, or the path of a database file."""
        self._client = MlflowClient(tracking_uri=place if "://" in place else f"sqlite:///{Path(place).absolute()}")
        found = self._client.get_experiment_by_name(subject.project)
        experiment = found.experiment_id if found else self._client.create_experiment(subject.project)
        known = self._client.search_runs([experiment], f"tags.`{RUN}` = '{subject.id}'")
        self._id = known[0].info.run_id if known else self._create(experiment, subject)
        self._client.update_run(self._id, status="RUNNING")
        counts = self._client.get_metric_history(self._id, ROWS)
        self.rows = max((int(count.value) for count in counts), default=0)

    def _create(self, experiment: str, subject: Subject) -> str:
        made = self._client.create_run(experiment, tags={RUN: subject.id}, run_name=subject.path.name).info.run_id
        settings = [Param(FOREIGN.sub("_", key), str(value)[:LONGEST]) for key, value in subject.settings.items()]
        for start in range(0, len(settings), MOST_SETTINGS):
            self._client.log_batch(made, params=settings[start : start + MOST_SETTINGS])
        self._client.log_batch(made, tags=[RunTag("dlcli.run_dir", subject.path.name)])
        return made

    def log(self, rows: Sequence[Mapping[str, float]], first: int) -> None:
        now, waiting = time.time_ns() // 1_000_000, []
        for count, row in enumerate(rows, first + 1):
            step = int(row["step"])
            waiting += [Metric(FOREIGN.sub("_", key), value, now, step) for key, value in row.items() if key != "step"]
            if len(waiting) > MOST_METRICS // 2 or count == first + len(rows):
                self._client.log_batch(self._id, metrics=[*waiting, Metric(ROWS, count, now, step)])
                waiting = []

    def end(self, state: str) -> None:
        self._client.set_terminated(self._id, STATES[state])
