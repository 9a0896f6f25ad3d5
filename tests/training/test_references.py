"""Witnesses exist: each is a member of F with the risk it claims, minimized without what the run was regularized by."""

import hashlib
import math

import pytest
import safetensors.torch
import torch
from torch import nn

from dlcli.registry import build
from dlcli.training.loop import fit
from dlcli.training.references import continue_training, copy_of, recalibrate, witness
from dlcli.training.signals import Stop
from tests.training.conftest import risks

REGULARIZED = {
    "model": ("mlp", {"width": 12, "depth": 2, "dropout": 0.4}),
    "normalization": "batch",
    "optimizer": ("adam", {"lr": 0.01, "weight_decay": 0.1}),
    "augmentation": ("standard", {"flip": 0.5, "crop": 2}),
    "label_smoothing": 0.2,
    "clip_norm": 0.1,
    "precision": "bf16",
}


def adam(lr=0.003):
    section = {"name": "adam", "lr": lr, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "decay": "all"}
    return build("optimizer", section)


def never():
    return False


@pytest.fixture
def trained(make_run, notebook, tmp_path):
    run = make_run(**REGULARIZED, steps=20)
    fit(run, tmp_path, {}, notebook, notebook, Stop())
    return run


def snapshot(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_witness_reloads_into_a_fresh_model_and_has_the_risk_it_claims(make_run, trained):
    model = copy_of(trained.model)
    continue_training(model, trained, adam(), 30, never)
    claimed = [witness("before", trained.model, trained.task, trained.data.train)]
    claimed.append(witness("after", model, trained.task, trained.data.train))
    assert claimed[0].sha256 != claimed[1].sha256
    for found in claimed:
        fresh = make_run(**REGULARIZED, seed=99)
        fresh.model.load_state_dict(safetensors.torch.load(found.weights))
        assert risks(fresh.model, fresh.task, trained.data.train) == found.risks, found.method
        assert found.sha256 == hashlib.sha256(found.weights).hexdigest()


def test_continued_training_moves_the_copy_alone(trained):
    before, gradients = snapshot(trained.model), trained.learners[0].parameters.gradients.clone()
    memory = {name: tensor.clone() for name, tensor in trained.learners[0].memory.items()}
    state = trained.plain_state()
    continue_training(copy_of(trained.model), trained, adam(), 30, never)
    assert same(snapshot(trained.model), before) and same(trained.learners[0].memory, memory)
    assert torch.equal(trained.learners[0].parameters.gradients, gradients) and trained.plain_state() == state


def test_continued_training_finds_a_better_member_of_the_class(trained):
    model = copy_of(trained.model)
    continue_training(model, trained, adam(), 200, never)
    before, after = (risks(each, trained.task, trained.data.train)["loss"] for each in (trained.model, model))
    assert after < 0.5 * before


def test_continued_training_is_that_of_the_plain_risk_in_evaluation_mode(trained):
    """Step for step what a hand-written loop does that knows no dropout, augmentation, smoothing, decay or clipping."""
    ours, plain, steps = copy_of(trained.model), copy_of(trained.model), 12
    trained.batches.batch_size, trained.batches.epoch_steps = len(trained.data.train), 1
    continue_training(ours, trained, adam(), steps, never)
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.003)
    everything = trained.data.train.batch(slice(None))
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.003 * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.zero_grad()
        nn.functional.cross_entropy(plain(everything.inputs), everything.targets).backward()
        optimizer.step()
    for (name, mine), theirs in zip(ours.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6, msg=name)
    assert same(dict(ours.named_buffers()), dict(trained.model.named_buffers()))


def test_running_averages_taken_anew_are_the_mean_over_batches_of_the_function_without_noise(make_run):
    """In a single batch of the whole set they are its own mean and unbiased variance, layer behind layer."""
    run = make_run(**REGULARIZED | {"precision": "fp32"}, batch_size=40)
    model, inputs = copy_of(run.model), run.data.train.batch(slice(None)).inputs
    assert recalibrate(model, run) and not any(module.training for module in model.modules())
    hidden = inputs.flatten(1)
    for module in model.body:
        if hasattr(module, "running_mean"):
            assert torch.allclose(module.running_mean, hidden.mean(0), atol=1e-6)
            assert torch.allclose(module.running_var, hidden.var(0), rtol=1e-5)
            deviation = hidden.var(0, unbiased=False).add(module.eps).sqrt()
            hidden = (hidden - hidden.mean(0)) / deviation * module.weight + module.bias
        elif isinstance(module, nn.Linear | nn.ReLU):
            hidden = module(hidden)
    assert not recalibrate(make_run().model, run)


def test_continued_training_ends_at_once_when_asked(trained):
    model, asked = copy_of(trained.model), iter([False, False, True])
    continue_training(model, trained, adam(), 1000, lambda: next(asked))
    assert next(asked, None) is None and not same(snapshot(model), snapshot(trained.model))


def test_a_copy_shares_no_memory_with_the_run(trained):
    twin, before = copy_of(trained.model), snapshot(trained.model)
    with torch.no_grad():
        for tensor in twin.state_dict().values():
            tensor.zero_()
    assert same(snapshot(trained.model), before)
    assert all(leaf.grad is None for leaf in twin.parameters()) and not twin.training
