"""The runs below a folder as one table: what each was, how it stands, what it reached. Damaged ones keep their row."""

from __future__ import annotations

import csv
import io
import operator
import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.text import Text

from dlcli.errors import UsageError
from dlcli.report import wording
from dlcli.report.results import row as results
from dlcli.report.summary import read_object, read_run
from dlcli.report.table import plain_table
from dlcli.training.train_log import escaped

Row = dict[str, Any]  # flat: run, status, age, reason, the settings by their dotted keys, risks and terms
SHOWN = ("run", "status", "age", "optimizer", "train_loss", "test_loss", "test_error")
FRACTIONS = ("_error", "_error_low", "_error_high")
COLOURS = {"failed": "red", "killed": "red", "unreadable": "red", "interrupted": "yellow", "running": "green"}
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": lambda value, pattern: not matches(value, pattern),
    "=": lambda value, pattern: matches(value, pattern),
    "<": operator.lt,
    ">": operator.gt,
}
CONDITION = re.compile(rf"([\w.]+)({'|'.join(COMPARISONS)})(.+)")


class Condition(NamedTuple):
    key: str
    comparison: str
    value: str

    def admits(self, row: Row) -> bool:
        found = row.get(self.key)
        if self.comparison in ("=", "!="):
            return COMPARISONS[self.comparison](found, self.value)
        return type(found) in (int, float) and COMPARISONS[self.comparison](found, float(self.value))


def condition(text: str) -> Condition:
    """`test_error<0.1`, `model=cnn`, `run=*-cnn-*`. UsageError for anything else."""
    match = CONDITION.fullmatch(text.strip())
    parsed = match and Condition(*(part.strip() for part in match.groups()))
    if parsed and parsed.comparison not in ("=", "!="):
        with suppress(ValueError):
            float(parsed.value)
            return parsed
        parsed = None
    if parsed:
        return parsed
    raise UsageError(f"cannot read --filter {text!r}", "write KEY=VALUE, KEY!=VALUE, KEY<NUMBER or KEY>NUMBER, quoted")


def matches(value: Any, pattern: str) -> bool:
    """Equal as numbers, or the text fits the pattern, in which * stands for any letters."""
    if type(value) in (int, float):
        with suppress(ValueError):
            return value == float(pattern)
    spelled = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return fnmatchcase(spelled, pattern)


def read_rows(folders: Sequence[Path], root: Path, now: datetime | None = None) -> list[Row]:
    """One row a run; its age, in seconds, is the time since it was last heard of."""
    return [_row(folder, root, now or datetime.now(UTC)) for folder in folders]


def _row(folder: Path, root: Path, now: datetime) -> Row:
    name = escaped(folder.relative_to(root).as_posix() if folder != root else folder.name)
    try:
        run = read_run(folder)
        status = read_object(folder / "status.json") or {}
        found = results(run, list(run["config"])) | {"run": name}
    except (UsageError, OSError, UnicodeError, AttributeError) as fault:
        return {"run": name, "status": "unreadable", "reason": str(fault).splitlines()[0], "age": None}
    if run["status"] == "running" and status.get("host") == socket.gethostname() and not _is_alive(status.get("pid")):
        found |= {"status": "killed", "reason": "its process ended without a word; go on with: dlcli resume"}
    found["age"] = None
    with suppress(KeyError, ValueError, TypeError):
        found["age"] = max(0.0, (now - datetime.fromisoformat(status["updated"])).total_seconds())
    return {"run": name, "status": found["status"], "age": found["age"], "step": status.get("step")} | found


def _is_alive(process: Any) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, TypeError):
        return False
    except PermissionError:
        pass
    return True


def ordered(rows: Sequence[Row], key: str, descending: bool) -> list[Row]:
    """By numbers first, then by texts; what a run does not have stands last either way."""

    def rank(row: Row) -> tuple[int, float, str]:
        value = row[key]
        return (0, float(value), "") if type(value) in (int, float) else (1, 0.0, str(value))

    there = [row for row in rows if row.get(key) not in (None, "")]
    return sorted(there, key=rank, reverse=descending) + [row for row in rows if row.get(key) in (None, "")]


def print_runs(rows: Sequence[Row], more: Sequence[str], console: Console) -> None:
    """more: keys that were asked about, and are shown for that."""
    table = plain_table(console.is_terminal, f"{len(rows)} runs")
    names = [name for name in dict.fromkeys([*SHOWN, *more]) if name == "run" or any(name in row for row in rows)]
    for name in names:
        table.add_column(name.replace("_", "\n"), overflow="fold", justify="left" if name == "run" else "default")
    for row in rows:
        table.add_row(*(Text(shown(name, row), style=COLOURS.get(row["status"], "")) for name in names))
    console.print(table, highlight=False)
    for row in rows:
        if row["reason"]:
            console.print(Text(f"{row['status']}: {row['run']}: {row['reason']}", style="red"), highlight=False)


def shown(name: str, row: Mapping[str, Any]) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if name == "age":
        return age(value)
    if type(value) is float:
        return wording.number(value, "fraction" if name.endswith(FRACTIONS) else "")
    return str(value)


def age(seconds: float) -> str:
    """The greatest unit that fills: 40 s, 12 min, 3 h, 5 d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def runs_csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    columns = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
