"""Hydra's composition under dlcli's rules: whose folder comes first, what a file may say, what an override may set.

Hydra picks and merges the files. Values are set here, after it, whether their keys exist or not: an unknown key has to
reach the one check that finds every mistake at once (dlcli/config/check.py).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobRuntime, setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from dlcli.config import folders, hydra_node, overrides
from dlcli.config.check import EXPERIMENT_HEADER
from dlcli.config.names import nearest, suggestion
from dlcli.config.overrides import Override
from dlcli.config.source import GuardedSource
from dlcli.errors import UsageError

PRIMARY = "config"
TYPED = 3  # rank of the command line; below it the experiment 2, the parts 1, the primary config 0


class Composed(NamedTuple):
    """A config as Hydra composed it, without its own node `hydra`, and where the files say what."""

    config: DictConfig
    places: dict[str, str]  # dotted key -> "file:line", for keys that a file sets and the command line does not


class _Files(NamedTuple):
    """What the files give for one choice of groups."""

    config: DictConfig
    node: DictConfig  # {"hydra": ...}
    places: dict[str, str]
    ranks: dict[str, int]  # dotted key -> rank of the file that sets it last


class Loader(ConfigLoaderImpl):
    """Composes once per choice of groups; configs that differ in values only are copies.

    `saved` is the config of an earlier run, which then takes the place of the defaults.
    """

    def __init__(self, config_dir: Path | None = None, saved: dict[str, Any] | None = None):
        version.setbase("1.3")
        setup_globals()
        JobRuntime.instance().set("name", "dlcli")
        Plugins.instance().register(GuardedSource)
        ConfigStore.instance().store(group="hydra", name="config", node=hydra_node.Node, provider="dlcli")
        path = ConfigSearchPathImpl()
        self.folders = folders.search(config_dir)
        for folder in self.folders:
            path.append("dlcli" if folder == folders.packaged() else "yours", f"guarded://{folder}")
        path.append("schema", "structured://")
        super().__init__(path)
        self.saved = saved
        self.composed: dict[tuple[str, ...], _Files] = {}
        self.job_folders: dict[tuple[str, ...], str] = {}  # overrides of a sweep's job -> name of its folder
        self.checked: dict[tuple[str, ...], dict[str, Any]] = {}  # likewise -> its config, for launchers of dlcli

    def options(self, group: str) -> list[str]:
        return sorted({*folders.options(group, self.folders), *self._stored(group)})

    def compose(self, texts: Sequence[str], sweeping: bool = False) -> Composed:
        """The config of a command line; UsageError for everything that Hydra refuses."""
        parsed = overrides.parse(texts)
        files = self._files(parsed, sweeping)
        config, places, ranks = copy.deepcopy(files.config), files.places, files.ranks
        if self.saved is not None:
            config, places, ranks = _upon(self.saved, config, parsed), {}, {}
        typed = {}
        for override in parsed:
            if override.is_value and not override.is_hydra:
                _set(config, override)
                typed |= dict.fromkeys(overrides.keys(override), TYPED)
        if any(override.is_value and override.is_hydra for override in parsed):
            self._node(parsed, sweeping)  # refuses what would harm in a sweep
        _settle_length(config, ranks | typed)
        above = {key[:end] for key in typed for end, letter in enumerate(key) if letter == "."}
        return Composed(config, {key: place for key, place in places.items() if key not in typed.keys() | above})

    def compose_whole(self, texts: Sequence[str], sweeping: bool = False) -> DictConfig:
        """The same with the node `hydra`, as Hydra's sweepers and launchers take it."""
        parsed = overrides.parse(texts)
        config = self.compose(texts, sweeping).config
        whole = self._node(parsed, sweeping)
        whole.hydra.overrides.hydra = [override.text for override in parsed if override.is_hydra]
        whole.hydra.overrides.task = [override.text for override in parsed if not override.is_hydra]
        for key in config:
            with open_dict(whole), _following_references(str(key)):
                whole[key] = config._get_node(key)
        return whole

    def _node(self, parsed: list[Override], sweeping: bool) -> DictConfig:
        node = copy.deepcopy(self._files(parsed, sweeping).node)
        for override in parsed:
            if override.is_value and override.is_hydra:
                _set(node, override)
        hydra_node.check_parts(node.hydra)
        return node

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The config of one job of a sweep; Hydra's launchers call this."""
        config = self.compose_whole([*master_config.hydra.overrides.hydra, *sweep_overrides])
        folder = self.job_folders.get(tuple(sweep_overrides), ".")
        hydra_node.prepare(config, OmegaConf.select(master_config, "hydra.sweep.dir"), folder)
        return config

    def _stored(self, group: str) -> list[str]:
        """Options that Hydra's plugins bring along, such as hydra/launcher=joblib."""
        return self.get_group_options(group) if group.startswith("hydra/") else []

    def _check_choice(self, override: Override) -> None:
        group, options = override.key, self.options(override.key)
        for name in overrides.choices(override):
            if name not in options:
                listing = f"{group} is one of {', '.join(options)}"
                raise UsageError(f"unknown {group} {name!r}", suggestion(nearest(name, options), listing))

    def _files(self, parsed: list[Override], sweeping: bool) -> _Files:
        for override in parsed:
            if override.is_sweep and (not sweeping or override.is_hydra):
                _refuse_sweep(override)
        choices = tuple(override.text for override in parsed if override.is_choice)
        if choices in self.composed:
            return self.composed[choices]
        for override in parsed:
            if override.is_choice:
                self._check_choice(override)
        sources = [source for source in self.get_sources() if isinstance(source, GuardedSource)]
        for source in sources:
            source.files.clear()
        whole = self._load(PRIMARY, choices, RunMode.MULTIRUN if sweeping else RunMode.RUN)
        OmegaConf.set_struct(whole, False)
        read = sorted((_rank(name), file) for source in sources for name, file in source.files.items())
        # What a file of the user could have done to Hydra's own node, Hydra's node without any file shows.
        bare = self._load(None, (), RunMode.RUN).hydra if len(self.folders) > 1 else None
        hydra_node.check(whole.hydra, bare)
        places, ranks = {}, {}
        for rank, file in read:
            for key, line in file.lines.items():
                places[key], ranks[key] = f"{file.path}:{line}", rank
        node = OmegaConf.masked_copy(whole, ["hydra"])
        task = OmegaConf.masked_copy(whole, [key for key in whole if key != "hydra"])
        self.composed[choices] = _Files(task, node, places, ranks)
        return self.composed[choices]

    def _load(self, primary: str | None, choices: tuple[str, ...], mode: RunMode) -> DictConfig:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)
                return self.load_configuration(primary, list(choices), mode)
        except (HydraException, OmegaConfBaseException, UserWarning, LookupError, *_MISREAD) as fault:
            first = next(filter(None, str(fault.__cause__ or fault).splitlines()), type(fault).__name__)
            hint = "check `defaults:` in the YAML files"
            group, _, name = (getattr(fault, "missing_cfg_file", None) or "").rpartition("/")
            if options := self.options(group) if group else []:
                hint = suggestion(nearest(name, options), f"{group} is one of {', '.join(options)}")
            elif "@experiment" in first or "experiment/" in group:
                hint = EXPERIMENT_HEADER
            raise UsageError(f"cannot compose the config: {first}", hint) from fault


