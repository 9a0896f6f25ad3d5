"""MLflow and Weights & Biases, told what metrics.jsonl says, which stays the truth.

A row is handed over once a checkpoint of its step, or of a later one, is durable: no resumed run takes it back. A
service counts the rows that it has, so after any end the next process goes on with the one behind: no point twice, none
missing. A service that fails stops no training: the run says so, and what was missed follows at the next checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self
from urllib.parse import urlsplit

from dlcli.errors import Interrupted, Pruned, UsageError
from dlcli.report.summary import flatten
from dlcli.training.directory import read_environment
from dlcli.training.tracker import read_metrics

Config = dict[str, Any]
SERVICES = {"mlflow": "MLflow", "wandb": "Weights & Biases"}  # setting, package and module -> name
NOT_TOLD = ("run_dir", "output_root", "tracking.")  # paths and addresses of this machine
PLAIN = (str, int, float, bool)


class Subject(NamedTuple):
    """The run that a service is told of."""

    id: str  # of the run, for good
    path: Path  # of its directory
    project: str
    settings: dict[str, Any]  # by dotted name


class Service(Protocol):
    rows: int  # that it has

    def log(self, rows: Sequence[Mapping[str, float]], first: int) -> None:
        """first: the number of the first of these; `step` and `epoch` are in each."""

    def end(self, state: str) -> None:
        """state: done, failed, or interrupted by a signal or a search."""


def require(config: Config) -> None:
    """Raise UsageError, before anything begins, for a service whose package is missing, or a secret in its address."""
    tracking = config["tracking"]
    for name in SERVICES:
        if tracking[name] is not None and find_spec(name) is None:
            raise UsageError(
                f"tracking.{name} needs the package {name}, which is not installed",
                f"pip install 'dlcli-train[{name}]', or leave tracking.{name} out",
            )
    if tracking["mlflow"] is not None and "@" in urlsplit(tracking["mlflow"]).netloc:
        raise UsageError(
            "tracking.mlflow holds a name or a password, and every run keeps its settings in files",
            "export MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead",
        )


class Followers:
    """The services that a run is told to. Use as a context manager; leaving it tells how the run ended."""

    def __init__(self, run_dir: Path, config: Config, warn: Callable[[str], object]):
        self._places = {name: config["tracking"][name] for name in SERVICES if config["tracking"][name] is not None}
        settings = {key: value for key, value in flatten(config).items() if not key.startswith(NOT_TOLD)}
        run_id = read_environment(run_dir).get("run_id", run_dir.name)
        self._subject = Subject(run_id, run_dir, config["tracking"]["project"], settings)
        self._open: dict[str, Service] = {}
        self._warn, self._warned = warn, set[str]()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stopped = isinstance(error, Interrupted | KeyboardInterrupt | Pruned)
        state = "done" if error is None else "interrupted" if stopped else "failed"
        for service in self._open.values():
            with suppress(Exception):  # told already, where it failed before
                service.end(state)

    def publish(self, step: int) -> None:
        """Hand over all rows up to `step`, of which there is a checkpoint."""
        if not self._places:
            return
        rows = [numbers(row) for row in read_metrics(self._subject.path) if row["step"] <= step]
        for name, place in self._places.items():
            try:
                if name not in self._open:
                    self._open[name] = import_module(f"dlcli.trackers.{name}").Service(place, self._subject)
                service = self._open[name]
                if new := rows[service.rows :]:
                    service.log(new, service.rows)
                    service.rows = len(rows)
            except Exception as fault:  # of a network, a server, a disk: the numbers are safe in metrics.jsonl
                if name not in self._warned:
                    self._warn(f"{SERVICES[name]} was not told: {type(fault).__name__}: {fault}"[:200])
                self._warned.add(name)


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in row.items() if isinstance(value, int | float)}
