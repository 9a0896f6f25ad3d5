"""Arguments that several verbs share."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from dlcli import registry


def add_composition(parser: ArgumentParser) -> None:
    """What a configuration is composed from."""
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="GROUP=NAME | KEY=VALUE", help="what differs from the default"
    )
    parser.add_argument("--config-dir", "-cd", type=Path, metavar="DIR", help="your YAML files, in place of ./conf")
    add_plugins(parser)


def add_plugins(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="MODULE",
        help="import this module of yours, which registers components; it is code that you choose to run",
    )


def load_plugins(arguments: Namespace) -> None:
    """Modules are found where Python finds them, the current folder included."""
    import_plugins(arguments.plugin)


def import_plugins(modules: Sequence[str]) -> None:
    if modules and "" not in sys.path:
        sys.path.insert(0, "")
    for module in modules:
        registry.load_plugin(module)
