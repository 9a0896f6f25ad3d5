import pytest
import torch
from torch import nn

from dlcli.errors import UsageError

TORCH = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
SHAPES = {0: (6, 4), 1: (6, 4, 5), 2: (6, 4, 5, 3)}


@pytest.mark.parametrize("dims", [0, 1, 2])
def test_training_and_evaluation_are_those_of_torch(build_normalization, dims):
    ours = build_normalization("batch", momentum=0.3, eps=1e-3).after(4, dims)
    theirs = TORCH[dims](4, momentum=0.3, eps=1e-3)
    for _ in range(3):
        inputs = 2 + 3 * torch.randn(SHAPES[dims])
        assert torch.equal(ours(inputs), theirs(inputs))
    assert torch.equal(ours.eval()(inputs), theirs.eval()(inputs))


def test_evaluation_leaves_the_running_averages_alone(build_normalization):
    norm = build_normalization("batch").after(4, 0).eval()
    norm(5 + torch.randn(6, 4))
    assert not norm.running_mean.any() and torch.equal(norm.running_var, torch.ones(4))


def test_one_value_per_channel_is_refused_in_training(build_normalization):
    norm = build_normalization("batch").after(4, 0)
    with pytest.raises(UsageError, match="two or more values per channel"):
        norm(torch.randn(1, 4))
    assert norm.eval()(torch.randn(1, 4)).isfinite().all()
