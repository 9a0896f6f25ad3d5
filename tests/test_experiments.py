"""Every shipped experiment says what it is, composes, and takes two steps."""

import os
from pathlib import Path

import pytest

CONF = Path(__file__).parents[1] / "conf" / "experiment"
EXPERIMENTS = sorted(path.stem for path in CONF.glob("*.yaml"))
HEADER = ("# What: ", "# Run: ", "# Cost: ", "# Expect: ", "# Source: ")
DATA = os.environ.get("DLCLI_DATA")
LONG = {"fashion_mnist_gan"}  # whose judge is trained first


def test_there_are_experiments():
    assert "mnist1d_mlp" in EXPERIMENTS


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_opens_with_what_to_expect(name):
    lines = [line for line in (CONF / f"{name}.yaml").read_text().splitlines() if line.startswith("# ")]
    lines = [line for line in lines if not line.startswith("# @package")]
    assert [line[: line.index(":") + 2] for line in lines[:5]] == list(HEADER)
    assert f"experiment={name}" in lines[1]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in EXPERIMENTS]
)
def test_an_experiment_takes_two_steps(dlcli, summary_of, name):
    overrides = ["training.steps=2", "training.epochs=null", "decompose.budget=none", f"experiment={name}"]
    if name.startswith("fashion"):
        if DATA is None:
            pytest.skip("DLCLI_DATA names no folder with fashion-mnist")
        overrides += [f"dataset.root={DATA}/fashion-mnist", "dataset.train_fraction=0.02"]
    if name.startswith("cifar10"):
        if DATA is None:
            pytest.skip("DLCLI_DATA names no folder with images")
        overrides += ["dataset=fashion_mnist", f"dataset.root={DATA}/fashion-mnist", "dataset.train_fraction=0.005"]
        overrides += ["training.batch_size=60", "model.width=8", "dataset.test_fraction=0.01"]
    if name.startswith("shakespeare"):
        if DATA is None:
            pytest.skip("DLCLI_DATA names no folder with text/tinyshakespeare.txt")
        overrides += [f"dataset.path={DATA}/text/tinyshakespeare.txt", "dataset.train_fraction=0.02"]
        overrides += ["dataset.test_fraction=0.02"]
    if name.startswith("adding"):
        overrides += ["dataset.examples=500", "dataset.test_examples=100"]
    answer = dlcli("train", *overrides)
    assert answer.code == 0, answer.err
    assert summary_of(answer.run_dir)["run"]["step"] == 2
