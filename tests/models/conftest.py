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


class Symbols:
    """A vocabulary of so many tokens, for models alone."""

    def __init__(self, size):
        self.tokens = [str(token) for token in range(size)]


@pytest.fixture
def build_language_model():
    """A causal model over windows of 12 tokens out of 7; weights drawn from seed 0."""

    def build(name, normalization="none", **settings):
        torch.manual_seed(0)
        spec = DataSpec("toy", (12,), outputs=7, vocabulary=Symbols(7), causal=True)
        normal = registry.build("normalization", section("normalization", normalization))
        model = section("model", name, **settings)
        return registry.build("model", model, spec=spec, normalization=normal, examples=torch.zeros(1, 12).long())

    return build
