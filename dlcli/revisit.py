"""Saved runs looked at again: a checkpoint is evaluated or decomposed anew, and a configuration is tried out."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlcli.build import build
from dlcli.conclude import conclude
from dlcli.errors import CheckpointError, UsageError
from dlcli.evaluation import evaluate_splits, refuse_nonfinite, risk_estimates
from dlcli.session import accounted, prepare, refuse_other_run, refuse_stop
from dlcli.training import checkpoint, device
from dlcli.training.directory import RunDirectory, read_environment
from dlcli.training.faults import machine_faults
from dlcli.training.run import Run
from dlcli.training.signals import Stop
from dlcli.training.step import take_step
from dlcli.training.tracker import Tracker

Config = dict[str, Any]
TRIED_STEPS = 20


def evaluate(run_dir: Path, config: Config, kind: str) -> tuple[int, dict[str, Any]]:
    """Step and risks of the checkpoint "last" or "best"."""
    with machine_faults(), Stop() as stop:
        run = prepare(config, stop)
        step = load(run, config, run_dir, kind)
        evaluated = evaluate_splits(run)
        refuse_nonfinite(evaluated)
        return step, risk_estimates(run, evaluated)


def decompose_again(directory: RunDirectory, config: Config, stop: Stop, say: Callable[[str], None]) -> dict[str, Any]:
    """Conclude a run that was trained to its end once more, under the budget of `config`."""
    with machine_faults():
        run = prepare(config, stop, read_environment(directory.path).get("threads"))
        step = load(run, config, directory.path, "last")
        if step < run.steps:
            hint = f"finish it: dlcli resume {directory.path}"
            raise UsageError(
                f"{directory.path} stands at step {step} of {run.steps}: there is no final model yet", hint
            )
        with accounted(directory, run), Tracker(directory.path, step) as tracker:
            summary = conclude(run, config, directory, tracker, lambda: stop.requested is not None)
            refuse_stop(stop, directory.path)
        return summary


def load(run: Run, config: Config, run_dir: Path, kind: str) -> int:
    """Put a checkpoint of `run_dir` into `run`, leaving all files as they are."""
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
    return loaded.step


def try_out(config: Config) -> list[str]:
    """Build a configuration and take a few steps with it; nothing is written."""
    with machine_faults():
        threads = device.threads(config["training"]["threads"])
        run = build(config)
        run.model.train()
        take_step(run)
        started = time.perf_counter()
        for _ in range(TRIED_STEPS):
            run.state.step += 1
            take_step(run)
        step_seconds = (time.perf_counter() - started) / TRIED_STEPS
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # kB on Linux
    splits = ", ".join(f"{len(split)} {name}" for name, split in run.data.splits().items())
    return [
        f"data        {run.data.spec.name}: {splits}; inputs {'x'.join(map(str, run.data.spec.shape))}",
        f"model       {parameters:,} parameters",
        f"batches     {run.batches.batch_size} examples, {run.batches.epoch_steps} steps an epoch, {run.steps} in all",
        f"memory      {memory:,.0f} MB at most so far",
        f"time        {1e3 * step_seconds:.2f} ms a step, {step_seconds * run.batches.epoch_steps:.2f} s an epoch "
        f"({run.device}, {threads} threads)",
    ]
