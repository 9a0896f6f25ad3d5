"""Averaged weights through the command line: they are what is evaluated, saved and loaded, and the others go on."""

import json
import signal

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn import functional as F

from dlcli import config as configs
from dlcli.build import build
from dlcli.training import loop

EVERYTHING = (
    "dataset=digits",
    "dataset.train_fraction=0.5",
    "model=cnn",
    "model.width=6",
    "model.depth=2",
    "model.first_kernel=3",
    "model.dropout=0.3",
    "normalization=batch",
    "augmentation=standard",
    "augmentation.crop=1",
    "task.label_smoothing=0.1",
    "optimizer.lr=0.02",
    "training.average=0.9",
    "training.epochs=3",
    "checkpoint.every=1",
)


@pytest.fixture
def run_dir(dlcli):
    answer = dlcli("train", *EVERYTHING)
    assert answer.code == 0, answer.err
    return answer.run_dir


def saved(run_dir, stem):
    newest = max((run_dir / "checkpoints").iterdir())
    return safetensors.torch.load_file(newest / f"{stem}.safetensors")


def independent_risks(weights, inputs, targets):
    """Cross-entropy and 0-1 error of the saved tensors, by convolutions and the formula of normalization alone."""
    maps = inputs.double()
    weights = {name: tensor.double() for name, tensor in weights.items()}
    for first in (0, 4):  # convolution, normalization, activation, dropout
        maps = F.conv2d(maps, weights[f"body.{first}.weight"], stride=2, padding=1)
        mean, variance, scale, shift = (
            weights[f"body.{first + 1}.{name}"].view(1, -1, 1, 1)
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        maps = ((maps - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp_min(0)
    scores = maps.flatten(1) @ weights["head.weight"].T + weights["head.bias"]
    losses = scores.logsumexp(1) - scores[torch.arange(len(targets)), targets]
    return losses.mean().item(), (scores.argmax(1) != targets).double().mean().item()


def test_normalization_dropout_augmentation_smoothing_and_average_at_once(run_dir, summary_of):
    """Traps 1 to 5, 15 and 24 at once: the risks are those of the saved weights, by an evaluation of thirty lines."""
    data, weights = build(configs.load_saved(run_dir / "config.yaml")).data, saved(run_dir, "model")
    summary = summary_of(run_dir)
    assert summary["run"]["weights"]["kind"] == "average"
    for name, split in data.splits().items():
        loss, error = independent_risks(weights, *split.batch(slice(None)))
        risks = summary["risks"][name]
        assert risks["loss"]["n"] == len(split)
        assert risks["loss"]["value"] == pytest.approx(loss, abs=1e-6)
        assert risks["error"]["value"] == pytest.approx(error, abs=1e-9)
        assert np.load(run_dir / "losses" / f"{name}_loss.npy").mean() == pytest.approx(loss, abs=1e-6)
    assert summary["decomposition"]["loss"]["train"]["value"] == summary["risks"]["train"]["loss"]["value"]
    moving = saved(run_dir, "optimizer")["train/weights"]  # they are kept beside, and are others
    assert not torch.isclose(moving[:54], weights["body.0.weight"].flatten()).all()


def test_the_moving_weights_and_averages_taken_anew_are_members_too(run_dir, summary_of):
    run, state = build(configs.load_saved(run_dir / "config.yaml")), saved(run_dir, "model")
    (learner,) = run.learners
    state |= learner.views(saved(run_dir, "optimizer")["train/weights"])
    loss, _ = independent_risks(state, *run.data.train.batch(slice(None)))
    tried = summary_of(run_dir)["decomposition"]["loss"]["approx_train"]["bounds_tried"]
    found = {bound["method"]: bound["value"] for bound in tried}
    assert found["the moving weights beside the average"] == pytest.approx(loss, abs=1e-6)
    assert "running averages of batch normalization taken anew" in found


def test_every_command_that_looks_at_a_run_sees_the_average(run_dir, dlcli, summary_of):
    before = summary_of(run_dir)["risks"]
    assert dlcli("eval", str(run_dir)).code == 0
    again = dlcli("decompose", str(run_dir), "budget=none")
    assert again.code == 0 and summary_of(run_dir)["risks"]["test"]["loss"]["value"] == before["test"]["loss"]["value"]


def test_a_stopped_run_goes_on_to_the_bit(run_dir, dlcli, monkeypatch):
    original = loop.take_step

    def take_step(run):
        if run.state.step == 7:
            monkeypatch.setattr(loop, "take_step", original)
            signal.raise_signal(signal.SIGTERM)
        return original(run)

    monkeypatch.setattr(loop, "take_step", take_step)
    stopped = dlcli("train", *EVERYTHING)
    assert stopped.code == 143 and dlcli("resume", str(stopped.run_dir)).code == 0
    for stem in ("model", "optimizer"):
        found, expected = saved(stopped.run_dir, stem), saved(run_dir, stem)
        assert found.keys() == expected.keys()
        assert not [name for name in found if not torch.equal(found[name], expected[name])]
    rows = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (stopped.run_dir, run_dir)]
    assert [json.loads(row) for row in rows[0]] == [json.loads(row) for row in rows[1]]
