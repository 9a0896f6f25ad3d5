import pytest
import torch
from torch.nn import functional as F

SHAPES = {0: (3, 12), 1: (3, 12, 5), 2: (3, 12, 5, 4)}


@pytest.mark.parametrize("dims", [0, 1, 2])
def test_values_are_those_of_torch(build_normalization, dims):
    inputs = 2 + 3 * torch.randn(SHAPES[dims])
    norm = build_normalization("group", groups=4, eps=1e-3).after(12, dims)
    assert torch.allclose(norm(inputs), F.group_norm(inputs, 4, eps=1e-3), atol=1e-6)


@pytest.mark.parametrize(
    ("channels", "dims", "groups"), [(16, 2, 8), (25, 1, 5), (6, 2, 6), (7, 2, 7), (13, 2, 1), (100, 0, 5), (120, 0, 8)]
)
def test_groups_fall_to_the_largest_divisor(build_normalization, channels, dims, groups):
    assert build_normalization("group", groups=8).after(channels, dims).num_groups == groups


@pytest.mark.parametrize(("channels", "groups"), [(7, 1), (8, 4), (6, 3), (1, 1)])
def test_without_positions_a_group_has_two_channels_or_more(build_normalization, channels, groups):
    assert build_normalization("group", groups=8).after(channels, 0).num_groups == groups


def test_a_lone_example_is_normalized_as_it_is_among_others(build_normalization):
    norm = build_normalization("group", groups=6).after(6, 2)
    assert norm(torch.randn(1, 6, 1, 1)).shape == (1, 6, 1, 1)
