"""The tiny runs that meet faults, of every kind of training there is."""

from __future__ import annotations

import shutil

from tests.faults.left_behind import acknowledged, differences, newest_good, outcome, strays

COMMON = ["decompose.budget=none", "training.log_every=3", "checkpoint.unit=steps", "checkpoint.every=4"]
KINDS = {
    "batch norm and dropout": ["dataset=digits", "model=mlp", "model.width=16", "model.dropout=0.2",
                               "normalization=batch", "training.epochs=4"],
    "language": ["dataset=copy_memory", "model=rnn", "training.steps=12",
                 "dataset.examples=400", "dataset.test_examples=50", "dataset.delay=5"],
    "vae": ["dataset=digits", "model=vae", "training.epochs=3"],
    "gan": ["dataset=gaussian_ring", "dataset.examples=600", "dataset.test_examples=200",
            "model=gan", "model.width=16", "training.steps=24"],
    "full batch": ["dataset=iris", "model=mlp", "model.width=8", "optimizer=lbfgs", "training.steps=20"],
    "augmentation and sharpness": ["dataset=digits", "model=cnn", "augmentation=standard", "optimizer=sam",
                                   "training.epochs=2"],
    "running average": ["dataset=digits", "model=mlp", "model.width=16", "training.average=0.9", "optimizer=muon",
                        "training.precision=bf16", "training.epochs=2"],
    "plateau of a regression": ["dataset=diabetes", "model=mlp", "schedule=plateau", "optimizer=momentum",
                                "training.epochs=6"],
}  # fmt: skip


def check_resumed(warm, copy, expected, promised=None):
    """Resume what a kill left; returns the step it went on from.

    promised: the step that must not be lost, if it is not the newest acknowledged one.
    """
    promised, found = acknowledged(copy) if promised is None else promised, newest_good(copy)
    assert found >= promised, f"step {promised} was acknowledged, {found} is what is left"
    if not (copy / "config.yaml").exists():  # killed before the run had begun: there is nothing to go on with
        assert promised == -1
        shutil.rmtree(copy)
        return -1
    ended = warm.run("resume", copy)
    assert ended.code == 0, ended
    if found >= 0 and "already complete" not in ended.out:
        assert f"resuming from step {found}" in ended.out
    found_differences = differences(outcome(copy), expected)
    assert not found_differences, f"{copy}: {found_differences}"
    assert not strays(copy), strays(copy)
    shutil.rmtree(copy)
    return found
