"""`dlcli diff`: two runs side by side, only where they differ: settings, environment, results. Reads files only."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlcli.errors import UsageError
from dlcli.report.summary import absent, differing, flatten, read_object, read_rows, read_run, visible

METRICS = ("loss", "error")
NOT_COMPARED = ("git.dirty", "run_id")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("first", type=Path, metavar="RUN")
    parser.add_argument("second", type=Path, metavar="RUN")


def run(arguments: Namespace) -> int:
    from rich.console import Console
    from rich.text import Text

    from dlcli.report.table import plain_table

    folders = (arguments.first, arguments.second)
    for folder in folders:
        if not (folder / "config.yaml").is_file():
            raise UsageError(*absent(folder))
    runs, console = [read_run(folder) for folder in folders], Console()
    tables = {"settings": settings(runs), "environment": environment(folders), "results": results(runs)}
    for title, rows in tables.items():
        if not rows:
            console.print(f"{title}: the same", highlight=False)
            continue
        table = plain_table(console.is_terminal, title)
        for heading in ("", *map(str, folders), *(["second - first"] if title == "results" else [])):
            table.add_column(heading, overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table, highlight=False)
        console.print()
    for line in comparison(runs, folders):
        console.print(Text(line), highlight=False)
    return 0


def settings(runs: list[dict[str, Any]]) -> list[list[str]]:
    found = [run["config"] for run in runs]
    return [[key, *(cell(config, key) for config in found)] for key in differing(found)]


def environment(folders: tuple[Path, ...]) -> list[list[str]]:
    found = [visible(flatten(read_object(folder / "environment.json") or {})) for folder in folders]
    keys = [key for key in differing(found) if key not in NOT_COMPARED]
    return [[key, *(cell(facts, key) for facts in found)] for key in keys]


def cell(values: Mapping[str, Any], key: str) -> str:
    from dlcli.config.catalogue import spelled

    return spelled(values[key]) if key in values else "-"


def results(runs: list[dict[str, Any]]) -> list[list[str]]:
    """Risks and terms, the difference where both are numbers."""
    from dlcli.report import wording

    numbers = [measured(run) for run in runs]
    rows = [["status", *(run["status"] for run in runs), ""]] if runs[0]["status"] != runs[1]["status"] else []
    for key in dict.fromkeys([*numbers[0], *numbers[1]]):
        values = [found.get(key) for found in numbers]
        if values[0] == values[1]:
            continue
        unit = next(found[key][1] for found in numbers if key in found)
        cells = ["-" if value is None else wording.interval(value[0], unit) for value in values]
        points = [value[0][0] for value in values if value and value[0][0] == value[0][1]]
        rows.append([key, *cells, wording.number(points[1] - points[0], unit) if len(points) == 2 else ""])
    return rows


def measured(run: Mapping[str, Any]) -> dict[str, tuple[tuple[float, float], str]]:
    """By name: a point or an interval, and its unit."""
    if run["summary"] is None:
        return {}
    found: dict[str, tuple[tuple[float, float], str]] = {}
    for split, risks in run["summary"]["risks"].items():
        found |= {f"{split} {name}": ((risk["value"],) * 2, risk["unit"]) for name, risk in risks.items()}
    for metric, record in run["summary"]["decomposition"].items():
        unit = run["summary"]["risks"]["train"][metric]["unit"]
        found[f"approximation ({metric})"] = (tuple(record["approx_train"]["interval"]), unit)
        found[f"optimization ({metric})"] = (tuple(record["optimization"]["interval"]), unit)
        found[f"generalization ({metric})"] = ((record["generalization"]["value"],) * 2, unit)
    seconds = sum(run["summary"]["timing"].values())
    return found | {"parameters": ((run["summary"]["class"]["parameters"],) * 2, ""), "seconds": ((seconds,) * 2, "")}


def comparison(runs: list[dict[str, Any]], folders: tuple[Path, ...]) -> list[str]:
    """What the two share, and whether one is better on the test examples that both have read."""
    from dlcli.decomposition.paired import same_test_set
    from dlcli.report import wording

    if any(run["summary"] is None for run in runs):
        return []
    keys = [run["summary"]["keys"] for run in runs]
    names = {"class": "function class", "data": "training set", "loss": "loss"}
    shared = [name for key, name in names.items() if keys[0][key] == keys[1][key]]
    tests = {run["summary"]["data"].get("test_sha256") for run in runs}
    lines = [f"in common: {', '.join([*shared, *(['test set'] if len(tests) == 1 else [])]) or 'nothing'}"]
    for metric in METRICS if len(tests) == 1 else ():
        rows = [read_rows(folder, "test", metric) for folder in folders]
        if any(each is None for each in rows) or (metric == "loss" and keys[0]["loss"] != keys[1]["loss"]):
            continue
        unit = runs[0]["summary"]["risks"]["test"][metric]["unit"]
        found = same_test_set(*reversed(rows), unit)
        shown = wording.estimate(found.difference, found.ci, unit)
        lines.append(f"test {metric}, second - first: {shown} ({found.method})")
    return lines
