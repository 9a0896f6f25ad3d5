"""From argv to a checked config, a plain dict. Hydra and OmegaConf stay in this room, and torch outside it.

Hydra is imported where something is composed: a quarter of a second that `dlcli list` and a saved config do not need.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcli.config import check as checks
from dlcli.config import folders, yaml_file
from dlcli.config.catalogue import defaults, experiments, options, spelled
from dlcli.config.folders import shown

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from dlcli.config.sweep import Sweep

__all__ = [
    "composed_text",
    "defaults",
    "experiments",
    "folders",
    "info",
    "load_checked",
    "load_saved",
    "open_sweep",
    "options",
    "plain_checked",
    "shown",
    "spelled",
    "text",
]


def load_checked(
    overrides: Sequence[str], config_dir: Path | None = None, saved: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The config that a command line describes. UsageError names every mistake in it, `hint` the most likely cure."""
    from dlcli.config import composition

    composed = composition.Loader(config_dir, saved).compose(overrides)
    return checks.checked(composition.plain(composed.config), composed.places)


def load_saved(path: Path, overrides: Sequence[str] = (), config_dir: Path | None = None) -> dict[str, Any]:
    """The config of a run, under the rules for a config that somebody wrote, with `overrides` set on top.

    `optimizer=sgd` among them replaces the section by the defaults of sgd; everything else stays as it was saved.
    """
    file = yaml_file.read(path)
    saved = checks.checked(file.data, {key: f"{file.path}:{line}" for key, line in file.lines.items()})
    return load_checked(overrides, config_dir, saved) if overrides else saved


def plain_checked(job: DictConfig) -> dict[str, Any]:
    """The config of one job of a sweep, as Hydra's launchers hand it over."""
    from dlcli.config import composition

    return checks.checked(composition.plain(job), {})


def text(config: dict[str, Any]) -> str:
    """A config as YAML that `load_saved` reads back unchanged."""
    return yaml_file.write(config)


def open_sweep(overrides: Sequence[str], config_dir: Path | None = None, saved: dict[str, Any] | None = None) -> Sweep:
    """The jobs of a sweep, every one checked. UsageError if one of them is wrong, before any has begun."""
    from dlcli.config import sweep

    return sweep.open_sweep(overrides, config_dir, saved)


def composed_text(
    overrides: Sequence[str],
    config_dir: Path | None,
    what: str = "job",
    resolve: bool = False,
    package: str | None = None,
) -> str:
    """What Hydra composed, as its `--cfg job|hydra|all` prints it; unchecked, so that one can look for a mistake."""
    from dlcli.config import display

    return display.composed_text(overrides, config_dir, what, resolve, package)


def info(what: str, config_dir: Path | None) -> str:
    """What Hydra's `--info searchpath|plugins|all` prints."""
    from dlcli.config import display

    return display.info(what, config_dir)
