"""Gradients written out are those of autograd, for one run and for several in rows; a net that is no chain has none."""

import pytest
import torch
from torch import nn

from dlcli import config as configs
from dlcli.build import build
from dlcli.models.predictor import dense_sequence
from dlcli.training import backpropagation
from dlcli.training.backpropagation import chain
from dlcli.training.ensemble import Stack
from dlcli.training.loop import gather
from dlcli.training.parameters import FlatParameters
from dlcli.training.references import copy_of, reference_run
from dlcli.training.step import loss_and_gradients, take_step

CHAINS = {
    "softmax": ("model=linear",),
    "a product of matrices": ("model=linear", "model.depth=2", "model.width=6"),
    "rectifiers": ("model=mlp", "model.width=9", "task.label_smoothing=0.1"),
    "tanh": ("model=mlp", "model.width=9", "model.activation=tanh", "training.clip_norm=0.1"),
    "sigmoid": ("model=mlp", "model.width=9", "model.depth=3", "model.activation=sigmoid"),
    "squared error": ("model=mlp", "model.width=9", "task=multiclass", "task.loss=squared_error"),
    "images": ("model=mlp", "model.width=9", "dataset=digits"),
    "one score": ("model=mlp", "model.width=9", "dataset=two_moons", "task=binary", "task.label_smoothing=0.1"),
    "numbers": ("model=mlp", "model.width=9", "dataset=diabetes"),
}
NO_CHAINS = {
    "dropout": ("model=mlp", "model.dropout=0.1"),
    "batch": ("model=mlp", "normalization=batch"),
    "weight": ("model=mlp", "normalization=weight"),
    "gelu": ("model=mlp", "model.activation=gelu"),
    "hinge": ("model=mlp", "task=multiclass", "task.loss=hinge"),
    "cnn": ("model=cnn",),
    "gru": ("model=gru",),
}


def run_of(*words):
    run = build(configs.load_checked(["training.batch_size=16", "training.threads=1", *words], None))
    run.model.train()
    return run


def without_chain(run):
    run.learners = tuple(learner._replace(chain=None) for learner in run.learners)
    return run


def gradient(run):
    loss, norm = loss_and_gradients(run, run.learners[0], run.batch(), 1)
    return loss, norm, run.learners[0].parameters.gradients


def assert_gradients_equal(run, other, tolerance):
    (loss, norm, found), (their_loss, their_norm, expected) = gradient(run), gradient(other)
    assert loss.item() == pytest.approx(their_loss.item(), rel=tolerance)
    assert norm.item() == pytest.approx(their_norm.item(), rel=tolerance)
    assert (found - expected).norm() <= tolerance * expected.norm()


@pytest.mark.parametrize("words", CHAINS.values(), ids=CHAINS)
def test_the_gradients_are_those_of_autograd(words):
    run, other = run_of(*words), without_chain(run_of(*words))
    assert run.learners[0].chain is not None
    for _ in range(3):
        assert_gradients_equal(run, other, 1e-5)
        for each in (run, other):
            gather(each, take_step(each))


@pytest.mark.parametrize("worth", [1, 16 * 9 * 9 + 1])  # all products are rounded, or those of wide layers
@pytest.mark.parametrize("words", CHAINS.values(), ids=CHAINS)
def test_in_half_precision_they_are_as_near_to_those_of_autograd_as_these_are_to_the_truth(monkeypatch, words, worth):
    monkeypatch.setattr(backpropagation, "WORTH_ROUNDING", worth)
    run, rounded = run_of(*words), run_of(*words, "training.precision=bf16")
    truth, theirs = (gradient(without_chain(run_of(*words, *more)))[2] for more in ((), ("training.precision=bf16",)))
    ours, most = gradient(rounded)[2], max(weight.numel() for weight in run.model.parameters())
    assert ours.dtype == torch.float32
    assert (ours - truth).norm() < max(1.5 * (theirs - truth).norm(), 0.004 * truth.norm())
    assert torch.equal(ours, gradient(run)[2]) == (16 * most < worth)


