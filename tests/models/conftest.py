from pathlib import Path

import pytest
import torch
import yaml

from dlcli import registry
from dlcli.protocols import DataSpec

CONF = Path(__file__).parents[2] / "conf"


def section(group, name, **changes):
    return {**yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8")), **changes}


@pytest.fixture
def build_model():
    """A model as its YAML describes it, for inputs of a shape; weights and examples drawn from seed 0."""

    def build(name, shape, outputs=10, normalization="none", examples=None, dataset="toy", **settings):
        torch.manual_seed(0)
        spec = DataSpec(dataset, tuple(shape), outputs=outputs)
        return registry.build(
            "model",
            section("model", name, **settings),
            spec=spec,
            normalization=registry.build("normalization", section("normalization", normalization)),
            examples=torch.randn(32, *shape) if examples is None else examples,
        )

    return build


@pytest.fixture
def count():
    return lambda model: sum(parameter.numel() for parameter in model.parameters())
