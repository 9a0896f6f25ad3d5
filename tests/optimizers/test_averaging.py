"""The average is that of the weights that a rule leaves behind, and the rule does not notice it."""

import pytest
import torch

from dlcli import registry
from dlcli.optimizers.averaging import RAMP, Averaging
from dlcli.protocols import AVERAGE
from dlcli.training.parameters import FlatParameters

ADAM = {"name": "adam", "lr": 0.05, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "decay": "all"}


def walk(decay, steps=400):
    """Weights after each step of a noisy quadratic, and the memory at its end. decay: None for the bare rule."""
    rule = registry.build("optimizer", ADAM)
    rule = rule if decay is None else Averaging(rule, decay)
    torch.manual_seed(0)
    parameters = FlatParameters(torch.nn.Linear(3, 1))
    memory, noise, passed = rule.init(parameters), torch.Generator().manual_seed(1), []
    for _ in range(steps):
        parameters.gradients.copy_(parameters.weights + torch.randn(4, generator=noise))
        rule.update(parameters, memory, rule.lr, lambda: None)
        passed.append(parameters.weights.clone())
    return torch.stack(passed), memory


def test_the_rule_moves_as_it_would_alone():
    assert torch.equal(walk(0.9)[0], walk(None)[0])


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_the_average_is_the_recurrence_over_the_weights_so_far(decay):
    passed, memory = walk(decay)
    average = passed[0]
    for update, weights in enumerate(passed):
        average = average + max(1 - decay, 1 / (1 + update / RAMP)) * (weights - average)
    assert torch.allclose(memory[AVERAGE], average, atol=1e-6)
