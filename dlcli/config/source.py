"""A folder of configs as Hydra reads it, with every file checked before Hydra sees what it says."""

from __future__ import annotations

from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf

from dlcli.config import folders, hydra_node, yaml_file


class GuardedSource(FileConfigSource):
    def __init__(self, provider: str, path: str):
        super().__init__(provider, path)
        self.files: dict[str, yaml_file.File] = {}  # name -> what was read since the last composition

    @staticmethod
    def scheme() -> str:
        return "guarded"

    @staticmethod
    def header(text: str) -> dict[str, str | None]:
        """Hydra's own header lines, `# @package _global_`."""
        return FileConfigSource._get_header_dict(text[:512])

    def load_config(self, config_path: str) -> ConfigResult:
        name = self._normalize_file_name(config_path)
        file = yaml_file.read(folders.shown(Path(self.path) / name))
        hydra_node.check_file(file, name, self.provider)
        self.files[name] = file
        config = OmegaConf.create(file.data)
        return ConfigResult(provider=self.provider, path=self.path, config=config, header=self.header(file.text))
