"""`dlcli init`: a small project to start from, copied from dlcli/template."""

from __future__ import annotations

import shlex
import shutil
from argparse import ArgumentParser, Namespace
from pathlib import Path

from dlcli.config.folders import PACKAGE, shown
from dlcli.errors import StorageError, UsageError

TEMPLATE = PACKAGE / "template"
RENAMED = {"project.toml": "pyproject.toml"}  # under its own name it would be a project within dlcli


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a new or an empty folder")


def run(arguments: Namespace) -> int:
    folder = arguments.folder
    files = [path for path in sorted(TEMPLATE.rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty", "name a new folder: nothing of yours is overwritten")
        for path in files:
            target = folder / path.relative_to(TEMPLATE).with_name(RENAMED.get(path.name, path.name))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    except OSError as fault:
        raise StorageError(f"cannot write {folder}: {fault.strerror}", "name a folder that can be written") from fault
    print(f"made   {shown(folder.absolute())}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    plugin = shlex.quote(str(folder.resolve() / "my_model.py"))
    print(f"train  dlcli train --plugin {plugin} experiment=first")
    return 0
