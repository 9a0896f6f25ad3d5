"""Where the time of a training step goes, and how much of the machine's arithmetic it uses."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from dlcli.build import build
from dlcli.training import device
from dlcli.training.faults import machine_faults
from dlcli.training.run import Run
from dlcli.training.step import take_step

WARM_UP = 5  # steps before anything is measured
SIZES = (256, 512, 1024, 2048)  # of the square matrices whose product shows the peak
PEAK_SECONDS = 0.3  # for each size


class Operation(NamedTuple):
    name: str
    calls: float  # a step
    seconds: float  # a step, without what it calls
    share: float  # of all operations


class Profile(NamedTuple):
    device: str
    threads: int
    parameters: int
    step_seconds: float  # measured without the profiler
    flops: int  # floating-point operations of the products and convolutions of a step
    peak: float  # floating-point operations a second of the best matrix product, in the precision of the training
    operations: list[Operation]  # dearest first
    trace: bytes  # JSON for chrome://tracing, Perfetto or TensorBoard


def profile_steps(config: dict[str, Any], steps: int) -> Profile:
    """Build a configuration and train it for a few steps; nothing is written."""
    with machine_faults():
        threads = device.threads(config["training"]["threads"])
        run = build(config)
        run.model.train()
        advance(run, WARM_UP)
        started = time.perf_counter()
        advance(run, steps)
        step_seconds = (time.perf_counter() - started) / steps
        with FlopCounterMode(display=False) as counter:
            advance(run, 1)
        on_device = [ProfilerActivity.CUDA] if run.device.type == "cuda" else []
        with profile(activities=[ProfilerActivity.CPU, *on_device], acc_events=True) as recorded:
            advance(run, steps)
        return Profile(
            str(run.device),
            threads,
            sum(parameter.numel() for parameter in run.model.parameters()),
            step_seconds,
            counter.get_total_flops(),
            measured_peak(run),
            operations(recorded, steps, bool(on_device)),
            trace_of(recorded),
        )


def advance(run: Run, steps: int) -> None:
    for _ in range(steps):
        measured = take_step(run)
        run.state.step += 1
    for value in measured.values():
        float(value)  # waits for an accelerator


def operations(recorded: Any, steps: int, on_device: bool) -> list[Operation]:
    """By time spent in the operation itself, on the device where there is one beside the CPU."""
    found = [
        (each.key, each.count, each.self_device_time_total if on_device else each.self_cpu_time_total)
        for each in recorded.key_averages()
    ]
    total = sum(microseconds for _, _, microseconds in found) or 1.0
    ranked = sorted(found, key=lambda each: -each[2])
    return [Operation(name, calls / steps, us / steps / 1e6, us / total) for name, calls, us in ranked if us > 0]


def trace_of(recorded: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(path))
        return json.dumps(json.loads(path.read_bytes())).encode()


def measured_peak(run: Run) -> float:
    """Operations a second of the fastest square matrix product of a few sizes, on the run's device and threads."""
    kind = torch.bfloat16 if run.training.precision == "bf16" else torch.float32
    best = 0.0
    for size in SIZES:
        matrix = torch.ones(size, size, device=run.device, dtype=kind)
        float((matrix @ matrix)[0, 0])
        count, started = 0, time.perf_counter()
        while (spent := time.perf_counter() - started) < PEAK_SECONDS:
            with run.products():
                product = matrix @ matrix
            float(product[0, 0])
            count += 1
        best = max(best, 2 * size**3 * count / spent)
    return best
