"""Arguments that several verbs share."""

from __future__ import annotations

import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from dlcli import __version__, registry
from dlcli import config as configs
from dlcli.errors import CheckpointError, DlcliError, UsageError
from dlcli.report.summary import absent
from dlcli.training.progress import Display, EventLines, ProgressDisplay

CHECKPOINTS = ("last", "best")


def add_composition(parser: ArgumentParser) -> None:
    """What a configuration is composed from."""
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="GROUP=NAME | KEY=VALUE", help="what differs from the default"
    )
    parser.add_argument("--config-dir", "-cd", type=Path, metavar="DIR", help="your YAML files, in place of ./conf")
    add_plugins(parser)


def add_log(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--log",
        choices=("text", "json"),
        default="text",
        help="json: one event per line on stdout, for scripts; all else on stderr",
    )


@contextmanager
def watching(arguments: Namespace) -> Iterator[Display]:
    """What --log asks for. Events end with `error` where the command does."""
    if arguments.log == "text":
        yield ProgressDisplay()
        return
    events = EventLines()
    try:
        yield events
    except DlcliError as fault:
        events.event("error", code=fault.exit_code, message=fault.message, hint=fault.hint)
        raise
    except KeyboardInterrupt:
        events.event("error", code=130, message="stopped at once", hint="continue with: dlcli resume RUN_DIR")
        raise
    except Exception as bug:
        events.event("error", code=1, message=f"internal error: {type(bug).__name__}: {bug}", hint="")
        raise


def report_stream(arguments: Namespace) -> TextIO:
    """Where the report of a run goes."""
    return sys.stdout if arguments.log == "text" else sys.stderr


def saved_config(run_dir: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The configuration of a run, with `overrides` set on top.

    UsageError for a folder that is no run, CheckpointError for a run of another dlcli that this one cannot go on with.
    """
    path = run_dir / "config.yaml"
    if not path.is_file():
        raise UsageError(*absent(run_dir))
    try:
        with naming_plugins(run_dir):
            saved = configs.load_saved(path)
    except UsageError as fault:
        from dlcli.training.directory import read_environment

        writer = read_environment(run_dir).get("dlcli")
        if writer in (None, __version__):
            raise
        problem = fault.message.split("\n")[0]
        raise CheckpointError(
            f"the run was written by dlcli {writer}, and this is {__version__}: {problem}",
            f"go on with that version: pip install dlcli-train=={writer}",
        ) from fault
    return configs.load_saved(path, overrides) if overrides else saved


@contextmanager
def naming_plugins(folder: Path) -> Iterator[None]:
    """Where what a run or sweep names is not known: the command that brings the plugin along with which it was started.

    It is not loaded by itself, because a folder that somebody has sent must not choose which code runs.
    """
    try:
        yield
    except UsageError as fault:
        plugins = [word for word in plugins_of(folder) if word not in sys.argv]
        if not plugins or not fault.message.startswith("unknown"):
            raise
        words = shlex.join([*sys.argv[1:], *(part for plugin in plugins for part in ("--plugin", plugin))])
        problem = fault.message.splitlines()[0]
        raise UsageError(
            f"{problem}: it came with a plugin, whose code runs only when you say so",
            f"if you trust {' and '.join(plugins)}: dlcli {words}",
        ) from fault


def plugins_of(folder: Path) -> list[str]:
    """As they were typed where it was started."""
    try:
        lines = (folder / "command.txt").read_text(encoding="utf-8").splitlines()
        return list(dict.fromkeys(word for line in lines for word in following(shlex.split(line), "--plugin")))
    except (OSError, ValueError):
        return []


def following(words: list[str], flag: str) -> list[str]:
    """The values of a flag that may be given several times."""
    after = [words[i + 1] for i, word in enumerate(words[:-1]) if word == flag]
    return after + [word.partition("=")[2] for word in words if word.startswith(f"{flag}=")]


def add_checkpoint(parser: ArgumentParser) -> None:
    parser.add_argument("--checkpoint", choices=CHECKPOINTS, default="last", help="best is by validation risk")


def add_plugins(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="MODULE",
        help="my_module or DIR/my_module.py, which registers components; it is code of yours that you choose to run",
    )


def load_plugins(arguments: Namespace) -> None:
    registry.load_plugins(arguments.plugin)
