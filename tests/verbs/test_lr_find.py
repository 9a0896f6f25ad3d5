"""`dlcli lr-find` on a problem whose greatest stable learning rate is known."""

import json

import numpy as np
import pytest

from dlcli import build
from dlcli.config import load_checked

LINEAR = ("dataset=linear_regression", "model=linear", "optimizer=gd", "training.batch_size=full")


def test_the_loss_falls_up_to_two_over_the_greatest_curvature(dlcli, tmp_path):
    """Gradient descent on a quadratic: a rate below 2 / greatest eigenvalue lowers the loss, greater ones blow up."""
    found = json.loads(dlcli("lr-find", *LINEAR, "--low", "1e-3", "--high", "1e3", "--format", "json").out)
    data = build.read_data(load_checked(LINEAR)["dataset"])
    inputs = data.train.batch(slice(None)).inputs.double().flatten(1).numpy()
    inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], 1)
    stable = 2 / np.linalg.eigvalsh(2 * inputs.T @ inputs / len(inputs)).max()
    rates, losses = np.array(found["rates"]), np.array(found["losses"])
    below = losses[rates < 0.99 * stable]
    assert len(below) > 50 and np.all(np.diff(below) <= 1e-6 * below[:-1])
    assert found["diverged"] and rates[-1] > stable and losses[-1] > 4 * losses.min()
    assert (
        found["steepest"] < stable and found["steepest"] <= found["least"] and (tmp_path / found["picture"]).is_file()
    )


def test_the_table_ends_in_a_command(dlcli):
    answer = dlcli("lr-find", "dataset=iris", "model.width=8", "--steps", "30")
    assert answer.code == 0, answer.err
    assert "learning rate    mean loss\n1e-06 " in answer.out
    assert answer.out.splitlines()[-1].startswith("train    dlcli train dataset=iris model.width=8 optimizer.lr=")


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--low", "1", "--high", "0.1"], "make no range"), (["model=gan", "dataset=digits"], "against one another")],
)
def test_what_has_no_range_is_refused(dlcli, words, message):
    answer = dlcli("lr-find", *words)
    assert answer.code == 2 and message in answer.err
