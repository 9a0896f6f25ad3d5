"""`dlcli report`: what a run said about itself, or what several runs say together. Reads files only."""

from __future__ import annotations

import json
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlcli import config as configs
from dlcli.errors import UsageError
from dlcli.report.summary import absent, read_object, read_run, read_summary

FORMATS = ("table", "md", "csv", "json", "html")
NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)", re.ASCII)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN_DIR", help="runs, sweeps, or folders of runs")
    parser.add_argument("--format", choices=FORMATS, default="table", help="html: writes report.html into the folder")
    parser.add_argument("--by", metavar="KEY", help="the setting to compare: optimizer, model.width ...")
    parser.add_argument("--over", metavar="KEY", default="seed", help="what was repeated: seed, or dataset.seed,seed")


def run(arguments: Namespace) -> int:
    runs = [found for folder in arguments.folders for found in runs_in(folder)]
    single = len(runs) == 1 and runs[0] == arguments.folders[0]
    if single and arguments.format == "json":
        print(json.dumps(read_summary(runs[0]), indent=2))
        return 0
    if single and arguments.format == "table":
        from rich.console import Console

        from dlcli.report.table import print_report

        print_report(read_summary(runs[0]), Console())
        return 0
    found, over = [read_run(folder) for folder in runs], arguments.over.split(",")
    refuse_unknown([key for key in [arguments.by, *over] if key], found)
    show(found, arguments.format, arguments.by, over, arguments.folders)
    return 0


def show(runs: Sequence[dict[str, Any]], form: str, by: str | None, over: Sequence[str], folders: list[Path]) -> None:
    from dlcli.study import study

    if form == "csv":
        from dlcli.report.results import results_csv

        print(results_csv(runs), end="")
        return
    studied = study(runs, by, over)
    if form == "json":
        print(json.dumps({"study": studied, "runs": [run["summary"] for run in runs]}, indent=2))
    elif form == "md":
        from dlcli.report.studies import markdown

        print(markdown(studied), end="")
    elif form == "html":
        from dlcli.report.page import write_page
        from dlcli.report.pictures import pictures

        folder = folders[0] if len(folders) == 1 else Path()
        found = with_search(studied, folder)
        print(f"page: {configs.shown(write_page(folder, found, runs, pictures(found, runs)))}")
    else:
        from rich.console import Console

        from dlcli.report.comparison import print_comparison
        from dlcli.report.studies import print_study

        print_comparison(runs, Console())
        print_study(studied, Console())


def with_search(studied: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What a sweep that searched for settings has left beside its runs."""
    return {**studied, "search": read_object(folder / "search.json")}


def refuse_unknown(keys: Sequence[str], runs: Sequence[dict[str, Any]]) -> None:
    """A key that no run has is a mistake, and would compare nothing."""
    known = dict.fromkeys(key for run in runs for key in run["config"])
    for key in keys:
        if key not in known:
            from dlcli.config.names import nearest

            guess = nearest(key, known)
            raise UsageError(
                f"no run has a setting {key!r}", f"did you mean {guess!r}?" if guess else "see config.yaml"
            )


def runs_in(folder: Path) -> list[Path]:
    """The folder itself if it is a run, else all runs below it, in the order of their names: seed=2 before seed=10."""
    if (folder / "config.yaml").is_file():
        return [folder]
    found = [path.parent for path in folder.rglob("config.yaml")] if folder.is_dir() else []
    if not found:
        raise UsageError(*absent(folder))
    return sorted(found, key=with_numbers)


def with_numbers(path: Path) -> list[str | float]:
    """Its words and its numbers in turn."""
    return [float(part) if odd % 2 else part for odd, part in enumerate(NUMBER.split(str(path)))]
