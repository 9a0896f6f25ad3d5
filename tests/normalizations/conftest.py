from pathlib import Path

import pytest
import yaml

from dlcli import registry

CONF = Path(__file__).parents[2] / "conf" / "normalization"


@pytest.fixture
def build_normalization():
    def build(name, **changes):
        section = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
        return registry.build("normalization", {**section, **changes})

    return build
