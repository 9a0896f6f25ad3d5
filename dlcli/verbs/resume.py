"""`dlcli resume`: go on with a run, or with what is left of a sweep."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from dlcli import config as configs
from dlcli.errors import UsageError
from dlcli.report.summary import absent, read_summary
from dlcli.verbs import arguments as shared
from dlcli.verbs.train import print_run


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="directory of a run or of a sweep")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="KEY=VALUE", help="what may change: training.epochs=40 ..."
    )
    shared.add_plugins(parser)


def run(arguments: Namespace) -> int:
    shared.load_plugins(arguments)
    if (arguments.run_dir / "sweep.json").is_file():
        from dlcli.verbs import sweep

        return sweep.resume(arguments.run_dir, arguments.overrides, arguments.plugin)
    if not (arguments.run_dir / "config.yaml").is_file():
        raise UsageError(*absent(arguments.run_dir))
    config = configs.load_saved(arguments.run_dir / "config.yaml", arguments.overrides)
    from dlcli import session
    from dlcli.sweeps import is_complete
    from dlcli.training.directory import RunDirectory
    from dlcli.training.signals import Stop

    with Stop() as stop, RunDirectory(arguments.run_dir.absolute()) as directory:
        if not arguments.overrides and is_complete(directory.path):
            print("already complete")
            summary = read_summary(directory.path)
        else:
            summary = session.resume(directory, config, sys.argv, stop, print)
    print_run(summary)
    return 0
