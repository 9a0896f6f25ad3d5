"""Prints what Hydra composed, in the form that users of Hydra know from `--cfg` and `--info`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlcli.config.composition import Loader
from dlcli.config.names import nearest, suggestion
from dlcli.errors import UsageError


def composed_text(
    overrides: Sequence[str], config_dir: Path | None, what: str, resolve: bool, package: str | None
) -> str:
    whole = Loader(config_dir).compose_whole(overrides)
    HydraConfig.instance().cfg = whole  # what `${hydra:...}` inside the node reads
    keys = {"job": [key for key in whole if key != "hydra"], "hydra": ["hydra"], "all": list(whole)}[what]
    shown = OmegaConf.masked_copy(whole, keys)
    header = ""
    if package:
        shown, header = _part(shown, package), f"# @package {package}\n"
    if not isinstance(shown, DictConfig):
        return f"{header}{shown}\n"
    try:
        return header + OmegaConf.to_yaml(shown, resolve=resolve)
    except OmegaConfBaseException as fault:
        raise UsageError(f"cannot resolve: {str(fault).splitlines()[0]}", "leave out --resolve") from None


def info(what: str, config_dir: Path | None) -> str:
    lines = []
    loader = Loader(config_dir)
    if what in ("searchpath", "all"):
        lines += ["Config search path, first one first:"]
        lines += [f"  {source.provider:<8} {source.full_path()}" for source in loader.get_sources()]
    if what in ("plugins", "all"):
        found = sorted({f"{kind.__module__}.{kind.__name__}" for kind in Plugins.instance().discover()})
        lines += ["Hydra plugins:", *(f"  {name}" for name in found)]
        for group in ("hydra/launcher", "hydra/sweeper"):
            lines += [f"{group}: {', '.join(loader.options(group))}"]
    return "\n".join(lines) + "\n"


def _part(config: DictConfig, package: str) -> object:
    missing = object()
    part = OmegaConf.select(config, package, default=missing)
    if part is missing:
        listing = f"sections: {', '.join(map(str, config))}"
        raise UsageError(
            f"no section {package!r} in the config", suggestion(nearest(package, map(str, config)), listing)
        )
    return part
