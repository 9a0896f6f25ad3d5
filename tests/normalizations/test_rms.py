import pytest
import torch
from torch.nn import functional as F


@pytest.mark.parametrize("shape", [(3, 6), (3, 6, 5), (3, 6, 5, 4)])
def test_the_root_mean_square_runs_over_all_channels_and_positions(build_normalization, shape):
    inputs = 2 + 3 * torch.randn(shape)
    norm = build_normalization("rms", eps=1e-3).after(6, len(shape) - 2)
    assert torch.allclose(norm(inputs), F.rms_norm(inputs, shape[1:], eps=1e-3), atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 6), (3, 6, 5), (3, 6, 5, 4)])
def test_the_scale_is_per_channel(build_normalization, shape):
    norm = build_normalization("rms").after(6, len(shape) - 2)
    inputs = torch.randn(shape)
    plain = norm(inputs)
    with torch.no_grad():
        norm.weight[2] = 5.0
    assert torch.allclose(norm(inputs)[:, 2], 5 * plain[:, 2]) and torch.equal(norm(inputs)[:, 3], plain[:, 3])
