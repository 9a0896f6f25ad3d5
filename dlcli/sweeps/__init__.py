"""The jobs of a sweep, each in its own directory: run, resumed or left alone, and never lost to another's failure.

A job is plain data and its outcome is too, so that both travel to any process and machine. Launchers differ in where a
job is carried out, and in nothing else.
"""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dlcli import config as configs
from dlcli import registry
from dlcli.errors import DlcliError, Interrupted, Pruned, StorageError
from dlcli.report.summary import read_object
from dlcli.sweeps.pruning import quiet_display
from dlcli.training.signals import Stop

LAST_REASON = 300  # characters of a failure that are carried to the table; train.log has the rest


class Job(NamedTuple):
    """One run of a sweep, and all that a process needs to carry it out."""

    number: int  # from 1
    folder: str  # absolute; every process that works on the sweep sees it
    config: dict[str, Any]  # checked
    argv: tuple[str, ...]  # of the sweep, for command.txt
    plugins: tuple[str, ...]


class Outcome(NamedTuple):
    """How a job ended."""

    folder: str  # its name within the sweep
    # stopped: by a signal, with a checkpoint; pruned: by the search that has begun it
    state: Literal["done", "failed", "stopped", "pruned"]
    seconds: float
    reason: str = ""


def carry_out(job: Job) -> Outcome:
    """`run_job` for a process of its own, where a signal ends this job alone."""
    started = time.perf_counter()
    try:
        return run_job(job)
    except Interrupted as fault:
        return Outcome(Path(job.folder).name, "stopped", time.perf_counter() - started, fault.message[:LAST_REASON])
    except StorageError as fault:
        return failed(Path(job.folder), fault)._replace(seconds=time.perf_counter() - started)


def run_job(job: Job) -> Outcome:
    """Bring the run of one job to its end, wherever it stands.

    Raises Interrupted, so that a sweep stops with its job, and StorageError: what has no room for one has none for all.
    A finished run is left as it is; one with a checkpoint goes on from there, under the configuration it has.
    """
    folder, started = Path(job.folder), time.perf_counter()
    try:
        registry.load_plugins(job.plugins)
        folder.mkdir(parents=True, exist_ok=True)
        if (status := read_object(folder / "status.json") or {}).get("state") == "pruned":
            return Outcome(folder.name, "pruned", 0.0, status.get("reason", ""))
        if not is_complete(folder):
            with Stop() as stop:
                train_or_resume(folder, job, stop)
    except (Interrupted, StorageError):
        raise
    except Exception as fault:
        return failed(folder, fault)._replace(seconds=time.perf_counter() - started)
    return Outcome(folder.name, "done", time.perf_counter() - started)


def failed(folder: Path, fault: Exception) -> Outcome:
    """The other jobs go on; the traceback of a bug is in train.log."""
    reason = fault.message if isinstance(fault, DlcliError) else f"{type(fault).__name__}: {fault}"
    return Outcome(folder.name, "pruned" if isinstance(fault, Pruned) else "failed", 0.0, reason[:LAST_REASON])


def train_or_resume(folder: Path, job: Job, stop: Stop) -> None:
    from dlcli import ranked, session  # torch, a second that a process which only watches the jobs of others is spared

    turn, config, saved = session.train_in, job.config, folder / "config.yaml"
    if (folder / "environment.json").is_file() and saved.is_file():
        turn, config = session.resume, configs.load_saved(saved)
    ranked.at(folder, turn, config, stop, argv=job.argv, display=quiet_display(folder))


def is_complete(folder: Path) -> bool:
    """Whether the run ended well and its report is there."""
    status = read_object(folder / "status.json") or {}
    return status.get("state") == "done" and (folder / "summary.json").is_file()


def line(number: int, total: int, outcome: Outcome, folder: Path) -> str:
    """One job in one line, for whoever watches."""
    head = f"[{number}/{total}] {outcome.folder}"
    if outcome.state != "done":
        return f"{head}  {outcome.state.upper()}: {outcome.reason}"
    risks = read_object(folder / "summary.json")["risks"]
    shown = "  ".join(
        f"{split} {name} {risks[split][name]['value']:.4g}" for name in risks["train"] for split in ("train", "test")
    )
    return f"{head}  {shown}  ({outcome.seconds:.1f} s)"


def interrupted(root: Path, left: int, fault: Interrupted) -> Interrupted:
    hint = f"continue with: dlcli resume {shlex.quote(str(root))}"
    return Interrupted(f"{fault.message}; {left} jobs of the sweep are left", hint, fault.exit_code - 128)
