"""What can be chosen and what it comes with, read from the YAML files alone: for `dlcli list` and shell completion."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from dlcli import registry, schema
from dlcli.config import folders, yaml_file
from dlcli.settings import SECTIONS, Preparation, Top

GROUPS = (*registry.FOLDERS, "experiment", "hydra/launcher")
WHAT = re.compile(r"^# What: (.*)$", re.MULTILINE)


def options(group: str, config_dir: Path | None = None) -> list[str]:
    """The options of a group, the user's own included."""
    return folders.options(group, folders.search(config_dir))


def defaults(group: str, name: str) -> dict[str, Any]:
    """Settings of an option with their values in the YAML that came with it; empty for one without."""
    paths = [folder / group / f"{name}.yaml" for folder in (*registry.plugin_configs(), folders.packaged())]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return {}
    data = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml_file.Loader)
    return {key: value for key, value in data.items() if key not in ("name", "defaults")}


def spelled(value: Any) -> str:
    """A value as one would type it in an override; `???` is a value that has to be given."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(spelled, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def experiments(config_dir: Path | None = None) -> dict[str, str]:
    """Every experiment with the line that says what it is."""
    found = {}
    for folder in reversed(folders.search(config_dir)):
        for name in folders.options("experiment", [folder]):
            text = (folder / "experiment" / f"{name}.yaml").read_text(encoding="utf-8", errors="replace")
            match = WHAT.search(text)
            found[name] = match[1] if match else ""
    return dict(sorted(found.items()))


def completions(word: str, line: list[str], config_dir: Path | None = None) -> list[str]:
    """What an override that begins with `word` can be, given the other overrides on the line.

    Of several values, as in `model=mlp,c`, the last is completed.
    """
    key, equals, value = word.partition("=")
    kinds = _kinds(dict(other.split("=", 1) for other in line if "=" in other))
    if equals:
        start = f"{key}={value[: value.rfind(',') + 1]}"
        found = [f"{start}{name}" for name in _values(key, kinds.get(key), config_dir)]
    else:
        found = [f"{name}=" for name in (*GROUPS, *kinds)]
    return sorted(name for name in found if name.startswith(word))


def _values(key: str, kind: Any, config_dir: Path | None) -> list[str]:
    if key in GROUPS:
        return options(key, config_dir)
    return schema.words(kind) + (["true", "false"] if kind is bool else [])


def _kinds(chosen: dict[str, str]) -> dict[str, Any]:
    """Every setting with its type, those of components as they are chosen."""
    found = {}
    for group in registry.FOLDERS:
        if entry := registry.find(group, chosen.get(group, _default(group))):
            found |= {f"{group}.{name}": schema.parse(kind) for name, kind in entry.settings.items()}
    sections = {"": Top, "dataset.": Preparation, **{f"{name}.": kind for name, kind in SECTIONS.items()}}
    for prefix, section in sections.items():
        found |= {f"{prefix}{name}": kind for name, kind in get_type_hints(section, include_extras=True).items()}
    return found


def _default(group: str) -> str:
    text = (folders.packaged() / "config.yaml").read_text(encoding="utf-8")
    match = re.search(rf"^  - {group}: (\w+)$", text, re.MULTILINE)
    return match[1] if match else ""
