"""Every rule that the framework also has walks the framework's path, with and without weight decay."""

from __future__ import annotations

import pytest
import torch
from torch import optim

PAIRS = {
    "gd": (optim.SGD, {"lr": 0.1}),
    "sgd": (optim.SGD, {"lr": 0.1}),
    "momentum": (optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    "nesterov": (optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    "adagrad": (optim.Adagrad, {"lr": 0.03}),
    "rmsprop": (optim.RMSprop, {"lr": 0.002, "momentum": 0.5}),
    "adam": (optim.Adam, {"lr": 0.01, "betas": (0.8, 0.99)}),
    "adamw": (optim.AdamW, {"lr": 0.01, "betas": (0.8, 0.99)}),
}


def ours(settings):
    renamed = {key: value for key, value in settings.items() if key not in ("nesterov", "betas")}
    return renamed | dict(zip(("beta1", "beta2"), settings.get("betas", ()), strict=False))


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("name", PAIRS)
def test_path_equals_the_framework(problem, rule, name, weight_decay):
    reference, settings = PAIRS[name]
    made = rule(name, **ours(settings), weight_decay=weight_decay, decay="all")
    problem.assert_same_path(
        made, lambda net: [reference(net.parameters(), **settings, weight_decay=weight_decay)], atol=1e-12
    )


@pytest.mark.parametrize("name", PAIRS)
def test_path_equals_the_framework_in_single_precision(problem32, rule, name):
    reference, settings = PAIRS[name]
    made = rule(name, **ours(settings), weight_decay=0.1, decay="all")
    problem32.assert_same_path(made, lambda net: [reference(net.parameters(), **settings, weight_decay=0.1)], atol=2e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_decay_of_matrices_leaves_out_vectors(problem, rule, name):
    reference, settings = PAIRS[name]

    def grouped(net):
        matrices = [leaf for leaf in net.parameters() if leaf.dim() >= 2]
        vectors = [leaf for leaf in net.parameters() if leaf.dim() < 2]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
        return [reference(groups, **settings)]

    made = rule(name, **ours(settings), weight_decay=0.1, decay="matrices")
    problem.assert_same_path(made, grouped, atol=1e-12)


def test_references_differ_from_each_other(problem):
    """The comparison above can tell two rules apart."""
    last = []
    for reference, settings in PAIRS.values():
        *_, path = problem.theirs(lambda net, r=reference, s=settings: [r(net.parameters(), **s, weight_decay=0.1)])
        last.append(torch.cat([tensor.flatten() for tensor in path.values()]))
    distances = torch.pdist(torch.stack(last[1:]))  # gd and sgd are the same here
    assert distances.min() > 1e-3
