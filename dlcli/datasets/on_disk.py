"""Inputs that stay on disk: an array whose rows are read when somebody needs their numbers, and when to use one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

SHARE = 0.25  # of the free memory, that the inputs of a data set may take; to prepare them takes a multiple for a while
Streaming = Literal["auto", True, False]


@dataclass(frozen=True)
class OnDisk:
    """Indexing selects rows and reads nothing; `numpy.asarray` reads.

    read: places in the source, (k,), in any order -> (k, *item). DataError, with the file and the row, for whatever
    cannot be read or is no finite number. It is called from several threads at once.
    """

    read: Callable[[np.ndarray], np.ndarray]
    places: np.ndarray  # (n,) int64
    item: tuple[int, ...]
    dtype: np.dtype

    def __len__(self) -> int:
        return len(self.places)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.item)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    def __getitem__(self, rows: slice | np.ndarray) -> OnDisk:
        return replace(self, places=self.places[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.read(self.places).astype(dtype or self.dtype, copy=False)


def streams(asked: bool | str, needed: int, most: int) -> bool:
    """Whether inputs of so many bytes stay on disk: `auto` where they take more than `most` or a quarter of the memory
    that is free now. Either way a run has the same numbers."""
    return needed > min(most, SHARE * free_memory()) if asked == "auto" else bool(asked)


def free_memory() -> int:
    """Bytes that this process can still take, of the machine and of its container."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):  # with the pages that only cache files
            free = int(line.split()[1]) << 10
    group = Path("/sys/fs/cgroup")
    limit, used = ([*lines(group / name), "max"][0] for name in ("memory.max", "memory.current"))
    return min(free, int(limit) - int(used)) if limit.isdigit() and used.isdigit() else free


def lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
