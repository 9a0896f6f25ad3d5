"""`dlcli eval`: the risks of a checkpoint on every split; nothing is trained, nothing of the run is changed."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from dlcli import config as configs
from dlcli.errors import UsageError
from dlcli.verbs import arguments as shared


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    parser.add_argument(
        "choice",
        nargs="?",
        default="checkpoint=last",
        metavar="checkpoint=last|best",
        help="best is by validation risk",
    )
    shared.add_plugins(parser)


def run(arguments: Namespace) -> int:
    shared.load_plugins(arguments)
    kind = arguments.choice.removeprefix("checkpoint=")
    if kind not in shared.CHECKPOINTS or kind == arguments.choice:
        raise UsageError(f"cannot read {arguments.choice!r}", "write checkpoint=last or checkpoint=best")
    config = shared.saved_config(arguments.run_dir)
    from rich.console import Console

    from dlcli.report.table import print_risks
    from dlcli.revisit import evaluate

    step, risks = evaluate(arguments.run_dir.absolute(), config, kind)
    print(f"checkpoint '{kind}' of {configs.shown(arguments.run_dir)}: step {step}")
    if kind == "best":
        print("its validation risk is the least of several, so that one number is too small")
    print_risks(risks, Console())
    return 0
