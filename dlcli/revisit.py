"""Saved runs looked at again: a checkpoint is evaluated or decomposed anew, and a configuration is tried out."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlcli.build import build
from dlcli.conclusion.conclude import conclude
from dlcli.conclusion.effort import worth_a_bootstrap
from dlcli.conclusion.evaluation import evaluate_splits, refuse_nonfinite, risk_estimates
from dlcli.errors import UsageError
from dlcli.session import accounted, prepare, refuse_stop
from dlcli.tasks.language import generate
from dlcli.trained import load, restored
from dlcli.training import device
from dlcli.training.directory import RunDirectory, read_environment
from dlcli.training.evaluate import Cut, chunk_of
from dlcli.training.faults import machine_faults
from dlcli.training.randomness import FixedNoise
from dlcli.training.run import Run
from dlcli.training.signals import Stop
from dlcli.training.step import take_step
from dlcli.training.tracker import Tracker

Config = dict[str, Any]
TRIED_STEPS = 20


class Asked(NamedTuple):
    """What `dlcli sample` is asked for; what is None falls to the kind of the run."""

    count: int | None  # examples or texts
    seed: int
    prompt: str | None
    length: int | None  # tokens to add
    temperature: float | None
    top_k: int | None


def evaluate(run_dir: Path, config: Config, kind: str) -> tuple[int, dict[str, Any]]:
    """Step and risks of the checkpoint "last" or "best"."""
    with machine_faults(), Stop() as stop:
        run = restored(run_dir, config, kind, stop)
        evaluated = evaluate_splits(run)
        refuse_nonfinite(evaluated)
        bootstrap = worth_a_bootstrap(run, config["decompose"]["budget"])  # the intervals of the report
        return run.state.step, risk_estimates(run, evaluated, bootstrap=bootstrap)


def sample(run_dir: Path, config: Config, kind: str, asked: Asked) -> tuple[np.ndarray, list[str]]:
    """New examples of the checkpoint "last" or "best", (count, *shape) in the numbers of the data set; of a language
    model the tokens (count, length), and the texts. Example i depends on the seed and on i alone, not on the count.

    Raises UsageError for a run that has nothing to draw, and for a prompt to a run that is no language model.
    """
    with machine_faults(), Stop() as stop, torch.no_grad():
        run = restored(run_dir, config, kind, stop)
        if run.task.spec.causal:
            tokens = continued(run, asked).cpu().numpy()
            return tokens, [run.task.spec.vocabulary.decode(text) for text in tokens.tolist()]
        if any(word is not None for word in (asked.prompt, asked.length, asked.temperature, asked.top_k)):
            raise UsageError(
                f"{run_dir} is no language model: it cannot go on from a prompt", "give --count and --seed"
            )
        drawn, count, chunk = [], asked.count or 64, chunk_of(run.task.spec, run.device)
        for start in range(0, count, chunk):
            size = min(chunk, count - start)
            noise = FixedNoise(start, size, run.device, asked.seed)
            drawn.append(run.task.sample(run.model, size, noise).cpu().numpy())
        return np.concatenate(drawn), []


def continued(run: Run, asked: Asked) -> Tensor:
    """(count, tokens of the prompt and after it)"""
    spec, count = run.task.spec, asked.count or 1
    draws = FixedNoise(0, count, run.device, asked.seed).uniform(1 + (asked.length or spec.shape[0]))
    if asked.prompt:
        prompt = torch.from_numpy(np.asarray(spec.vocabulary.encode(asked.prompt), np.int64)).to(run.device)
        prompts = prompt.repeat(count, 1)
    else:
        prompts = (draws[:, :1] * spec.outputs).long()  # any first token
    temperature = 1.0 if asked.temperature is None else asked.temperature
    return generate(run.model, prompts, draws[:, 1:], spec.shape[0], temperature, asked.top_k)


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
            with suppress(Cut):
                summary = conclude(run, config, directory, tracker, stop.asked_to_end, say)
            refuse_stop(stop, directory.path)
        return summary


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
