"""All parameters as one vector: same numbers, same identity, gradients that land in place."""

import copy

import pytest
import torch
from torch import nn

from dlcli.training.parameters import FlatParameters


@pytest.fixture
def net():
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5), nn.Linear(5, 2)
    return nn.Sequential(*layers)


def loss(net):
    return net(torch.ones(2, 2, 4, 4) * torch.arange(1.0, 3.0)[:, None, None, None]).square().sum()


def test_matrices_come_first_then_vectors_each_in_order_of_registration(net):
    parameters = FlatParameters(net)
    matrices, vectors = ["0.weight", "4.weight", "5.weight"], ["0.bias", "1.weight", "1.bias", "4.bias", "5.bias"]
    assert parameters.names == [*matrices, *vectors]
    assert parameters.matrices_size == 3 * 2 * 9 + 60 + 10
    assert [tuple(weight.shape) for weight, _ in parameters.matrices] == [(3, 2, 3, 3), (5, 12), (2, 5)]


def test_laying_out_changes_no_number_and_no_identity(net):
    before, leaves, expected = copy.deepcopy(net.state_dict()), list(net.parameters()), loss(copy.deepcopy(net))
    FlatParameters(net)
    assert all(a is b for a, b in zip(leaves, net.parameters(), strict=True))
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert torch.equal(loss(net), expected)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_those_of_autograd_after_any_number_of_steps(net, memory_format):
    net = net.to(memory_format=memory_format)
    plain = copy.deepcopy(net)
    parameters = FlatParameters(net)
    for _ in range(3):
        plain.zero_grad()
        loss(plain).backward()
        loss(net).backward(inputs=parameters.leaves)
        parameters.collect()
        found = parameters.views(parameters.gradients)
        for name, leaf in plain.named_parameters():
            assert torch.equal(found[name], leaf.grad)
            assert net.get_parameter(name).grad is None
        parameters.weights.sub_(parameters.gradients, alpha=1e-3)
        with torch.no_grad():
            for leaf in plain.parameters():
                leaf.sub_(leaf.grad, alpha=1e-3)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), plain.parameters(), strict=True))


def test_a_shared_parameter_appears_once_and_a_frozen_one_not_at_all(net):
    net[4].requires_grad_(False)
    net.append(net[5])
    parameters = FlatParameters(net)
    assert parameters.names == ["0.weight", "5.weight", "0.bias", "1.weight", "1.bias", "5.bias"]


def test_a_module_without_parameters_is_an_empty_vector():
    parameters = FlatParameters(nn.ReLU())
    assert parameters.weights.shape == parameters.gradients.shape == (0,) and not parameters.matrices


def test_parameters_of_two_types_are_refused(net):
    net[5].double()
    with pytest.raises(AssertionError, match="differ in type or device"):
        FlatParameters(net)
