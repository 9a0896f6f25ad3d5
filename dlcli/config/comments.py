"""What the packaged YAML files say about a setting: the comment behind it is its documentation."""

from __future__ import annotations

import re
from functools import cache

from dlcli import registry
from dlcli.config import folders

LINE = re.compile(r"^(?P<indent> *)(?P<key>[a-z_0-9]+):(?P<value>[^#]*?)\s*#\s+(?P<comment>.*)$")


def of(name: str, component: str) -> str:
    """The comment of a setting, `optimizer.lr` of `adam`; empty where no packaged file describes it."""
    section, _, key = name.rpartition(".")
    if section in registry.FOLDERS:
        found = _read(f"{section}/{component}.yaml").get(key)
        if found:
            return f"{name}: {found}"
    found = _read("config.yaml").get(name)
    return f"{name}: {found}" if found else ""


@cache
def _read(file: str) -> dict[str, str]:
    path = folders.packaged() / file
    if not path.is_file():
        return {}
    found, section = {}, ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and line[0] not in " #-":
            section = line.partition(":")[0]
        if match := LINE.match(line):
            prefix = f"{section}." if match["indent"] else ""
            found[prefix + match["key"]] = match["comment"]
    return found
