"""The model of a run, with the weights of a verified checkpoint in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from dlcli.errors import CheckpointError, UsageError
from dlcli.protocols import DataSpec
from dlcli.session import prepare, refuse_other_run
from dlcli.training import checkpoint
from dlcli.training.directory import read_environment
from dlcli.training.faults import machine_faults
from dlcli.training.run import Run
from dlcli.training.signals import Stop

Config = dict[str, Any]


class Trained(NamedTuple):
    """A model with the weights of a checkpoint, in evaluation mode, and the form of its inputs and outputs."""

    model: nn.Module  # reads inputs as `spec.from_source(numbers)` gives them, (batch, *spec.shape)
    spec: DataSpec
    step: int


def load(run: Run, config: Config, run_dir: Path, kind: str) -> int:
    """Put a checkpoint of `run_dir` into `run`, to be looked at and not to go on; all files stay as they are."""
    folder, noted = run_dir / "checkpoints", read_environment(run_dir)
    expected = checkpoint.expect(run.tensors())
    found: list[checkpoint.Loaded] = []
    for path in checkpoint.checkpoints(folder):
        try:
            found.append(checkpoint.load(path, expected, noted.get("run_id")))
        except checkpoint.Damaged:
            continue
        break
    if not found:
        raise CheckpointError(f"no usable checkpoint in {folder}", f"`dlcli verify {run_dir}` tells what is there")
    loaded = found[0]
    best = loaded.state["best"]
    if kind == "best":
        if best is None:
            raise UsageError("no best checkpoint: this run had no validation split", "use checkpoint=last")
        loaded = checkpoint.load(checkpoint.path_of(folder, best[0]), expected, noted.get("run_id"))
    refuse_other_run(loaded, run, config)
    run.restore(loaded.tensors, loaded.state)
    run.exchange()
    return loaded.step


def restored(run_dir: Path, config: Config, kind: str, stop: Stop) -> Run:
    """The run with the checkpoint "last" or "best" in it, on the data that it was trained on."""
    run = prepare(config, stop)
    load(run, config, run_dir, kind)
    run.model.eval()
    return run


def trained(run_dir: Path, config: Config, kind: str) -> Trained:
    with machine_faults(), Stop() as stop:
        run = restored(run_dir, config, kind, stop)
        return Trained(run.model, run.task.spec, run.state.step)
