"""Hydra's composition under dlcli's rules: whose folder comes first, what a file may say, what an override may set.

Hydra picks and merges the files. Values are set here, after it, whether their keys exist or not: an unknown key has to
reach the one check that finds every mistake at once (dlcli/config/check.py).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.plugins import Plugins
from hydra.core.utils import JobRuntime, setup_globals
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from dlcli.config import folders, hydra_node, overrides, yaml_file
from dlcli.config.overrides import Options, Override
from dlcli.errors import UsageError

PRIMARY = "config"


class GuardedSource(FileConfigSource):
    """A folder of configs whose files are checked as they are read (dlcli/config/yaml_file.py)."""

    def __init__(self, provider: str, path: str):
        super().__init__(provider, path)
        self.files: dict[str, yaml_file.File] = {}

    @staticmethod
    def scheme() -> str:
        return "guarded"

    def load_config(self, config_path: str) -> ConfigResult:
        name = self._normalize_file_name(config_path)
        file = yaml_file.read(folders.shown(Path(self.path) / name))
        hydra_node.check_file(file, name)
        self.files[name] = file
        header = self._get_header_dict(file.text[:512])
        return ConfigResult(provider=self.provider, path=self.path, config=OmegaConf.create(file.data), header=header)


class Composed(NamedTuple):
    """A config as Hydra composed it, with its own node `hydra`, and where the files say what."""

    config: DictConfig
    places: dict[str, str]  # dotted key -> "file:line", for keys that a file of the user sets


class Loader(ConfigLoaderImpl):
    """Composes once per choice of groups; configs that differ in values only are copies (1 ms instead of 100)."""

    def __init__(self, config_dir: Path | None):
        Plugins.instance().register(GuardedSource)
        path = ConfigSearchPathImpl()
        self.folders = folders.search(config_dir)
        for folder in self.folders:
            path.append("dlcli" if folder == folders.packaged() else "yours", f"guarded://{folder}")
        path.append("hydra", "pkg://hydra.conf")
        path.append("schema", "structured://")
        super().__init__(path)
        self.composed: dict[tuple[str, ...], DictConfig] = {}
        self.job_folders: dict[tuple[str, ...], str] = {}  # overrides of a sweep's job -> name of its folder

    def options(self, group: str) -> Options:
        return Options(group, tuple(name for name in self.get_group_options(group) if not name.startswith("_")))

    def compose(self, texts: Sequence[str], sweeping: bool = False) -> DictConfig:
        """The config of a command line, node `hydra` included; UsageError for everything that Hydra refuses."""
        parsed = overrides.parse(texts)
        for override in parsed:
            if override.is_sweep and (not sweeping or override.is_hydra):
                _refuse_sweep(override)
            if override.is_choice:
                for choice in filter(None, overrides.choices(override)):
                    self.options(override.key).check(choice)
        config = copy.deepcopy(self._groups(tuple(o.text for o in parsed if o.is_choice), sweeping))
        for override in parsed:
            if not override.is_choice and not override.is_sweep:
                _set(config, override)
        with open_dict(config.hydra):
            config.hydra.overrides.hydra = [o.text for o in parsed if o.is_hydra]
            config.hydra.overrides.task = [o.text for o in parsed if not o.is_hydra]
        return config

    def _groups(self, choices: tuple[str, ...], sweeping: bool) -> DictConfig:
        if choices not in self.composed:
            mode = RunMode.MULTIRUN if sweeping else RunMode.RUN
            try:
                self.composed[choices] = self.load_configuration(PRIMARY, list(choices), mode)
            except (HydraException, OmegaConfBaseException, ValueError, TypeError, AssertionError) as fault:
                first = next(filter(None, str(fault.__cause__ or fault).splitlines()), type(fault).__name__)
                raise UsageError(
                    f"cannot compose the config: {first}", "check `defaults:` in the YAML files"
                ) from fault
        return self.composed[choices]

    def bare_node(self) -> DictConfig | None:
        """The node `hydra` as Hydra itself gives it; None where no file of the user can have changed it."""
        return self.load_configuration(None, [], RunMode.RUN).hydra if len(self.folders) > 1 else None

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The config of one job of a sweep; Hydra's launchers call this."""
        config = self.compose([*master_config.hydra.overrides.hydra, *sweep_overrides])
        hydra_node.prepare(config, master_config.hydra.sweep.dir, self.job_folders.get(tuple(sweep_overrides), "."))
        return config

    def places(self, texts: Sequence[str]) -> dict[str, str]:
        """Where the user's files set a key, leaving out what the command line sets again."""
        typed = {override.key for override in overrides.parse(texts)}
        found = {}
        for source in self.get_sources():
            if source.provider == "yours":
                for name, file in source.files.items():
                    prefix = _package(name, file.text)
                    found.update({prefix + key: f"{file.path}:{line}" for key, line in file.lines.items()})
        return {key: place for key, place in found.items() if key not in typed}


def compose(texts: Sequence[str], config_dir: Path | None = None) -> Composed:
    loader = open_loader(config_dir)
    config = loader.compose(texts)
    hydra_node.check(config, loader.bare_node())
    return Composed(config, loader.places(texts))


def open_loader(config_dir: Path | None) -> Loader:
    """A loader that Hydra knows as the one of this process."""
    version.setbase("1.3")
    setup_globals()
    JobRuntime.instance().set("name", "dlcli")
    return Loader(config_dir)


def plain(config: DictConfig) -> dict[str, Any]:
    """The config as a plain dict without the node `hydra`, references resolved. OmegaConf ends here."""
    bare = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    try:
        return OmegaConf.to_container(bare, resolve=True)
    except (OmegaConfBaseException, RecursionError) as fault:
        key = getattr(fault, "full_key", None) or "the config"
        reason = str(fault).splitlines()[0]
        raise UsageError(
            f"{key}: {reason}", "a reference names another key, without a circle: ${training.epochs}"
        ) from None


def _set(config: DictConfig, override: Override) -> None:
    try:
        if override.parsed.is_delete():
            parent, _, leaf = override.key.rpartition(".")
            with open_dict(config):
                del (OmegaConf.select(config, parent) if parent else config)[leaf]
        else:
            OmegaConf.update(config, override.key, overrides.value(override), merge=True, force_add=True)
    except (OmegaConfBaseException, KeyError, TypeError, ValueError, IndexError):
        parent = override.key.rpartition(".")[0] or "the config"
        raise UsageError(f"cannot apply {override.text!r}: {parent} has no such place", "see `dlcli config`") from None


def _refuse_sweep(override: Override) -> None:
    if override.is_hydra:
        raise UsageError(f"{override.text!r} sweeps over Hydra itself", "sweep over settings of the run")
    _, _, values = override.text.partition("=")
    hint = f"add -m to run them all; for a list write {override.key}=[{values}]"
    raise UsageError(f"{override.text!r} names several values", hint)


def _package(name: str, text: str) -> str:
    """The dotted prefix under which Hydra puts the keys of a file."""
    header = FileConfigSource._get_header_dict(text[:512]).get("package")
    parents = name.split("/")[:-1]
    package = header if header not in (None, "_group_") else ".".join(parents)
    return "" if package in ("", "_global_") else f"{package}."
