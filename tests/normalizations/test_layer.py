import pytest
import torch
from torch.nn import functional as F


@pytest.mark.parametrize("shape", [(3, 6), (3, 6, 5), (3, 6, 5, 4)])
def test_statistics_run_over_all_channels_and_positions(build_normalization, shape):
    inputs = 2 + 3 * torch.randn(shape)
    norm = build_normalization("layer", eps=1e-3).after(6, len(shape) - 2)
    assert torch.allclose(norm(inputs), F.layer_norm(inputs, shape[1:], eps=1e-3), atol=1e-5)


def test_scale_and_shift_are_per_channel(build_normalization):
    assert [tuple(p.shape) for p in build_normalization("layer").after(6, 2).parameters()] == [(6,), (6,)]
