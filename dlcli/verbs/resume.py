"""`dlcli resume`: go on with a run, or with what is left of a sweep."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from pathlib import Path
from typing import Any

from dlcli.errors import BusyError, StorageError, UsageError
from dlcli.imports import lasting
from dlcli.report.summary import read_summary
from dlcli.training.progress import Display
from dlcli.training.signals import Stop
from dlcli.verbs import arguments as shared
from dlcli.verbs.train import print_run


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="directory of a run or of a sweep")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="KEY=VALUE", help="what may change: training.epochs=40 ..."
    )
    shared.add_log(parser)
    shared.add_plugins(parser)


def run(arguments: Namespace) -> int:
    shared.load_plugins(arguments)
    if (arguments.run_dir / "sweep.json").is_file():
        from dlcli.verbs import sweep

        if arguments.log == "json":
            raise UsageError("--log json tells of one run, and this is a sweep", "resume it without --log json")
        return sweep.resume(arguments.run_dir, arguments.overrides, arguments.plugin)
    with shared.watching(arguments) as display, Stop(answers=True) as stop:
        summary = go_on(arguments, stop, display)
    if summary is not None:  # under `torchrun` rank 0 has it
        print_run(summary, shared.report_stream(arguments))
    return 0


def go_on(arguments: Namespace, stop: Stop, display: Display) -> dict[str, Any]:
    config = shared.saved_config(arguments.run_dir, arguments.overrides)
    with lasting():
        from dlcli import ranked, session
    from dlcli.sweeps import is_complete
    from dlcli.training.directory import RunDirectory

    folder = arguments.run_dir.absolute()
    if arguments.overrides or not is_complete(folder):
        return ranked.at(folder, session.resume, config, stop, argv=sys.argv, display=display)
    display.say("already complete")
    with suppress(StorageError, BusyError), RunDirectory(folder):
        pass  # what a process left that died while it wrote the page is swept up
    summary = read_summary(folder)
    summary["run"]["path"] = str(folder)  # it may have been moved since
    display.event("finished", run_dir=str(folder), step=summary["run"]["step"], steps=summary["run"]["step"])
    return summary
