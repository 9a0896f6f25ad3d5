"""`dlcli doctor`: what dlcli finds on this machine, and what looks wrong."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path

from dlcli import __version__
from dlcli import config as configs
from dlcli.errors import StorageError


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--output-root", type=Path, default=Path("outputs"), metavar="DIR", help="where runs would go")


def run(arguments: Namespace) -> int:
    from dlcli.datasets.official import cache_folder
    from dlcli.training import cores, device
    from dlcli.training.environment import environment

    facts = environment(str(device.choose("auto", "fp32")), 0)
    line("dlcli", f"{__version__} in {Path(sys.prefix)}")
    line("python", f"{facts['python']} on {platform.platform()}")
    for name, version in facts["libraries"].items():
        line(name, version or "not installed")
    line("device", f"{facts['device']} ({cores.allowed_cores()} cores, {cores.free_cores()} free now)")
    line("configs", ", then ".join(str(folder) for folder in configs.folders.search(None)))
    line("data", f"downloads are kept in {cache_folder()}")
    root = arguments.output_root.absolute()
    existing = next(folder for folder in (root, *root.parents) if folder.is_dir())
    line("outputs", f"{root}, {shutil.disk_usage(existing).free / 1e9:.1f} GB free")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        message = f"cannot write into {existing}: {os.strerror(error.errno or 0)}"
        raise StorageError(message, "set output_root=DIR to a folder that can be written") from error
    print("nothing looks wrong")
    return 0


def line(name: str, value: str) -> None:
    print(f"{name:<14} {value}")
