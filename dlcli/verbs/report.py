"""`dlcli report`: what a run said about itself, or several runs side by side. Reads files only."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from dlcli.errors import UsageError
from dlcli.report.summary import absent, read_run, read_summary


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN_DIR", help="runs, sweeps, or folders of runs")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="json: the summaries as they are")


def run(arguments: Namespace) -> int:
    runs = [found for folder in arguments.folders for found in runs_in(folder)]
    single = len(runs) == 1 and runs[0] == arguments.folders[0]
    if arguments.format == "json":
        summaries = [read_summary(folder) for folder in runs]
        print(json.dumps(summaries[0] if single else summaries, indent=2))
        return 0
    from rich.console import Console

    from dlcli.report.comparison import print_comparison
    from dlcli.report.table import print_report

    if single:
        print_report(read_summary(runs[0]), Console())
    else:
        print_comparison([read_run(folder) for folder in runs], Console())
    return 0


def runs_in(folder: Path) -> list[Path]:
    """The folder itself if it is a run, else all runs below it, in the order of their names."""
    if (folder / "config.yaml").is_file():
        return [folder]
    found = sorted(path.parent for path in folder.rglob("config.yaml")) if folder.is_dir() else []
    if not found:
        raise UsageError(*absent(folder))
    return found
