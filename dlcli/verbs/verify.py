"""`dlcli verify`: every checkpoint of a run against its manifest, and the one that a resume would use."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from dlcli.errors import CheckpointError, UsageError
from dlcli.report.summary import absent


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR")


def run(arguments: Namespace) -> int:
    if not (arguments.run_dir / "config.yaml").is_file():
        raise UsageError(*absent(arguments.run_dir))
    from dlcli.training import checkpoint
    from dlcli.training.directory import read_environment

    run_id = read_environment(arguments.run_dir).get("run_id")
    usable, damaged = None, 0
    for path in checkpoint.checkpoints(arguments.run_dir / "checkpoints"):
        try:
            checkpoint.load(path, run=run_id)
        except CheckpointError as error:
            damaged += 1
            print(f"{path.name}  damaged: {error.message}")
            continue
        first = usable is None
        usable = usable or path
        print(f"{path.name}  good{'  <- a resume goes on from here' if first else ''}")
    if usable is None:
        raise CheckpointError(
            f"no usable checkpoint in {arguments.run_dir}", "start a new run with: dlcli train --from RUN_DIR"
        )
    if damaged:
        raise CheckpointError(f"{damaged} damaged in {arguments.run_dir}", f"`dlcli resume` uses {usable.name}")
    return 0
