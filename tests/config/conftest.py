"""A folder to stand in, with files of a user, and how a command line is refused there."""

from pathlib import Path

import pytest

from dlcli import config
from dlcli.errors import UsageError


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(here):
    """write(text, name): a file of the user below ./conf; bytes are written as they are."""

    def write_file(text, name="experiment/exp.yaml"):
        path = Path("conf", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_file


@pytest.fixture
def refusal(here):
    """refusal(override, ...): the error and the hint of a command line that has to be refused."""

    def refuse(*overrides):
        with pytest.raises(UsageError) as caught:
            config.load_checked(overrides)
        assert caught.value.exit_code == 2
        assert list(here.rglob("*")) == [] or (here / "conf").exists()
        return caught.value.message, caught.value.hint

    return refuse