_MISREAD = (ValueError, TypeError, AttributeError, AssertionError, RecursionError)  # how Hydra meets odd files


def plain(config: DictConfig) -> dict[str, Any]:
    """A config as a plain dict, references resolved. OmegaConf ends here."""
    with _following_references():
        return OmegaConf.to_container(config, resolve=True)


@contextmanager
def _following_references(place: str = "the config") -> Iterator[None]:
    """UsageError for a reference to nowhere or to itself; `place` is where one was met, if the fault does not tell."""
    try:
        yield
    except (OmegaConfBaseException, RecursionError) as fault:
        key = getattr(fault, "full_key", None) or place
        reason = next(iter(str(fault).splitlines()), "a circle")
        hint = "a reference names another key, without a circle: ${training.epochs}"
        raise UsageError(f"{key}: {reason}", hint) from None


def _upon(saved: dict[str, Any], fresh: DictConfig, parsed: list[Override]) -> DictConfig:
    """The saved config, with the sections that the command line chooses anew taken whole from `fresh`."""
    config = OmegaConf.create(saved)
    for override in parsed:
        if override.key == "experiment":
            hint = "start from the run and set what differs, or from the experiment"
            raise UsageError(f"{override.text!r} would replace the saved config", hint)
        if override.is_choice and not override.is_hydra and not override.is_sweep:
            config[override.key] = fresh.get(override.key)
    return config


def _settle_length(config: DictConfig, ranks: dict[str, int]) -> None:
    """A run is as long as `epochs` or as `steps` says: the one that was said later, on the command line last of all."""
    pair = ("epochs", "steps")
    training = config.get("training")
    if not isinstance(training, DictConfig):
        return
    if any(not OmegaConf.is_interpolation(training, key) and training.get(key) is None for key in pair):
        return
    rank = {key: ranks.get(f"training.{key}", 0) for key in pair}
    if rank["epochs"] != rank["steps"]:
        training[min(pair, key=rank.__getitem__)] = None


def _set(config: DictConfig, override: Override) -> None:
    try:
        if override.parsed.is_delete():
            parent, _, leaf = override.key.rpartition(".")
            with open_dict(config):
                del (OmegaConf.select(config, parent) if parent else config)[leaf]
        else:
            OmegaConf.update(config, override.key, override.parsed.value(), merge=True, force_add=True)
    except (OmegaConfBaseException, LookupError, *_MISREAD):
        parent = override.key.rpartition(".")[0] or "the config"
        raise UsageError(f"cannot apply {override.text!r}: {parent} has no such place", "see `dlcli config`") from None


def _refuse_sweep(override: Override) -> None:
    if override.is_hydra:
        raise UsageError(f"{override.text!r} sweeps over Hydra itself", "sweep over settings of the run")
    _, _, values = override.text.partition("=")
    hint = f"add -m to run them all; for a list write {override.key}=[{values}]"
    raise UsageError(f"{override.text!r} names several values", hint)


def _rank(name: str) -> int:
    return 0 if name == f"{PRIMARY}.yaml" else 2 if name.startswith("experiment/") else 1
