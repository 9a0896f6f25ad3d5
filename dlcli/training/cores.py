"""Cores and GPUs that a process may use; apart from `device`, because whoever only starts others needs no torch."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def free_cores() -> int:
    """Cores that this process may use, less those that others have kept busy over the last minute; at least 1."""
    free = allowed_cores() - round(os.getloadavg()[0])
    wished = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(free, int(wished)) if wished.isdecimal() else free)


def allowed_cores() -> int:
    """By the affinity mask and the quota of the container."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    with suppress(OSError, ValueError):
        quota, period = CGROUP_QUOTA.read_text().split()  # "200000 100000", or "max 100000", a ValueError
        cores = min(cores, int(quota) // int(period))
    return max(1, cores)


def visible_gpus() -> list[str]:
    """The names of this machine's GPUs for CUDA_VISIBLE_DEVICES, asked without torch and without touching one."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name not in ("", "-1")]
    return [str(number) for number, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]
