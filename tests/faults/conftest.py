"""The installed command, cold as a user starts it or warm in a fork, and what a fault must leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.runs import COMMON, KINDS

WARM = Path(__file__).with_name("warm.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}


class Ended(NamedTuple):
    code: int  # minus the signal, if one killed it
    out: str
    err: str
    peak: int = 0  # kilobytes of memory, of a fork


class Process:
    """A command in a fork of the warm process."""

    def __init__(self, warm: Warm, pid: int, room: Path):
        self.warm, self.pid, self.room, self.ended = warm, pid, room, False

    def send(self, number: int) -> None:
        """Until it has been taken: two of a kind count once for a process that had no turn between them."""
        os.kill(self.pid, number)
        status, until = Path(f"/proc/{self.pid}/status"), time.monotonic() + 2
        while number != signal.SIGKILL and time.monotonic() < until:
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
            pending = int(fields.get("SigPnd", "0"), 16) | int(fields.get("ShdPnd", "0"), 16)
            if not pending >> number - 1 & 1 and fields["State"][0] != "R":
                return
            time.sleep(0.002)

    def wait(self, seconds: float = 120) -> Ended:
        answer = self.warm.ask({"wait": self.pid, "seconds": seconds})
        if answer is None:
            os.kill(self.pid, signal.SIGKILL)
            self.warm.ask({"wait": self.pid, "seconds": 10})
            raise TimeoutError(f"still running after {seconds} s: {self.out}")
        self.ended = True
        return Ended(answer["code"], self.out, self.err, answer["peak"])

    @property
    def out(self) -> str:
        return (self.room / "out").read_text(errors="replace") if (self.room / "out").exists() else ""

    @property
    def err(self) -> str:
        return (self.room / "err").read_text(errors="replace") if (self.room / "err").exists() else ""

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Until it has printed `text`."""
        until = time.monotonic() + seconds
        while text not in self.out + self.err:
            assert time.monotonic() < until, f"never said {text!r}: {self.out}"
            time.sleep(0.002)


class Warm:
    def __init__(self, room: Path, under: Sequence[str] = ()):
        """under: a command that runs the warm process."""
        self.room, self.count = room, 0
        self.process = subprocess.Popen(
            [*under, sys.executable, str(WARM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        self.process.stdout.readline()

    def ask(self, request):
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def start(
        self,
        *words,
        cwd=None,
        env=None,
        fault=None,
        function=None,
        file_size=None,
        memory=None,
        open_files=None,
        cores=None,
        umask=None,
        bound_by_modes=False,
        no_sync=False,
        slow_sync=None,
        no_threads=False,
        clock=None,
        no_pictures=True,
        out=None,
    ) -> Process:
        self.count += 1
        room = self.room / str(self.count)
        room.mkdir()
        request = {
            "words": list(map(str, words)),
            "cwd": str(cwd or room),
            "env": env or {},
            "out": out or str(room / "out"),
            "err": str(room / "err"),
            "fault": fault,
            "function": function,
            "file_size": file_size,
            "memory": memory,
            "open_files": open_files,
            "cores": cores,
            "umask": umask,
            "bound_by_modes": bound_by_modes,
            "no_sync": no_sync,
            "slow_sync": slow_sync,
            "no_threads": no_threads,
            "clock": clock,
            "no_pictures": no_pictures,
        }
        return Process(self, self.ask(request)["pid"], room)

    def run(self, *words, **circumstances) -> Ended:
        return self.start(*words, **circumstances).wait()


@contextmanager
def small_disk(folder, kilobytes, files=0):
    """A file system of that size, in memory, for so many files; 0: any number."""
    folder.mkdir()
    size = f"size={kilobytes}k,nr_inodes={files}"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "dlcli", folder], capture_output=True).returncode:
        pytest.skip("mounting a file system is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a table, only what `short` names is part of the short tier; all of it is run by `make faults`."""
    for item in items:
        tier = item.get_closest_marker("short")
        if tier is not None and item.callspec.id not in tier.args:
            item.add_marker(pytest.mark.faults)


@pytest.fixture(scope="session")
def warm(tmp_path_factory):
    """warm.run(word, ...) and warm.start(word, ...): the command in a fork of a process that has imported torch."""
    server = Warm(tmp_path_factory.mktemp("warm"))
    yield server
    server.process.communicate(timeout=30)


@pytest.fixture
def cold(tmp_path):
    """cold(word, ...) -> Popen: the command as a user starts it, in an empty folder."""
    started = []

    def start(*words, **settings):
        process = subprocess.Popen(
            [sys.executable, "-m", "dlcli.cli", *map(str, words)],
            cwd=settings.pop("cwd", tmp_path),
            env=ENVIRONMENT | settings.pop("env", {}),
            text=True,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | settings,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def unbroken(warm, tmp_path_factory):
    """unbroken(kind) -> directory of a run that nothing disturbed, and the seconds it took."""
    done = {}

    def run(kind):
        if kind not in done:
            folder, started = tmp_path_factory.mktemp("unbroken") / "run", time.monotonic()
            ended = warm.run("train", *KINDS[kind], *COMMON, f"run_dir={folder}")
            assert ended.code == 0, ended
            done[kind] = folder, time.monotonic() - started
        return done[kind]

    return run
