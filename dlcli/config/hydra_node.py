"""What a config may say to Hydra itself: choose a launcher or sweeper that dlcli knows, and set its numbers.

Hydra builds callbacks, loggers, launchers and sweepers from whatever the node `hydra` names, so the composed node is
compared with Hydra's own before any of Hydra's machinery sees it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from inspect import Parameter, signature
from typing import Any

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf, open_dict

from dlcli.config.names import nearest, suggestion
from dlcli.config.overrides import hydra_hint
from dlcli.config.yaml_file import File
from dlcli.errors import UsageError

TARGETS = {
    "launcher": {
        "hydra_plugins.dlcli.SerialLauncher",
        "hydra_plugins.dlcli.process.ProcessLauncher",
        "hydra_plugins.dlcli.ray.RayLauncher",
        "hydra_plugins.dlcli.slurm.SlurmLauncher",
        "hydra_plugins.dlcli.ensemble.EnsembleLauncher",
        "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
        "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
    },
    "sweeper": {
        "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
        "hydra_plugins.dlcli.optuna.OptunaSweeper",
    },
}
COUNTS = {"slots", "per_gpu"}  # settings of launchers that count something
# Whose slots may be auto.
AUTO = {"hydra_plugins.dlcli.process.ProcessLauncher", "hydra_plugins.dlcli.ensemble.EnsembleLauncher"}
OPEN = (*TARGETS, "verbose")
FREE = (*OPEN, "overrides", "runtime")  # launcher and sweeper have rules of their own
EMPTY_LOGGING = {"version": 1, "root": None, "disable_existing_loggers": False}


@dataclass
class Node(HydraConf):
    """Hydra's node without what dlcli does itself (help, logging, output folders); takes half the time to compose."""

    defaults: list[Any] = field(default_factory=lambda: [{"launcher": "serial"}, {"sweeper": "basic"}])


def check_file(file: File, name: str, provider: str) -> None:
    """Refuse a file that sets more of the node than launcher and sweeper; some of it acts while Hydra composes."""
    if provider == "yours" and name.startswith("hydra/") and name.split("/")[1] not in TARGETS:
        raise UsageError(f"{file.path} would replace a part of Hydra", "only hydra/launcher and hydra/sweeper are open")
    for key, line in file.lines.items():
        section, _, rest = key.partition(".")
        if section == "hydra" and rest and rest.split(".")[0] not in OPEN:
            raise _refusal(key, f" ({file.path}:{line})")


def check(composed: DictConfig, bare: DictConfig | None) -> None:
    """Refuse a composed node `hydra` that differs from Hydra's own, `bare`, beyond launcher and sweeper."""
    check_parts(composed)
    if bare is None:
        return
    node, expected = _plain(composed), _plain(bare)
    for key in sorted({*node, *expected} - set(FREE)):
        if node.get(key) != expected.get(key):
            raise _refusal(_first_difference(f"hydra.{key}", node.get(key), expected.get(key)))


def check_parts(node: DictConfig) -> None:
    """Refuse a launcher or sweeper that dlcli does not know, and one with anything but plain values."""
    for part, targets in TARGETS.items():
        _check_part(part, OmegaConf.to_container(node[part], resolve=False), targets)
    _check_counts(OmegaConf.to_container(node.launcher, resolve=False))


def check_settings(node: DictConfig) -> None:
    """Refuse what the chosen launcher or sweeper does not take. It imports them, which only a sweep needs."""
    check_parts(node)
    for part in TARGETS:
        section = OmegaConf.to_container(node[part], resolve=False)
        module, _, name = section["_target_"].rpartition(".")  # one of TARGETS
        taken = signature(getattr(import_module(module), name)).parameters
        if any(each.kind is Parameter.VAR_KEYWORD for each in taken.values()):
            continue
        for key in sorted(section.keys() - {"_target_", *taken}):
            listing = f"this {part} takes {', '.join(taken) or 'no settings'}"
            raise UsageError(f"unknown setting 'hydra.{part}.{key}'", suggestion(nearest(key, taken), listing))


def prepare(config: DictConfig, sweep_dir: str | None, subdir: str) -> None:
    """Send a job to its folder and keep Hydra from writing files or lines of its own."""
    with open_dict(config.hydra):
        config.hydra.sweep.dir, config.hydra.sweep.subdir = sweep_dir or ".", subdir
        config.hydra.output_subdir = None
        config.hydra.hydra_logging = config.hydra.job_logging = EMPTY_LOGGING


def _check_part(part: str, section: Any, targets: set[str]) -> None:
    if not isinstance(section, dict) or section.get("_target_") not in targets:
        raise UsageError(f"hydra.{part} is none that dlcli knows", f"choose with hydra/{part}=NAME, see --info plugins")
    for key, value in section.items():
        if key != "_target_" and (key.startswith("_") or _names_code(value)):
            raise UsageError(f"reserved key in hydra.{part}.{key}", f"hydra.{part} takes plain values only")


def _check_counts(launcher: dict[str, Any]) -> None:
    for key in sorted(launcher.keys() & COUNTS):
        value, auto = launcher[key], key == "slots" and launcher["_target_"] in AUTO
        if not ((type(value) is int and value >= 1) or (auto and value == "auto")):
            legal = "auto, or an integer from 1 on" if auto else "an integer from 1 on"
            raise UsageError(f"hydra.launcher.{key}={value} is not usable", f"hydra.launcher.{key} is {legal}")


def _names_code(value: Any) -> bool:
    if isinstance(value, dict):
        return any(str(key).startswith("_") or _names_code(item) for key, item in value.items())
    if isinstance(value, list):
        return any(map(_names_code, value))
    return isinstance(value, str) and "${" in value


def _first_difference(key: str, left: Any, right: Any) -> str:
    if isinstance(left, dict) and isinstance(right, dict):
        for name in sorted({*left, *right}, key=str):
            if left.get(name) != right.get(name):
                return _first_difference(f"{key}.{name}", left.get(name), right.get(name))
    return key


def _refusal(key: str, place: str = "") -> UsageError:
    return UsageError(f"{key!r} is not yours to set{place}", hydra_hint(key))


def _plain(node: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(node, resolve=False)
    for volatile in ("id", "num", "config_name", "override_dirname"):
        plain.get("job", {}).pop(volatile, None)
    return plain
