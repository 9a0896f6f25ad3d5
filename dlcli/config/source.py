"""A folder of configs as Hydra reads it, with every file checked before Hydra sees what it says."""

from __future__ import annotations

from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf

from dlcli.config import hydra_node, yaml_file


class GuardedSource(FileConfigSource):
    def __init__(self, provider: str, path: str):
        super().__init__(provider, path)
        self.files: dict[str, yaml_file.File] = {}  # name -> what was read since the last composition

    @staticmethod
    def scheme() -> str:
        return "guarded"

    def __deepcopy__(self, memo: dict) -> GuardedSource:
        return self  # Hydra copies its sources for each composition; what was read has to reach us

    def load_config(self, config_path: str) -> ConfigResult:
        name = self._normalize_file_name(config_path)
        file = yaml_file.read(Path(self.path) / name)
        header = FileConfigSource._get_header_dict(file.text[:512])
        file = file.under(_package(name, header.get("package")))
        hydra_node.check_file(file, name, self.provider)
        self.files[name] = file
        return ConfigResult(provider=self.provider, path=self.path, config=OmegaConf.create(file.data), header=header)


def _package(name: str, header: str | None) -> str:
    """Where in the config Hydra puts the keys of a file: by its header `# @package`, else by its folder."""
    package = header if header not in (None, "_group_") else ".".join(name.split("/")[:-1])
    return "" if package == "_global_" else package
