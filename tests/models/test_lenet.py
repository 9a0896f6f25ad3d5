import pytest
import torch
from torch import nn

from dlcli.errors import UsageError


def lecture_network(channels, side):
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * (side // 4) ** 2, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (1, 28), (3, 32)])
def test_it_agrees_with_the_network_of_the_lecture_on_the_same_weights(build_model, channels, side):
    model, reference = build_model("lenet", (channels, side, side)), lecture_network(channels, side)
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        theirs.data.copy_(ours.data)
    inputs = torch.randn(4, channels, side, side)
    scores, expected = model(inputs), reference(inputs)
    assert torch.equal(scores, expected)
    for each in (scores, expected):
        each.square().sum().backward()
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)


def test_fashion_mnist_has_106154_parameters(build_model, count):
    assert count(build_model("lenet", (1, 28, 28))) == 106154


def test_width_scales_every_layer(build_model):
    model = build_model("lenet", (1, 28, 28), width=12)
    assert [p.shape[0] for name, p in model.named_parameters() if name.endswith("weight")] == [12, 32, 240, 168, 10]


def test_signals_get_one_dimensional_convolutions(build_model):
    assert build_model("lenet", (1, 40))(torch.randn(2, 1, 40)).shape == (2, 10)


def test_each_stage_halves_the_maps_and_the_last_that_fits_is_named(build_model):
    build_model("lenet", (1, 8, 8), depth=3)
    with pytest.raises(UsageError) as refusal:
        build_model("lenet", (1, 8, 8), dataset="digits", depth=4)
    assert refusal.value.message == "model 'lenet' with model.depth=4 pools 'digits' (8x8) away to nothing"
    assert refusal.value.hint == "each stage halves the maps: use model.depth=3"


@pytest.mark.parametrize("normalization", ["batch", "group", "layer", "rms"])
def test_every_hidden_layer_is_normalized(build_model, normalization):
    model = build_model("lenet", (1, 28, 28), normalization=normalization)
    scales = [p.shape[0] for p in model.body.parameters() if p.dim() == 1 and torch.equal(p, torch.ones_like(p))]
    assert scales == [6, 16, 120, 84]
