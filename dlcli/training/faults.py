"""What the machine does to a run, memory exhausted or a device lost, told as faults that a user can act on."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dlcli.errors import DeviceError, MemoryShortage, StorageError, UsageError
from dlcli.training.durable import MORE_FILES, TOO_MANY
from dlcli.training.ranks import here, parted

ALLOCATION = ("can't allocate memory", "not enough memory", "out of memory", "std::bad_alloc")
ASKED = re.compile(r"tried to allocate ([0-9.]+) (bytes|[KMG]iB)", re.IGNORECASE)
RANKS = ("ProcessGroup", "gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
LOST = ("CUDA error", "device-side assert", "NCCL error", "MPS backend")
EXHAUSTED = TOO_MANY | {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EAGAIN}
NO_THREAD = "can't start new thread"
LESS_MEMORY = "use a smaller training.batch_size or model.width, or a larger training.accumulate"


@contextmanager
def machine_faults() -> Iterator[None]:
    """Raises MemoryShortage, DeviceError, StorageError or UsageError in place of what torch and the system raise."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _shortage(error) from error
    except RuntimeError as error:
        text = str(error)
        if any(sign in text for sign in ALLOCATION):
            raise _shortage(error) from error
        if "deterministic" in text and "implementation" in text:
            raise UsageError(
                _first_line(error)[:200], "allow other kernels with training.deterministic=false"
            ) from error
        if NO_THREAD in text:
            raise _refused(error) from error
        if here().size > 1 and any(sign in text for sign in RANKS):
            raise parted(error) from error
        if any(sign in text for sign in LOST):
            message = f"the device failed: {_first_line(error)}"[:200]
            raise DeviceError(message, "continue with `dlcli resume RUN_DIR` once the device answers again") from error
        raise
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise _shortage(error) from error
        if error.errno in EXHAUSTED:
            raise _refused(error) from error
        raise


def _refused(error: BaseException) -> StorageError:
    files = isinstance(error, OSError) and error.errno in TOO_MANY
    todo = MORE_FILES if files else "check disk, quota and limits (ulimit -a)"
    message = f"the system refused: {_first_line(error)}"[:200]
    return StorageError(message, f"{todo}; then continue with: dlcli resume RUN_DIR")


def _shortage(error: BaseException) -> MemoryShortage:
    asked = ASKED.search(str(error))
    size = f"{int(asked[1]) / 1e6:,.1f} MB" if asked and asked[2] == "bytes" else asked and f"{asked[1]} {asked[2]}"
    return MemoryShortage(f"out of memory: {f'no room for {size}' if size else _first_line(error)}"[:200], LESS_MEMORY)


def _first_line(error: BaseException) -> str:
    return next(filter(None, str(error).splitlines()), type(error).__name__)
