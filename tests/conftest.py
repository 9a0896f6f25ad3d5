"""What a user has: an empty folder to stand in, and the command `dlcli`, run in this process."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from dlcli import registry
from dlcli.cli import main

# Whoever started pytest under nohup did not mean the commands that the tests start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def run_dir(self) -> Path:
        """The directory that the first line of a run names."""
        first = next(line for line in self.out.splitlines() if line.startswith(("run  ", "sweep  ")))
        return Path(first.split()[-1])


@pytest.fixture
def dlcli(tmp_path, monkeypatch, capsys):
    """dlcli(word, ...) -> Answer, with a temporary folder as the working directory. What a plugin changes in a process
    is put back after the test.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(registry, "PLUGINS", [])

    def run(*words):
        code = main(list(words))
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    yield run
    plugins = {n for n, m in sys.modules.items() if Path(getattr(m, "__file__", None) or "/").is_relative_to(tmp_path)}
    for key in [key for key, factory in registry.FACTORIES.items() if factory.__module__ in plugins]:
        del registry.FACTORIES[key]
    for name in plugins:
        del sys.modules[name]


@pytest.fixture
def summary_of():
    return lambda run_dir: json.loads((run_dir / "summary.json").read_text())
