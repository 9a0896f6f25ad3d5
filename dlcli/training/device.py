"""Where and how a run computes: device, number of threads, deterministic kernels."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Literal

import torch

from dlcli.errors import DeviceError, UsageError
from dlcli.training.cores import free_cores

FIRST_WITH_TF32 = (8, 0)  # compute capability
WORTH_A_WORD = 1.25  # times as long
SIDE, TRIES = 256, 5  # of the matrices that are multiplied to see how long it takes; the first try sets up
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names of malloc.h, in bytes


def choose(device: Literal["auto", "cpu", "cuda", "mps"], precision: Literal["fp32", "tf32", "bf16"]) -> torch.device:
    """The device, tried out. Raises UsageError if it is not there or lacks `precision`, DeviceError if it fails."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    name = next(kind for kind, there in present.items() if there) if device == "auto" else device
    if not present[name]:
        others = " or ".join(f"training.device={kind}" for kind, there in present.items() if there)
        raise UsageError(f"training.device={name}, but torch finds no such device here", f"use {others}, or auto")
    chosen = torch.device(name)
    try:
        torch.zeros(1, device=chosen).item()
    except RuntimeError as error:
        message = f"device '{name}' does not answer: {str(error).splitlines()[0]}"
        raise DeviceError(message[:200], "reset the device or use training.device=cpu") from error
    if precision == "bf16" and not _has_bfloat16(chosen):
        raise UsageError(
            f"training.precision=bf16 is not supported by this {name} device", "use training.precision=fp32"
        )
    if precision == "tf32" and (name != "cuda" or torch.cuda.get_device_capability() < FIRST_WITH_TF32):
        raise UsageError(
            f"training.precision=tf32 is not supported by this {name} device", "use training.precision=fp32"
        )
    torch.backends.cudnn.allow_tf32 = False  # fp32 is not TF32, which convolutions take by default: risks would show it
    return chosen


def _has_bfloat16(device: torch.device) -> bool:
    """A CPU without bf16 instructions still has it, by slower emulation with the same results."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        torch.ones(1, dtype=torch.bfloat16, device=device).add(1)
    except (RuntimeError, TypeError):
        return False
    return True


def doubts(device: torch.device, precision: Literal["fp32", "tf32", "bf16"]) -> list[str]:
    """What speaks against computing there in this way; the result is right all the same."""
    if device.type != "cpu" or precision != "bf16" or (times := times_of_bf16()) < WORTH_A_WORD:
        return []
    text = f"on this CPU an affine layer in bf16 takes {times:.2g} times as long as in fp32"
    return [f"{text}: training.precision=fp32 is faster"]


@cache
def times_of_bf16() -> float:
    """How many times as long an affine layer takes in bf16 as in fp32, on this CPU."""
    seconds = {}
    for kind in (torch.float32, torch.bfloat16):
        matrix, tries = torch.ones(SIDE, SIDE, dtype=kind), []
        for _ in range(TRIES):
            started = time.perf_counter()
            matrix @ matrix.mT  # as an affine layer does
            tries.append(time.perf_counter() - started)
        seconds[kind] = min(tries)
    return seconds[torch.bfloat16] / seconds[torch.float32]


@contextmanager
def tf32() -> Iterator[None]:
    """Products of float32 matrices of numbers cut to 10 bits, summed in float32; all else keeps 23 bits."""
    products = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [each.allow_tf32 for each in products]
    for each in products:
        each.allow_tf32 = True
    try:
        yield
    finally:
        for each, allowed in zip(products, before, strict=True):
            each.allow_tf32 = allowed


def threads(setting: int | Literal["auto"]) -> int:
    """Set and return the number of CPU threads.

    auto: the cores that are free now. Spinning threads beside a busy neighbour cost a small step many times its time;
    one thread too few costs it a third. Another number may sum in another order and change last bits, so record it
    and give it back at resume.
    """
    number = free_cores() if setting == "auto" else setting
    torch.set_num_threads(number)
    return number


def keep_memory() -> None:
    """Let the C library keep what a step frees for the next one, where that library is GNU's.

    By default it gives the top of its heap back to the system after every step, and gets it again page by page: a
    tenth of the time of a small transformer. Blocks above 32 MB, the most it lets one set, still come and go.
    """
    change = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if change is not None:
        change(M_TRIM_THRESHOLD, 2**30)
        change(M_MMAP_THRESHOLD, 2**25)


def deterministic(wanted: bool) -> None:
    """Let only deterministic kernels run; torch raises where an operation has none. Call before the device is used."""
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    # The same switch as `torch.use_deterministic_algorithms`, which also imports torch._dynamo: a second per run.
    torch.set_deterministic_debug_mode("error" if wanted else "default")
    torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid that costs a pass per new tensor
    torch.backends.cudnn.benchmark = not wanted
