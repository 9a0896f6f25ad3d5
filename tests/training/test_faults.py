"""What the machine does to a run, told as faults that a user can act on."""

import errno
import os

import pytest

from dlcli.errors import StorageError
from dlcli.training.faults import machine_faults


@pytest.mark.parametrize(
    ("number", "todo"),
    [
        (errno.EMFILE, "raise the limit of open files: ulimit -n 1024; then"),
        (errno.ENFILE, "raise the limit of open files: ulimit -n 1024; then"),
        (errno.EIO, "check disk, quota and limits (ulimit -a); then"),
    ],
)
def test_what_the_system_refuses_says_what_to_do(number, todo):
    with pytest.raises(StorageError, match=r"the system refused: .*somewhere") as caught, machine_faults():
        raise OSError(number, os.strerror(number), "somewhere")
    assert caught.value.hint == f"{todo} continue with: dlcli resume RUN_DIR"
