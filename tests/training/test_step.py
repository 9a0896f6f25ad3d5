"""One step: what a gradient is the gradient of, and what is refused before it can spoil a weight."""

import copy
import math

import pytest
import torch
from torch import nn

from dlcli.errors import Diverged
from dlcli.training.step import loss_and_gradients, take_step
from tests.training.conftest import risks

DROPOUT = ("mlp", {"width": 16, "depth": 2, "dropout": 0.5})


def gradient(run, noise=1):
    batch = run.data.train.batch(run.batches.indices(0))
    loss, norm = loss_and_gradients(run, run.learners[0], batch, noise)
    return loss.item(), norm.item(), run.learners[0].parameters.gradients.clone()


def test_the_gradient_is_that_of_the_mean_loss_over_the_batch(make_run):
    run = make_run()
    twin, batch = copy.deepcopy(run.model), run.data.train.batch(run.batches.indices(0))
    expected = nn.functional.cross_entropy(twin(batch.inputs), batch.targets)
    expected.backward()
    loss, norm, found = gradient(run)
    assert loss == pytest.approx(expected.item(), rel=1e-6)
    total = math.sqrt(sum(leaf.grad.square().sum().item() for leaf in twin.parameters()))
    assert norm == pytest.approx(total, rel=1e-5)
    ours = run.learners[0].parameters.views(found)
    for name, leaf in twin.named_parameters():
        torch.testing.assert_close(ours[name], leaf.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("parts", [2, 3, 5, 100])
def test_accumulation_in_any_number_of_parts_equals_the_whole_batch(make_run, parts):
    whole, cut = gradient(make_run(batch_size=13)), gradient(make_run(batch_size=13, accumulate=parts))
    assert cut[0] == pytest.approx(whole[0], rel=1e-6)
    torch.testing.assert_close(cut[2], whole[2], rtol=0, atol=1e-6)


def test_accumulation_differs_under_batch_normalization_which_sees_the_parts(make_run):
    whole, cut = (gradient(make_run(normalization="batch", accumulate=parts)) for parts in (1, 2))
    assert not torch.allclose(cut[2], whole[2], atol=1e-3)


def test_the_same_noise_gives_the_same_function_and_another_noise_another(make_run):
    run = make_run(model=DROPOUT)
    first, again, other = gradient(run, 1), gradient(run, 1), gradient(run, 2)
    assert first[0] == again[0] and torch.equal(first[2], again[2])
    assert first[0] != other[0]


def test_again_within_a_step_draws_the_mask_of_that_step(make_run):
    run, seen = make_run(model=DROPOUT), []

    class Curious:
        lr, full_batch = 0.1, False

        def update(self, parameters, state, lr, again):
            before = parameters.gradients.clone()
            seen.append((again().item(), torch.equal(parameters.gradients, before)))

    run.learners = (run.learners[0]._replace(optimizer=Curious()),)
    run.model.train()
    losses = []
    for _ in range(3):
        losses.append(take_step(run)["train/running_loss"])
        run.state.step += 1
    assert seen == [(loss, True) for loss in losses]
    assert len(set(losses)) == 3


def test_clipping_leaves_the_direction_and_bounds_the_norm(make_run):
    _, norm, free = gradient(make_run())
    _, reported, clipped = gradient(make_run(clip_norm=norm / 4))
    assert reported == norm
    torch.testing.assert_close(clipped, free / 4, rtol=1e-4, atol=1e-8)
    _, _, untouched = gradient(make_run(clip_norm=4 * norm))
    assert torch.equal(untouched, free)


def test_sam_descends_along_a_clipped_gradient_too(make_run):
    run = make_run(optimizer=("sam", {"lr": 1.0, "momentum": 0.0}), clip_norm=1e-3)
    before = run.learners[0].parameters.weights.clone()
    take_step(run)
    moved = torch.linalg.vector_norm(run.learners[0].parameters.weights - before).item()
    assert moved == pytest.approx(1e-3, rel=1e-2)


# Faults E1 to E3: each is refused in the step where it appears.


def planted(run, loss):
    """The run with another loss."""
    learner = run.learners[0]
    run.learners = (learner._replace(phase=learner.phase._replace(loss=loss)),)
    run.state.step = 6
    return run


def infinite_loss(model, batch, noise):
    return model(batch.inputs).sum() + math.inf


def infinite_slope(model, batch, noise):
    """Finite, with an infinite derivative: the root at zero."""
    return (model(batch.inputs) * 0).abs().sum().sqrt()


@pytest.mark.parametrize(("loss", "what"), [(infinite_loss, "loss"), (infinite_slope, "gradient")])
def test_a_loss_or_gradient_that_is_not_finite_moves_no_weight(make_run, loss, what):
    run = planted(make_run(optimizer="adam"), loss)
    before = run.learners[0].parameters.weights.clone()
    with pytest.raises(Diverged, match=f"the {what} of phase 'train' is not finite in step 7") as refusal:
        take_step(run)
    assert "optimizer.lr" in refusal.value.hint
    assert torch.equal(run.learners[0].parameters.weights, before)
    assert not run.learners[0].memory["average"].any()


def test_a_weight_that_overflows_in_the_update_is_refused_in_the_same_step(make_run):
    run = make_run(optimizer=("sgd", {"lr": 1e38}))
    run.learners[0].parameters.weights.mul_(1e3)
    with pytest.raises(Diverged, match="the weight of phase 'train' is not finite in step 1"):
        take_step(run)


# Precision


def test_tf32_is_allowed_in_both_passes_of_a_step_and_nowhere_else(make_run, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # as `device.choose` leaves it
    run, seen = make_run(), []
    run.training = run.training._replace(precision="tf32")
    layer = run.model.body[1]

    def look(*_):
        seen.append((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))

    layer.register_forward_hook(look)
    layer.weight.register_hook(look)
    take_step(run)
    assert seen == [(True, True)] * 2
    risks(run.model, run.task, run.data.test)
    assert set(seen[2:]) == {(False, False)}


def test_bfloat16_trains_in_half_precision_and_keeps_weights_and_risks_in_single(make_run):
    single, half = make_run(), make_run(precision="bf16")
    kinds = set()
    half.model.body[1].register_forward_hook(lambda module, inputs, output: kinds.add(output.dtype))
    losses = [take_step(run)["train/running_loss"] for run in (single, half)]
    assert kinds == {torch.bfloat16}
    assert losses[0] != losses[1] == pytest.approx(losses[0], rel=2e-2)
    assert half.learners[0].parameters.weights.dtype == torch.float32
    kinds.clear()
    half.model.load_state_dict(single.model.state_dict())
    found = [risks(run.model, run.task, run.data.test) for run in (single, half)]
    assert kinds == {torch.float32} and found[0] == found[1]
