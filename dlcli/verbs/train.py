"""`dlcli train`: one run from a configuration, or with -m a sweep of them."""

from __future__ import annotations

import shlex
import sys
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from dlcli import config as configs
from dlcli.ahead import Ahead
from dlcli.errors import UsageError
from dlcli.imports import lasting
from dlcli.training.signals import Stop
from dlcli.verbs import arguments as shared


def add_arguments(parser: ArgumentParser) -> None:
    shared.add_composition(parser)
    shared.add_log(parser)
    parser.add_argument("--multirun", "-m", action="store_true", help="a sweep: model=mlp,cnn seed='range(3)'")
    parser.add_argument("--from", dest="source", type=Path, metavar="RUN_DIR", help="replay the configuration of a run")
    parser.add_argument("--cfg", "-c", choices=("job", "hydra", "all"), help="print the configuration and stop")
    parser.add_argument("--resolve", action="store_true", help="with --cfg: references resolved")
    parser.add_argument("--package", "-p", metavar="SECTION", help="with --cfg: one section only")
    parser.add_argument(
        "--info", "-i", nargs="?", const="all", choices=("all", "searchpath", "plugins"), help="about Hydra"
    )


def run(arguments: Namespace) -> int:
    shared.load_plugins(arguments)
    if arguments.cfg or arguments.info:
        from dlcli.verbs import config

        return config.show(arguments)
    if arguments.multirun:
        from dlcli.verbs import sweep

        if arguments.log == "json":
            raise UsageError("--log json tells of one run, and -m asks for several", "leave one of the two out")
        return sweep.run(arguments.overrides, arguments.config_dir, arguments.source, arguments.plugin)
    with shared.watching(arguments) as display, Stop(answers=True) as stop:
        if arguments.source is not None:
            config = shared.saved_config(arguments.source, arguments.overrides)
        else:
            config = configs.load_checked(arguments.overrides, arguments.config_dir)
        ahead = Ahead(config["dataset"]) if config["training"]["devices"] == 1 else None
        with lasting():
            from dlcli import build, session  # torch: a second that a configuration error is spared

        read = ahead and partial(build.read_data, read=ahead)
        summary = session.train(config, sys.argv, stop, display, read)
    if summary is not None:  # under `torchrun` rank 0 has it
        print_run(summary, shared.report_stream(arguments))
    return 0


def print_run(summary: dict[str, Any], stream: TextIO) -> None:
    """The report of a run, and how to come back to it."""
    from rich.console import Console

    from dlcli.report.table import print_report

    print(file=stream)
    print_report(summary, Console(file=stream))
    seconds = summary["timing"]
    spent = ", ".join(f"{purpose} {time:.1f}" for purpose, time in seconds.items())
    folder = shlex.quote(str(configs.shown(Path(summary["run"]["path"]))))
    print(f"\n{sum(seconds.values()):.1f} s: {spent}", file=stream)
    print(f"page: {run_page(summary)}\nagain: dlcli report {folder}", file=stream)


def run_page(summary: dict[str, Any]) -> str:
    """Where the web page of the run is. One that a full disk or a kill has left out or old is tried once more."""
    from dlcli.errors import StorageError
    from dlcli.report.page import write_page
    from dlcli.report.pictures import LATER, pictures, worth_drawing
    from dlcli.report.summary import read_run
    from dlcli.study import study

    path = Path(summary["run"]["path"])
    run = read_run(path)
    drawn = worth_drawing(run["config"]["pictures"], summary["timing"]["training"])
    page = path / "report.html"
    if not page.is_file() or page.stat().st_mtime_ns < (path / "summary.json").stat().st_mtime_ns:
        studied = study([run])
        try:
            write_page(path, studied, [run], pictures(studied, [run]) if drawn else [])
        except StorageError as fault:
            return f"not written, {fault.message}"
    return f"{configs.shown(page)}{'' if drawn else LATER}"
