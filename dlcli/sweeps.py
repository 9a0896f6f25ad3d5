"""The jobs of a sweep, each in its own directory: run, resumed or left alone, and never lost to another's failure."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dlcli import config as configs
from dlcli import session
from dlcli.errors import DlcliError, Interrupted
from dlcli.report.summary import read_object
from dlcli.training.directory import RunDirectory
from dlcli.training.progress import ProgressDisplay
from dlcli.training.signals import Stop

LAST_REASON = 300  # characters of a failure that are carried to the table; train.log has the rest


class Outcome(NamedTuple):
    """How a job ended."""

    folder: str
    state: Literal["done", "failed"]
    seconds: float
    reason: str = ""


def run_job(folder: Path, config: dict[str, Any]) -> Outcome:
    """Bring the run of one job to its end, wherever it stands. Raises Interrupted, so that a sweep stops with its job.

    A finished run is left as it is; one with a checkpoint goes on from there, under the configuration it has.
    """
    started = time.perf_counter()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with Stop() as stop, RunDirectory(folder) as directory:
            if not is_complete(folder):
                train_or_resume(directory, config, stop)
    except Interrupted:
        raise
    except DlcliError as fault:
        return Outcome(folder.name, "failed", time.perf_counter() - started, fault.message[:LAST_REASON])
    except Exception as bug:  # its traceback is in train.log; the other jobs go on
        return Outcome(
            folder.name, "failed", time.perf_counter() - started, f"{type(bug).__name__}: {bug}"[:LAST_REASON]
        )
    return Outcome(folder.name, "done", time.perf_counter() - started)


def train_or_resume(directory: RunDirectory, config: dict[str, Any], stop: Stop) -> None:
    quiet = ProgressDisplay(lines=False)  # the sweep prints one line per job
    saved = directory.path / "config.yaml"
    if (directory.path / "environment.json").is_file() and saved.is_file():
        session.resume(directory, configs.load_saved(saved), sys.argv, stop, quiet)
    else:
        session.train_in(directory, config, sys.argv, stop, quiet)


def is_complete(folder: Path) -> bool:
    """Whether the run ended well and its report is there."""
    status = read_object(folder / "status.json") or {}
    return status.get("state") == "done" and (folder / "summary.json").is_file()


def line(number: int, total: int, outcome: Outcome, folder: Path) -> str:
    """One job in one line, for whoever watches."""
    head = f"[{number}/{total}] {outcome.folder}"
    if outcome.state == "failed":
        return f"{head}  FAILED: {outcome.reason}"
    risks = read_object(folder / "summary.json")["risks"]
    shown = "  ".join(
        f"{split} {name} {risks[split][name]['value']:.4g}" for name in risks["train"] for split in ("train", "test")
    )
    return f"{head}  {shown}  ({outcome.seconds:.1f} s)"


def interrupted(root: Path, left: int, fault: Interrupted) -> Interrupted:
    hint = f"continue with: dlcli resume {shlex.quote(str(root))}"
    return Interrupted(f"{fault.message}; {left} jobs of the sweep are left", hint, fault.exit_code - 128)


def failures(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.state == "failed"]
