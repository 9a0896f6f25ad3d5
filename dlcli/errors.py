"""The faults a user can cause, each with its exit code; a traceback is for our own bugs only.

DlcliError
├── UsageError        2    command line or configuration
├── DataError         3    a data set is missing, damaged or does not fit
├── CheckpointError   4    no usable checkpoint, a foreign one, or one of another run
├── Diverged          5    non-finite loss, gradient or weights
├── StorageError      6    disk full, read-only, I/O error, too many files
├── MemoryShortage    7    out of memory on host or device
├── DeviceError       8    a device is lost or not there
├── BusyError         9    another process holds the run directory
├── DistributedError  10   a rank died or stalled
├── SweepFailed       11   the sweep ended, some of its jobs failed
├── Pruned            0    a search has ended a run that did worse than others; the sweep goes on
└── Interrupted       130, 143 or 129   a signal asked to stop; a checkpoint was saved
"""

from __future__ import annotations


class DlcliError(Exception):
    """A fault to show as one `error:` line and one `hint:` line (see `dlcli.cli`)."""

    exit_code = 1

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(DlcliError):
    exit_code = 2


class DataError(DlcliError):
    exit_code = 3


class CheckpointError(DlcliError):
    exit_code = 4


class Diverged(DlcliError):
    exit_code = 5


class StorageError(DlcliError):
    exit_code = 6


class MemoryShortage(DlcliError):
    exit_code = 7


class DeviceError(DlcliError):
    exit_code = 8


class BusyError(DlcliError):
    exit_code = 9


class DistributedError(DlcliError):
    exit_code = 10


class SweepFailed(DlcliError):
    exit_code = 11


class Pruned(DlcliError):
    exit_code = 0


class Interrupted(DlcliError):
    def __init__(self, message: str, hint: str, signal_number: int):
        super().__init__(message, hint)
        self.exit_code = 128 + signal_number
