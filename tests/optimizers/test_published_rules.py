"""Rules that the framework lacks, or has in another form, against a direct transcription of what was published."""

from __future__ import annotations

import pytest
import torch
from torch import optim


class Transcription:
    """A rule written out parameter by parameter: `move(parameter, gradient, memory)` returns what is subtracted."""

    def __init__(self, leaves, move):
        self.leaves, self.move, self.memory = list(leaves), move, {}

    @torch.no_grad()
    def step(self):
        for leaf in self.leaves:
            leaf -= self.move(leaf, leaf.grad.clone(), self.memory.setdefault(leaf, {}))


class Together:
    """Several rules that see the same gradients; none evaluates them anew."""

    def __init__(self, *rules):
        self.rules = rules

    def step(self, closure):
        for rule in self.rules:
            rule.step()


# Lion: Chen et al. 2023, algorithm 2


def lion(lr, beta1, beta2, rate):
    def move(weight, gradient, memory):
        average = memory.get("average", torch.zeros_like(gradient))
        direction = torch.sign(beta1 * average + (1 - beta1) * gradient)
        memory["average"] = beta2 * average + (1 - beta2) * gradient
        return lr * (direction + (rate if weight.dim() >= 2 else 0.0) * weight)

    return move


def test_lion_is_algorithm_2_of_its_paper(problem, rule):
    made = rule("lion", lr=0.002, beta1=0.8, beta2=0.95, weight_decay=0.1, decay="matrices")
    problem.assert_same_path(
        made, lambda net: [Together(Transcription(net.parameters(), lion(0.002, 0.8, 0.95, 0.1)))], 1e-12
    )


# Muon: Jordan et al. 2024


def orthogonal(matrix, steps):
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / (matrix.norm() + 1e-30)
    if tall := x.shape[0] > x.shape[1]:
        x = x.T
    for _ in range(steps):
        x = a * x + (b * (x @ x.T) + c * (x @ x.T) @ (x @ x.T)) @ x
    return x.T if tall else x


def muon(lr, momentum, rate, scale):
    def move(weight, gradient, memory):
        memory["average"] = momentum * memory.get("average", 0.0) + (1 - momentum) * gradient
        direction = (1 - momentum) * gradient + momentum * memory["average"]
        matrix = direction.reshape(len(direction), -1)
        rows, columns = matrix.shape
        factor = max(1, rows / columns) ** 0.5 if scale == "shape" else 0.2 * max(rows, columns) ** 0.5
        return lr * (factor * orthogonal(matrix, 5).reshape(weight.shape) + rate * weight)

    return move


@pytest.mark.parametrize("scale", ["shape", "rms"])
def test_muon_moves_hidden_matrices_by_orthogonal_steps_and_the_rest_by_adamw(problem, rule, scale):
    made = rule("muon", lr=0.02, momentum=0.9, scale=scale, weight_decay=0.1, beta1=0.8, beta2=0.9)

    def reference(net):
        matrices = [leaf for leaf in net.parameters() if leaf.dim() >= 2]
        vectors = [leaf for leaf in net.parameters() if leaf.dim() < 2]
        ends = {"params": [matrices[0], matrices[-1]], "weight_decay": 0.1}
        rest = optim.AdamW([ends, {"params": vectors, "weight_decay": 0.0}], lr=0.003, betas=(0.8, 0.9), eps=1e-10)
        return [Together(Transcription(matrices[1:-1], muon(0.02, 0.9, 0.1, scale)), rest)]

    problem.assert_same_path(made, reference, atol=1e-12)


def test_muon_of_all_matrices_takes_convolution_kernels_too(problem, rule):
    made = rule("muon", lr=0.02, ends="muon", weight_decay=0.0)

    def reference(net):
        matrices = [leaf for leaf in net.parameters() if leaf.dim() >= 2]
        vectors = [leaf for leaf in net.parameters() if leaf.dim() < 2]
        rest = optim.AdamW(vectors, lr=0.003, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0)
        return [Together(Transcription(matrices, muon(0.02, 0.95, 0.0, "shape")), rest)]

    problem.assert_same_path(made, reference, atol=1e-12)


def test_muon_in_half_precision_is_the_frameworks_to_that_precision(problem32, rule):
    """torch.optim.Muon always orthogonalizes in bfloat16, and takes no convolution."""
    problem32.inputs = problem32.inputs[:5]
    made = rule("muon", lr=0.02, precision="bf16", weight_decay=0.1, decay="matrices")

    def reference(net):
        matrices = [leaf for leaf in net.parameters() if leaf.dim() >= 2]
        vectors = [leaf for leaf in net.parameters() if leaf.dim() < 2]
        ends = {"params": [matrices[0], matrices[-1]], "weight_decay": 0.1}
        rest = optim.AdamW([ends, {"params": vectors, "weight_decay": 0.0}], lr=0.003, betas=(0.9, 0.95), eps=1e-10)
        return [Together(optim.Muon(matrices[1:-1], lr=0.02, weight_decay=0.1), rest)]

    problem32.assert_same_path(made, reference, atol=0.004)  # rounding of small singular values is amplified


# SAM: Foret et al. 2020, algorithm 1


class TwoSteps:
    """Climb to the worst point of the ball, take the gradient there, descend from home with it."""

    def __init__(self, net, rho, **settings):
        self.leaves, self.rho = list(net.parameters()), rho
        self.descent = optim.SGD(self.leaves, **settings)

    def step(self, closure):
        home = [leaf.detach().clone() for leaf in self.leaves]
        norm = torch.cat([leaf.grad.flatten() for leaf in self.leaves]).norm()
        with torch.no_grad():
            for leaf in self.leaves:
                leaf += self.rho * leaf.grad / norm
        closure()
        with torch.no_grad():
            for leaf, start in zip(self.leaves, home, strict=True):
                leaf.copy_(start)
        self.descent.step()


def test_sam_descends_from_home_by_the_gradient_at_the_worst_point(problem, rule):
    made = rule("sam", lr=0.05, rho=0.2, momentum=0.9, weight_decay=0.01)
    problem.assert_same_path(
        made, lambda net: [TwoSteps(net, 0.2, lr=0.05, momentum=0.9, weight_decay=0.01)], atol=1e-12
    )


# Ends of the legal settings


@pytest.mark.parametrize("name", ["momentum", "nesterov"])
def test_no_momentum_is_plain_descent(problem32, rule, name):
    made = rule(name, lr=0.1, momentum=0.0)
    problem32.assert_same_path(made, lambda net: [optim.SGD(net.parameters(), lr=0.1)], atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_no_averaging_is_a_step_of_equal_size_for_every_weight(vector, rule, name):
    made = rule(name, lr=0.1, beta1=0.0, beta2=0.0, eps=1e-30, weight_decay=0.0)
    curvature = torch.tensor([1e-3, 1.0, 1e3])
    before, after = vector(torch.tensor([1.0, -2.0, 3.0]), lambda w: (None, curvature * w)).run(made, 1)
    torch.testing.assert_close(after - before, torch.tensor([-0.1, 0.1, -0.1]))
