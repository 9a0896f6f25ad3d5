"""normalization=auto is what a model is published with."""

import pytest

from dlcli import build, config
from dlcli.normalizations.batch import BatchNorm

TINY = ["dataset=digits", "model=resnet", "model.depth=8"]


@pytest.mark.parametrize(("given", "expected"), [("auto", True), ("batch", True), ("none", False)])
def test_a_residual_network_comes_with_batch_normalization(given, expected):
    run = build.build(config.load_checked([*TINY, f"normalization={given}"]))
    assert any(isinstance(module, BatchNorm) for module in run.model.modules()) is expected


def test_the_class_of_functions_is_that_of_the_normalization_that_was_chosen():
    configs = [config.load_checked([*TINY, f"normalization={name}"]) for name in ("auto", "batch", "none")]
    task = build.build(configs[0]).task
    auto, batch, none = (build.class_key(each, task)["id"] for each in configs)
    assert auto == batch != none
