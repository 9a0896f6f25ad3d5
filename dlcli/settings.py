"""Settings that belong to dlcli itself rather than to a registered component, with their types."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from dlcli.schema import Count, Positive, Range, Seed, Share


class Training(NamedTuple):
    epochs: Count | None
    steps: Count | None
    batch_size: Count | Literal["auto", "full"]
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["fp32", "tf32", "bf16"]
    compile: bool | Literal["auto"]
    deterministic: bool
    clip_norm: Positive | None
    accumulate: Count
    average: Annotated[float, Range(0, 1, open_low=True, open_high=True)] | None
    on_nonfinite: Literal["stop", "skip", "rollback"]
    greatest_loss: Positive | None
    evaluate_every: Count | Literal["auto"]
    log_every: Count
    diagnostics: bool
    landscape: Literal["none", "line", "plane"]
    threads: Count | Literal["auto"]
    devices: Count
    sharded: bool
    rank_timeout: Positive


class Checkpoint(NamedTuple):
    every: Positive | Literal["auto"]
    unit: Literal["steps", "epochs", "minutes"]
    keep: Annotated[int, Range(2)]


class Decompose(NamedTuple):
    budget: Literal["none", "quick", "standard", "exhaustive"]


class Tracking(NamedTuple):
    mlflow: str | None
    wandb: Literal["offline", "online"] | None
    project: str


class Preparation(NamedTuple):
    """What is done to every data set after its source was read; part of the section `dataset`."""

    train_fraction: Share
    label_noise: Annotated[float, Range(0, 1)]
    binarize: bool
    standardize: Literal["none", "all", "feature"]
    standardize_targets: bool
    validation_fraction: Annotated[float, Range(0, 1, open_high=True)]
    test_fraction: Annotated[float, Range(0, 1, open_low=True, open_high=True)]
    seed: Seed


class Top(NamedTuple):
    seed: Seed
    name: str | None
    tags: list[str]
    output_root: str
    run_dir: str | None
    pictures: Literal["auto", "always", "never"]


SECTIONS = {"training": Training, "checkpoint": Checkpoint, "decompose": Decompose, "tracking": Tracking}