def test_in_half_precision_a_stack_rounds_what_a_run_does(monkeypatch):
    """Each product of the three is too small to be rounded, and one of all three would not be."""
    monkeypatch.setattr(backpropagation, "WORTH_ROUNDING", 16 * 9 * 40 + 1)
    words = (*CHAINS["rectifiers"], "training.precision=bf16")
    runs, alone = ([run_of(*words, f"seed={seed}") for seed in range(3)] for _ in range(2))
    stack = Stack(runs)
    stack.gradients(next(stack.batches(1)), stack.seeds())
    for row, run in enumerate(alone):
        torch.testing.assert_close(stack.parameters.gradients[row], gradient(run)[2], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("words", CHAINS.values(), ids=CHAINS)
def test_for_runs_in_rows_they_are_those_of_each(words):
    runs, others = ([run_of(*words, f"seed={seed}") for seed in range(3)] for _ in range(2))
    stack = Stack(runs)
    assert stack.chain is not None
    batch, seeds = next(stack.batches(1)), stack.seeds()
    losses, norms = stack.gradients(batch, seeds)
    for row, other in enumerate(map(without_chain, others)):
        loss, norm, expected = gradient(other)
        assert losses[row].item() == pytest.approx(loss.item(), rel=1e-5)
        assert norms[row].item() == pytest.approx(norm.item(), rel=1e-5)
        assert (stack.parameters.gradients[row] - expected).norm() <= 1e-5 * expected.norm()


def test_weights_that_have_moved_elsewhere_are_found():
    run, other = run_of(*CHAINS["rectifiers"]), without_chain(run_of(*CHAINS["rectifiers"]))
    gradient(run)
    parameters = run.learners[0].parameters
    parameters.move(torch.zeros_like(parameters.weights), torch.zeros_like(parameters.gradients))
    assert_gradients_equal(run, other, 1e-5)


def test_a_reference_goes_down_the_risk_that_nothing_smooths():
    run = run_of(*CHAINS["rectifiers"], "training.precision=bf16")
    reference = reference_run(copy_of(run.model), run, run.learners[0].optimizer, 3)
    assert reference.learners[0].chain is not None
    model, batch = reference.model, reference.batch()
    expected = torch.autograd.grad(
        nn.functional.cross_entropy(model(batch.inputs), batch.targets), list(model.parameters())
    )
    gradient(reference)
    views = reference.learners[0].parameters.views(reference.learners[0].parameters.gradients)
    for (name, _), theirs in zip(model.named_parameters(), expected, strict=True):
        torch.testing.assert_close(views[name], theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("words", NO_CHAINS.values(), ids=NO_CHAINS)
def test_what_is_more_than_a_chain_is_left_to_autograd(words):
    assert run_of(*words).learners[0].chain is None


@pytest.mark.parametrize("change", ["hook", "frozen", "shared", "more"])
def test_a_chain_that_something_else_has_a_say_in_is_left_to_autograd(change):
    model = run_of("model=mlp", "model.width=40", "model.depth=2").model
    assert chain(dense_sequence(model), FlatParameters(model)) is not None
    if change == "hook":
        model.body[1].register_forward_hook(lambda *_: None)
    elif change == "frozen":
        model.body[1].bias.requires_grad_(False)
    elif change == "shared":
        model.body[5].weight = model.body[1].weight
    else:
        model.temperature = nn.Parameter(torch.ones(()))
    assert chain(dense_sequence(model), FlatParameters(model)) is None


def test_a_model_that_does_more_than_its_parts_is_no_sequence():
    class Doubled(type(run_of("model=mlp").model)):
        def forward(self, inputs):
            return 2 * super().forward(inputs)

    model = run_of("model=mlp").model
    assert dense_sequence(model)
    model.__class__ = Doubled
    assert not dense_sequence(model)
