import pytest
import torch
from torch import nn

from dlcli.errors import UsageError


def mnist1d_network():
    """`ConvBase` of Greydanus & Kobak, written down by its layers."""
    return nn.Sequential(
        nn.Conv1d(1, 25, 5, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv1d(25, 25, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv1d(25, 25, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(125, 10),
    )


def test_the_defaults_have_the_5210_parameters_of_the_mnist1d_network(build_model, count):
    assert count(build_model("cnn", (1, 40))) == 5210


def test_the_defaults_agree_with_the_mnist1d_network_on_the_same_weights(build_model):
    model, reference = build_model("cnn", (1, 40)), mnist1d_network()
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        theirs.data.copy_(ours.data)
    inputs = torch.randn(6, 1, 40)
    assert torch.equal(model(inputs), reference(inputs))


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 20, 31)])
def test_images_get_two_dimensional_convolutions(build_model, shape):
    model = build_model("cnn", shape)
    assert all(p.dim() == 4 for name, p in model.named_parameters() if name in ("body.0.weight", "body.4.weight"))
    assert model(torch.randn(2, *shape)).shape == (2, 10)


def test_too_deep_for_the_maps_is_a_usage_error_that_says_which_depth_fits(build_model):
    with pytest.raises(UsageError) as refusal:
        build_model("cnn", (1, 8, 8), dataset="digits", padding=0, first_kernel=3)
    assert refusal.value.message == (
        "model 'cnn' does not fit 'digits': block 3 of 3 has kernels of side 3 and maps of 1x1 with padding 0"
    )
    assert refusal.value.hint == "use model.depth=2, or a larger model.padding"


def test_the_depth_that_the_hint_names_does_fit(build_model):
    build_model("cnn", (1, 8, 8), padding=0, first_kernel=3, depth=2)


def test_maps_that_shrink_to_one_position_cannot_be_normalized_by_instance(build_model):
    model = build_model("cnn", (1, 8, 8), normalization="instance")
    with pytest.raises(UsageError, match="one position"):
        model(torch.randn(4, 1, 8, 8))
