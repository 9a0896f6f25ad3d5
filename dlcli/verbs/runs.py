"""`dlcli runs`: every run below a folder, with how it stands. Reads files only."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from dlcli.errors import UsageError
from dlcli.verbs.report import runs_in


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", type=Path, default=Path("outputs"), metavar="DIR", help="default: outputs")
    parser.add_argument("--sort", default="age", metavar="KEY", help="a column, a setting or a risk: test_error, model")
    parser.add_argument("--reverse", "-r", action="store_true", help="the greatest first")
    parser.add_argument(
        "--filter",
        "-f",
        action="append",
        default=[],
        metavar="CONDITION",
        help="'model=cnn', 'test_error<0.1', 'run=*mnist*', 'status!=done'; several must all hold",
    )
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table")


def run(arguments: Namespace) -> int:
    from dlcli.report.runs import condition, ordered, print_runs, read_rows, runs_csv

    conditions = [condition(text) for text in arguments.filter]
    folders = [folder for folder in runs_in(arguments.folder) if (folder / "status.json").is_file()]  # not ./conf
    rows = read_rows(folders, arguments.folder)
    keys = [arguments.sort, *(each.key for each in conditions)]
    refuse_unknown(keys, dict.fromkeys(name for row in rows for name in row))
    rows = [row for row in rows if all(each.admits(row) for each in conditions)]
    rows = ordered(rows, arguments.sort, arguments.reverse)
    if arguments.format == "json":
        print(json.dumps(rows, indent=2))
    elif arguments.format == "csv":
        print(runs_csv(rows), end="")
    else:
        from rich.console import Console

        print_runs(rows, keys, Console())
    return 0


def refuse_unknown(keys: Sequence[str], known: Sequence[str]) -> None:
    for key in keys:
        if key not in known:
            from dlcli.config.names import nearest

            guess = nearest(key, known)
            meant = f"did you mean {guess!r}? " if guess else ""
            raise UsageError(f"no run has {key!r}", f"{meant}--format csv shows every column")
