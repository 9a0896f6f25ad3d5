"""`dlcli list`: what can be chosen, one line each with its settings and their defaults. Imports no component."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from dlcli import config as configs
from dlcli.config.names import nearest
from dlcli.errors import UsageError
from dlcli.registry import FOLDERS, catalogue
from dlcli.verbs import arguments as shared

GROUPS = {**{folder: group for group, folder in FOLDERS.items()}, "experiments": "experiment"}


def add_arguments(parser: ArgumentParser) -> None:
    group = parser.add_argument("group", nargs="?", metavar="GROUP", help=f"one of {', '.join(GROUPS)}")
    group.completer = lambda: GROUPS
    parser.add_argument("--config-dir", "-cd", type=Path, metavar="DIR", help="your YAML files, in place of ./conf")
    shared.add_plugins(parser)


def run(arguments: Namespace) -> int:
    shared.load_plugins(arguments)
    wanted = list(GROUPS)
    if arguments.group is not None:
        plural = {group: folder for folder, group in GROUPS.items()}.get(arguments.group, arguments.group)
        if plural not in GROUPS:
            guess = nearest(arguments.group, GROUPS)
            meant = f"did you mean '{guess}'? " if guess else ""
            raise UsageError(f"unknown group {arguments.group!r}", f"{meant}groups: {', '.join(GROUPS)}")
        wanted = [plural]
    for number, plural in enumerate(wanted):
        if len(wanted) > 1:
            print(f"{'' if number == 0 else chr(10)}{plural}")
        lines = experiments(arguments.config_dir) if plural == "experiments" else components(GROUPS[plural])
        width = max((len(name) for name, _, _ in lines), default=0)
        for name, summary, settings in lines:
            print(f"  {name:<{width}}  {summary}{f'  [{settings}]' if settings else ''}")
    return 0


def components(group: str) -> list[tuple[str, str, str]]:
    found = []
    for name, entry in catalogue(group).items():
        defaults = configs.defaults(group, name)
        settings = ", ".join(f"{key}={configs.spelled(defaults.get(key))}" for key in entry.settings)
        found.append((name, entry.summary, settings))
    return found


def experiments(config_dir: Path | None) -> list[tuple[str, str, str]]:
    return [(name, what, "") for name, what in configs.experiments(config_dir).items()]
