"""Where config files are found: the user's folder first, then those of plugins, the packaged one last."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from dlcli import registry
from dlcli.errors import UsageError
from dlcli.training.train_log import escaped

PACKAGE = Path(__file__).parent.parent


@cache
def packaged() -> Path:
    """The configs that come with dlcli: inside the package when installed from a wheel, beside it in a checkout."""
    inside = PACKAGE / "conf"
    return inside if inside.is_dir() else PACKAGE.parent / "conf"


def search(config_dir: Path | None) -> list[Path]:
    """The folders to search in their order: `config_dir` or else ./conf, those of plugins, the packaged one."""
    if config_dir is not None and not config_dir.is_dir():
        raise UsageError(f"config folder {str(config_dir)!r} is not there", "--config-dir names a folder of YAML files")
    own = config_dir or Path("conf")
    found = [own.resolve()] if own.is_dir() and not own.samefile(packaged()) else []
    return list(dict.fromkeys([*found, *registry.plugin_configs(), packaged()]))


def options(group: str, folders: Sequence[Path]) -> list[str]:
    """The options of a group, those in folders below it included: `mnist1d_cnn`, `paper/cnn`."""
    found = set()
    for folder in folders:
        for path in (folder / group).rglob("*.yaml"):
            name = path.relative_to(folder / group).with_suffix("").as_posix()
            if path.is_file() and not any(part.startswith(("_", ".")) for part in name.split("/")):
                found.add(name)
    return sorted(found)


def shown(path: Path) -> Path:
    """`path` as the user would type it, in letters that a terminal does not obey; a packaged file by its place in the
    package."""
    near = (path.relative_to(above) for above in (Path.cwd(), packaged().parent) if path.is_relative_to(above))
    return Path(escaped(str(next(near, path))))
