import pytest
import torch
from torch.nn import functional as F

from dlcli.errors import UsageError


@pytest.mark.parametrize("shape", [(3, 6, 5), (3, 6, 5, 4)])
def test_values_are_those_of_torch(build_normalization, shape):
    inputs = 2 + 3 * torch.randn(shape)
    norm = build_normalization("instance", eps=1e-3).after(6, len(shape) - 2)
    assert torch.allclose(norm(inputs), F.instance_norm(inputs, eps=1e-3), atol=1e-5)


def test_fully_connected_layers_are_refused_with_what_fits(build_normalization):
    with pytest.raises(UsageError) as refusal:
        build_normalization("instance").after(6, 0)
    assert refusal.value.message == (
        "normalization 'instance' averages over positions, and a fully connected layer has none"
    )
    assert refusal.value.hint == (
        "use normalization=batch, layer, group, rms, weight or none; model=cnn and resnet take instance"
    )


def test_a_single_position_is_refused(build_normalization):
    with pytest.raises(UsageError, match="shrunk to one position"):
        build_normalization("instance").after(6, 2)(torch.randn(3, 6, 1, 1))
