"""`dlcli decompose`: the three terms of a finished run again, from its saved weights, with another budget."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path

from dlcli.verbs import arguments as shared
from dlcli.verbs.train import print_run


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    parser.add_argument("budget", nargs="?", default="budget=quick", metavar="budget=quick|standard|...")
    shared.add_plugins(parser)


def run(arguments: Namespace) -> int:
    shared.load_plugins(arguments)
    config = shared.saved_config(arguments.run_dir, [f"decompose.{arguments.budget}"])
    from dlcli.revisit import decompose_again
    from dlcli.training.directory import RunDirectory
    from dlcli.training.signals import Stop

    with Stop(answers=True) as stop, RunDirectory(arguments.run_dir.absolute()) as directory:
        summary = decompose_again(directory, config, stop, partial(print, flush=True))
    print_run(summary, sys.stdout)
    return 0
