import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

LAYERS = {
    "linear": (lambda: nn.Linear(5, 3), (4, 5)),
    "signal": (lambda: nn.Conv1d(5, 3, 2), (4, 5, 6)),
    "image": (lambda: nn.Conv2d(5, 3, 2), (4, 5, 6, 6)),
}


@pytest.fixture(params=LAYERS)
def layer_and_inputs(request):
    factory, shape = LAYERS[request.param]
    return factory(), torch.randn(shape)


def test_the_layer_computes_what_it_computed_before(build_normalization, layer_and_inputs):
    layer, inputs = layer_and_inputs
    before = layer(inputs)
    assert torch.allclose(build_normalization("weight").wrap(layer)(inputs), before, atol=1e-6)


def test_gradients_are_those_of_torch(build_normalization, layer_and_inputs):
    layer, inputs = layer_and_inputs
    theirs, ours = weight_norm(copy.deepcopy(layer)), build_normalization("weight").wrap(layer)
    gradients = []
    for wrapped in (ours, theirs):
        wrapped(inputs).square().sum().backward()
        gradients.append([p.grad.flatten() for p in wrapped.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(*gradients, strict=True))


def test_the_length_of_each_units_weights_is_one_parameter(build_normalization):
    layer = build_normalization("weight").wrap(nn.Conv2d(5, 3, 2))
    with torch.no_grad():
        layer.parametrizations.weight.original0.copy_(torch.tensor([1.0, 2.0, 3.0]))
    assert torch.allclose(layer.weight.flatten(1).norm(dim=1), torch.tensor([1.0, 2.0, 3.0]))


def test_nothing_is_placed_behind_the_layer(build_normalization):
    inputs = torch.randn(2, 3)
    assert build_normalization("weight").after(3, 0)(inputs) is inputs
