"""Several runs side by side, one row each; a run that failed keeps its row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from dlcli.report import wording
from dlcli.report.summary import differing
from dlcli.report.table import plain_table

Run = Mapping[str, Any]  # as `summary.read_run` returns it


def comparison_table(runs: Sequence[Run], lines: bool) -> Table:
    """What differs between the runs, their risks, and how far each is from the best-trained of its own class.

    `opt. above best` is L_train minus the least L_train of the runs with the same function class, training set and
    loss: an exact difference of optimization terms, whatever min_F L_train is. Runs of different classes are never
    compared by it.
    """
    keys = differing([run["config"] for run in runs])
    best = best_train_losses(runs)
    table = plain_table(lines, f"{len(runs)} runs")
    table.add_column("run", ratio=1, overflow="fold")
    for heading in ("train\nloss", "test\nloss", "train\nerror", "test\nerror", "gap", "opt. above\nbest", "status"):
        table.add_column(heading)
    for run in runs:
        label = " ".join(f"{key}={run['config'].get(key)}" for key in keys) or run["path"]
        summary = run["summary"]
        if summary is None:
            reason = f"{run['status']}: {run['reason']}" if run["reason"] else run["status"]
            table.add_row(Text(label), *[""] * 6, Text(reason, style="red" if run["status"] == "failed" else ""))
            continue
        excess = summary["risks"]["train"]["loss"]["value"] - best[comparable(summary)][0]
        shared = best[comparable(summary)][1] > 1
        table.add_row(
            Text(label),
            risk(summary, "train", "loss"),
            risk(summary, "test", "loss"),
            risk(summary, "train", "error"),
            risk(summary, "test", "error"),
            wording.number(summary["risks"]["test"]["loss"]["value"] - summary["risks"]["train"]["loss"]["value"]),
            wording.number(excess) if shared else "",
            run["status"],
        )
    return table


def risk(summary: Mapping[str, Any], split: str, metric: str) -> str:
    found = summary["risks"][split].get(metric)
    return "" if found is None else wording.number(found["value"], found["unit"])


def comparable(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """Equal for runs that share min_F L_train: the keys of class, training set and loss."""
    return tuple(summary["keys"][part] for part in ("class", "data", "loss"))


def best_train_losses(runs: Sequence[Run]) -> dict[tuple[str, ...], tuple[float, int]]:
    """Per key: the least train loss, and how many runs have the key."""
    found: dict[tuple[str, ...], tuple[float, int]] = {}
    for run in runs:
        if run["summary"] is not None:
            key = comparable(run["summary"])
            value = run["summary"]["risks"]["train"]["loss"]["value"]
            least, count = found.get(key, (value, 0))
            found[key] = (min(least, value), count + 1)
    return found
