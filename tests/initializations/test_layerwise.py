import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from dlcli import registry

DRAWN = ["he", "xavier", "orthogonal"]


class Length(nn.Module):
    """A stand-in for weight normalization."""

    def forward(self, length, direction):
        return length * direction / direction.norm()

    def right_inverse(self, weight):
        return weight.norm(), weight


def initialize(name, model, scale=1.0):
    torch.manual_seed(0)
    registry.build("initialization", {"name": name, "scale": scale})(model)
    return model


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv1d(3, 8, 5), nn.BatchNorm1d(8), nn.Flatten(), nn.Linear(24, 16), nn.LayerNorm(16))


def test_default_at_scale_one_touches_nothing():
    model = network()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    registry.build("initialization", {"name": "default", "scale": 1.0})(model)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


def test_default_scales_weights_and_keeps_biases():
    plain, scaled = network(), initialize("default", network(), scale=3.0)
    assert torch.equal(scaled[0].weight, 3 * plain[0].weight) and torch.equal(scaled[3].weight, 3 * plain[3].weight)
    assert torch.equal(scaled[3].bias, plain[3].bias) and scaled[3].bias.any()


@pytest.mark.parametrize(("layer", "fan_in"), [(nn.Linear(400, 500), 400), (nn.Conv2d(40, 500, 3), 360)])
def test_he_has_variance_two_over_fan_in(layer, fan_in):
    assert initialize("he", layer).weight.var().item() == pytest.approx(2 / fan_in, rel=0.03)


def test_xavier_is_uniform_up_to_the_bound_of_glorot_and_bengio():
    weight = initialize("xavier", nn.Linear(400, 500)).weight
    bound = (6 / 900) ** 0.5
    assert 0.999 * bound < weight.abs().max() <= bound
    assert weight.var().item() == pytest.approx(2 / 900, rel=0.03)


@pytest.mark.parametrize("layer", [nn.Linear(30, 20), nn.Conv1d(10, 20, 3), nn.Conv2d(5, 20, 3)])
def test_orthogonal_has_orthonormal_rows(layer):
    matrix = initialize("orthogonal", layer).weight.flatten(1)
    assert torch.allclose(matrix @ matrix.T, torch.eye(20), atol=1e-5)


def test_orthogonal_has_orthonormal_columns_where_there_are_fewer_inputs():
    matrix = initialize("orthogonal", nn.Linear(20, 30)).weight
    assert torch.allclose(matrix.T @ matrix, torch.eye(20), atol=1e-5)


@pytest.mark.parametrize("name", DRAWN)
def test_scale_multiplies_the_drawn_weights(name):
    one, three = initialize(name, network()), initialize(name, network(), scale=3.0)
    assert torch.allclose(three[3].weight, 3 * one[3].weight)


@pytest.mark.parametrize("name", DRAWN)
def test_biases_are_zero(name):
    model = initialize(name, network())
    assert not model[0].bias.any() and not model[3].bias.any()


@pytest.mark.parametrize("name", ["default", *DRAWN])
def test_norm_scales_are_left_alone(name):
    model = network()
    with torch.no_grad():
        model[1].weight.fill_(0.5)
        model[4].bias.fill_(0.25)
    initialize(name, model, scale=2.0)
    assert (model[1].weight == 0.5).all() and (model[4].bias == 0.25).all()


@pytest.mark.parametrize("name", ["default", *DRAWN])
def test_a_reparametrized_layer_gets_the_same_effective_weight(name):
    torch.manual_seed(1)
    plain = nn.Linear(6, 4)
    wrapped = parametrize.register_parametrization(copy.deepcopy(plain), "weight", Length())
    initialize(name, plain, scale=2.0)
    initialize(name, wrapped, scale=2.0)
    assert torch.allclose(plain.weight, wrapped.weight)


@pytest.mark.parametrize("name", DRAWN)
def test_the_draw_follows_the_default_generator(name):
    assert torch.equal(initialize(name, network())[0].weight, initialize(name, network())[0].weight)


@pytest.mark.parametrize("name", DRAWN)
def test_layers_without_bias_are_welcome(name):
    initialize(name, nn.Linear(3, 2, bias=False))


@pytest.mark.parametrize("name", ["default", *DRAWN])
def test_weights_still_require_gradients_and_have_no_history(name):
    layer = initialize(name, nn.Linear(3, 2), scale=2.0)
    assert layer.weight.requires_grad and layer.weight.is_leaf
