import pytest
import torch
from torch import nn


def test_the_defaults_are_the_layers_of_the_mnist1d_paper(build_model):
    model = build_model("mlp", (1, 40))
    assert [tuple(p.shape) for p in model.parameters() if p.dim() == 2] == [(100, 40), (100, 100), (10, 100)]


def test_it_agrees_with_torch_on_the_same_weights(build_model):
    model = build_model("mlp", (2, 6), outputs=3, width=7, depth=2, activation="tanh")
    reference = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.Tanh(), nn.Linear(7, 7), nn.Tanh(), nn.Linear(7, 3))
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        theirs.data.copy_(ours.data)
    inputs = torch.randn(5, 2, 6)
    assert torch.equal(model(inputs), reference(inputs))


def test_depth_zero_is_the_linear_model(build_model):
    inputs = torch.randn(5, 12)
    mlp, linear = build_model("mlp", (12,), depth=0), build_model("linear", (12,))
    assert torch.equal(mlp(inputs), linear(inputs))


@pytest.mark.parametrize(
    ("activation", "reference"),
    [
        ("relu", lambda z: z.clamp(min=0)),
        ("leaky_relu", lambda z: torch.where(z > 0, z, 0.01 * z)),
        ("gelu", lambda z: z * 0.5 * (1 + torch.erf(z / 2**0.5))),
        ("silu", lambda z: z / (1 + torch.exp(-z))),
        ("softplus", lambda z: torch.log1p(torch.exp(z))),
        ("tanh", lambda z: 1 - 2 / (torch.exp(2 * z) + 1)),
        ("sigmoid", lambda z: 1 / (1 + torch.exp(-z))),
    ],
)
def test_the_features_of_one_layer_are_the_activation_of_a_linear_map(build_model, activation, reference):
    model = build_model("mlp", (6,), width=9, depth=1, activation=activation)
    inputs = torch.randn(4, 6)
    assert torch.allclose(model.body(inputs), reference(model.body[1](inputs)), atol=1e-6)


def test_dropout_acts_in_training_only(build_model):
    model = build_model("mlp", (6,), width=1000, depth=1, dropout=0.3)
    inputs = torch.ones(1, 6)
    kept = model.body(inputs) != 0
    active = model.eval().body(inputs) != 0
    assert 0.6 < kept.sum() / active.sum() < 0.8


def test_dropout_does_not_change_the_names_of_the_weights(build_model):
    assert build_model("mlp", (6,)).state_dict().keys() == build_model("mlp", (6,), dropout=0.5).state_dict().keys()


def test_a_layer_has_no_bias_of_its_own_where_the_normalization_brings_one(build_model):
    biases = {name: build_model("mlp", (6,), normalization=name).body[1].bias for name in ("batch", "rms", "weight")}
    assert biases["batch"] is None and biases["rms"] is not None and biases["weight"] is not None


@pytest.mark.parametrize(
    ("smaller", "larger", "activation"),
    [
        ({"width": 4, "depth": 2}, {"width": 9, "depth": 2}, "tanh"),
        ({"width": 4, "depth": 1}, {"width": 4, "depth": 3}, "relu"),
        ({"width": 4, "depth": 1}, {"width": 9, "depth": 2}, "relu"),
    ],
)
def test_a_smaller_model_embedded_is_the_same_function_and_can_still_learn(build_model, smaller, larger, activation):
    inputs = torch.randn(50, 6)
    small = build_model("mlp", (6,), activation=activation, **smaller)
    large = build_model("mlp", (6,), activation=activation, **larger)
    large.embed(small.state_dict())
    torch.testing.assert_close(large(inputs), small(inputs))
    large(inputs).square().sum().backward()
    added = large.head.weight.grad[:, smaller["width"] :]
    assert added.numel() == 0 or added.abs().max() > 0


def test_only_plain_layers_say_what_they_are(build_model):
    assert build_model("mlp", (6,), width=3, depth=2, activation="relu").architecture.hidden == (3, 3)
    assert build_model("mlp", (6,), width=3, depth=2, activation="tanh").architecture.breakpoints is None
    for normalization in ("batch", "weight", "rms"):
        assert build_model("mlp", (6,), normalization=normalization, depth=2).architecture.hidden == ()
    assert build_model("mlp", (6,), depth=0).architecture.frozen
