"""What holds for every rule alike: its memory, its defaults, stacks of runs, and what it does not import."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from dlcli.registry import catalogue
from dlcli.training.parameters import FlatParameters

RULES = sorted(catalogue("optimizer"))
STACKED = sorted(set(RULES) - {"lbfgs"})


def test_all_twelve_are_there():
    first, second = ["adagrad", "adam", "adamw", "gd", "lbfgs", "lion"], ["momentum", "muon", "nesterov", "rmsprop"]
    assert [*first, *second, "sam", "sgd"] == RULES


@pytest.mark.parametrize("name", RULES)
def test_only_full_batch_rules_say_so(rule, name):
    assert rule(name).full_batch == (name in ("gd", "lbfgs"))


@pytest.mark.parametrize("name", RULES)
def test_memory_continues_bitwise_from_a_copy(problem, rule, name):
    made = rule(name, weight_decay=0.01)

    def run(interrupted_at):
        net = problem.net()
        parameters = FlatParameters(net)
        state = made.init(parameters)
        for step in range(6):
            if step == interrupted_at:
                weights, kept = parameters.weights.clone(), {key: value.clone() for key, value in state.items()}
                net = problem.net()
                parameters = FlatParameters(net)
                parameters.weights.copy_(weights)
                state = made.init(parameters)
                for key, value in kept.items():
                    state[key].copy_(value)

            def again(net=net, parameters=parameters, step=step):
                loss = problem.loss(net, step)
                loss.backward(inputs=parameters.leaves)
                parameters.collect()
                return loss.detach()

            again()
            made.update(parameters, state, made.lr, again)
        return parameters.weights

    assert torch.equal(run(interrupted_at=3), run(interrupted_at=None))


@pytest.mark.parametrize("name", RULES)
def test_a_learning_rate_of_zero_moves_nothing(problem, rule, name):
    net = problem.net()
    parameters = FlatParameters(net)
    before = parameters.weights.clone()
    made = rule(name, weight_decay=0.1)

    def again():
        loss = problem.loss(net, 0)
        loss.backward(inputs=parameters.leaves)
        parameters.collect()
        return loss.detach()

    again()
    made.update(parameters, made.init(parameters), 0.0, again)
    assert torch.equal(parameters.weights, before)


NUMBERS = {
    "lr": (0.1, 0.03, 0.3),
    "weight_decay": (0.0, 0.1, 0.2),
    "momentum": (0.9, 0.5, 0.0),
    "beta1": (0.9, 0.5, 0.0),
    "beta2": (0.99, 0.8, 0.5),
    "alpha": (0.99, 0.8, 0.5),
    "eps": (1e-8, 1e-3, 1e-1),
    "rho": (0.05, 0.1, 0.5),
    "adam_ratio": (0.15, 1.0, 2.0),
}
SHAPES = (4, 5), (6, 4), (3, 6), (2, 6)  # matrices; then three more numbers


def shaped(vector, weights):
    """The vector, or stack of them, whose first numbers are matrices."""
    found, start = vector(weights, lambda w: (0.5 * w.square().sum(-1), torch.arange(1, 78) * w / 20)), 0
    for shape in SHAPES:
        end = start + shape[0] * shape[1]
        parts = (whole[..., start:end].unflatten(-1, shape) for whole in (found.weights, found.gradients))
        found.matrices.append(tuple(parts))
        start = end
    found.matrices_size = start
    return found


@pytest.mark.parametrize("name", STACKED)
def test_a_stack_of_runs_each_with_its_own_numbers_equals_its_runs(vector, rule, name):
    starts = torch.randn(3, 77, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    numbers = {key: values for key, values in NUMBERS.items() if key in catalogue("optimizer")[name].settings}
    columns = {key: torch.tensor(values, dtype=torch.float64)[:, None] for key, values in numbers.items()}
    *_, together = shaped(vector, starts).run(rule(name, **columns, decay="matrices"), 5)
    for number, (start, found) in enumerate(zip(starts, together, strict=True)):
        made = rule(name, **{key: values[number] for key, values in numbers.items()}, decay="matrices")
        *_, alone = shaped(vector, start).run(made, 5)
        assert not torch.equal(alone, start)
        torch.testing.assert_close(found, alone, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_defaults_learn_within_two_hundred_steps(rule, name):
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(512, 10, generator=draw)
    targets = (inputs @ torch.randn(10, 16, generator=draw)).relu().matmul(torch.randn(16, 3, generator=draw)).argmax(1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))
    parameters, made = FlatParameters(net), rule(name)
    state = made.init(parameters)
    first = None
    for step in range(10 if name == "lbfgs" else 200):
        rows = slice(None) if made.full_batch else slice(64 * (step % 8), 64 * (step % 8) + 64)

        def again(rows=rows):
            loss = nn.functional.cross_entropy(net(inputs[rows]), targets[rows])
            loss.backward(inputs=parameters.leaves)
            parameters.collect()
            return loss.detach()

        loss = again()
        first = loss if first is None else first
        made.update(parameters, state, made.lr, again)
    assert loss < 0.6 * first


def test_no_rule_imports_a_compiler():
    """Building one of `torch.optim` imports torch._dynamo: seconds at the start of every run."""
    script = """
import sys, torch, yaml
from pathlib import Path
from torch import nn
from dlcli.registry import build, catalogue
from dlcli.training.parameters import FlatParameters
for name in catalogue("optimizer"):
    rule = build("optimizer", yaml.safe_load(Path(f"conf/optimizer/{name}.yaml").read_text()))
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    parameters = FlatParameters(net)
    def again():
        loss = net(torch.ones(4, 3)).square().mean()
        loss.backward(inputs=parameters.leaves)
        parameters.collect()
        return loss.detach()
    again()
    rule.update(parameters, rule.init(parameters), rule.lr, again)
print(*[module for module in ("torch._dynamo", "torch._inductor", "sympy") if module in sys.modules])
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == ""
