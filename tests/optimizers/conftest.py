"""Small problems on which every rule is judged, and the shortest loop that drives one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from dlcli.registry import build
from dlcli.training.parameters import FlatParameters

CONF = Path(__file__).parents[2] / "conf" / "optimizer"


class Problem:
    """A small convolutional classifier in double precision, and a fresh batch per step."""

    def __init__(self, steps=20, dtype=torch.float64):
        draw = torch.Generator().manual_seed(7)
        self.inputs = torch.randn(steps, 16, 2, 5, 5, generator=draw, dtype=dtype)
        self.targets = torch.randint(3, (steps, 16), generator=draw)
        self.dtype = dtype

    def net(self):
        torch.manual_seed(3)
        layers = nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(36, 8), nn.LayerNorm(8), nn.Tanh()
        return nn.Sequential(*layers, nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)).to(self.dtype)

    def loss(self, net, step):
        return nn.functional.cross_entropy(net(self.inputs[step]), self.targets[step])

    def ours(self, rule):
        """The weights of the net, by name, after each step of a dlcli rule."""
        net = self.net()
        parameters = FlatParameters(net)
        state = rule.init(parameters)
        for step in range(len(self.inputs)):

            def again(step=step):
                loss = self.loss(net, step)
                loss.backward(inputs=parameters.leaves)
                parameters.collect()
                return loss.detach()

            again()
            rule.update(parameters, state, rule.lr, again)
            yield {name: tensor.detach().clone() for name, tensor in net.named_parameters()}

    def theirs(self, optimizers):
        """The same for the optimizers that `optimizers(net)` makes."""
        net = self.net()
        reference = optimizers(net)
        for step in range(len(self.inputs)):

            def closure(step=step):
                net.zero_grad()
                loss = self.loss(net, step)
                loss.backward()
                return loss

            closure()
            for optimizer in reference:
                optimizer.step(closure)
            yield {name: tensor.detach().clone() for name, tensor in net.named_parameters()}

    def assert_same_path(self, rule, optimizers, atol=1e-6):
        for step, (ours, theirs) in enumerate(zip(self.ours(rule), self.theirs(optimizers), strict=True)):
            for name in ours:
                torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=atol, msg=f"step {step}, {name}")


@pytest.fixture
def problem():
    return Problem()


@pytest.fixture
def problem32():
    return Problem(dtype=torch.float32)


@pytest.fixture
def rule():
    """rule("adam", lr=0.1): built from its YAML, with the settings given."""

    def made(name, **settings):
        return build("optimizer", {**yaml.safe_load((CONF / f"{name}.yaml").read_text()), **settings})

    return made


class Vector:
    """Parameters of one vector, or of a stack of them, whose gradient is a formula."""

    def __init__(self, weights, gradient, matrices_size=None):
        self.weights = weights.clone()
        self.gradients = torch.zeros_like(weights)
        self.matrices_size = weights.shape[-1] if matrices_size is None else matrices_size
        self.matrices = []
        self.gradient = gradient

    def run(self, rule, steps, lr=None):
        """Take `steps` steps; yields the weights before each, then the last."""
        state = rule.init(self)
        for _ in range(steps):
            yield self.weights.clone()
            self.again()
            rule.update(self, state, rule.lr if lr is None else lr, self.again)
        yield self.weights.clone()

    def again(self):
        value, gradient = self.gradient(self.weights)
        self.gradients.copy_(gradient)
        return value


@pytest.fixture
def vector():
    return Vector
