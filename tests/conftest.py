"""What a user has: an empty folder to stand in, and the command `dlcli`, run in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from dlcli.cli import main


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
    """dlcli(word, ...) -> Answer, with a temporary folder as the working directory."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = main(list(words))
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run


@pytest.fixture
def summary_of():
    return lambda run_dir: json.loads((run_dir / "summary.json").read_text())
