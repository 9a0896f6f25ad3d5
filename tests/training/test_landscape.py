"""Slices of the loss against a closed form, and a run that does not notice them."""

import json

import numpy as np
import pytest
import torch

from dlcli import build
from dlcli.config import load_checked
from dlcli.training.events import event_files
from dlcli.training.landscape import cut, direction


@pytest.mark.parametrize("shape, count", [("line", 1), ("plane", 2)])
def test_the_slice_of_least_squares_is_its_quadratic(shape, count):
    run = build.build(load_checked(["dataset=linear_regression", "model=linear"]))
    (learner,), batch = run.learners, run.data.train.batch(slice(1000))
    generator = torch.Generator().manual_seed(0)
    directions = [direction(learner, generator) for _ in range(count)]
    (name,) = [name for name, view in learner.parameters.views(directions[0]).items() if view.dim() == 2]
    moves = np.stack([learner.parameters.views(each)[name].double().numpy()[0] for each in directions])
    length = learner.parameters.views(learner.parameters.weights)[name].double().norm().item()
    assert np.linalg.norm(moves, axis=1) == pytest.approx([length] * count, rel=1e-5)

    inputs = batch.inputs.flatten(1).double().numpy()
    residuals = (run.model(batch.inputs) - batch.targets).detach().double().numpy().ravel()
    found = cut(run, learner, batch, shape)
    ahead = inputs @ moves.T  # (examples, directions)
    grid = np.stack(np.meshgrid(*[found.steps] * count, indexing="ij"), -1).reshape(-1, count)
    expected = np.mean((residuals[:, None] + ahead @ grid.T) ** 2, axis=0)
    assert found.losses.ravel() == pytest.approx(expected, rel=1e-4)
    assert found.rise == pytest.approx(np.mean(ahead[:, 0] ** 2), rel=1e-3)


def test_every_filter_moves_by_its_own_length_and_the_model_is_put_back_to_the_bit():
    run = build.build(load_checked(["dataset=digits", "model=cnn", "normalization=batch", "training.batch_size=32"]))
    (learner,) = run.learners
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    drawn = learner.parameters.views(direction(learner, torch.Generator().manual_seed(1)))
    for name, own in learner.parameters.views(learner.parameters.weights).items():
        length = own.flatten(1).norm(dim=1) if own.dim() > 1 else torch.zeros(1)
        assert torch.allclose(drawn[name].reshape(len(length), -1).norm(dim=1), length, rtol=1e-4)
    run.model.train()
    found = cut(run, learner, run.data.train.batch(slice(64)), "line")
    assert run.model.training and np.ptp(found.losses) > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.model.state_dict().items())


def test_a_run_shows_a_picture_and_keeps_the_numbers(dlcli):
    ran = dlcli("train", "dataset=iris", "training.epochs=1", "decompose.budget=none", "training.landscape=plane")
    assert ran.code == 0, ran.err
    kept = json.loads((ran.run_dir / "landscape.json").read_text())["train"]
    assert np.shape(kept["losses"]) == (len(kept["steps"]),) * 2
    events = b"".join(path.read_bytes() for path in event_files(ran.run_dir / "tensorboard"))
    assert b"landscape/train" in events and b"diagnostics/train/landscape_rise" in events
