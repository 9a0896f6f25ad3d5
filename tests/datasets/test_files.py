from __future__ import annotations

import os

import pytest

from dlcli.datasets.files import reading, required
from dlcli.errors import DataError, UsageError


def refusal(path):
    with pytest.raises(DataError) as caught, reading(path):
        pass
    return caught.value.message


def test_a_regular_file_and_a_link_to_one_are_read(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name in ("file", "link"):
        with reading(tmp_path / name) as handle:
            assert handle.read() == b"content"


def test_what_is_no_readable_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "empty").touch()
    assert refusal(tmp_path / "fifo").endswith("/fifo' is no regular file")
    assert refusal(tmp_path).endswith("' is a folder")
    assert refusal(tmp_path / "empty").endswith("/empty' is empty")
    assert refusal(tmp_path / "dangling").endswith("/dangling': No such file or directory")
    assert refusal(tmp_path / "loop").endswith("/loop': Too many levels of symbolic links")
    assert refusal(tmp_path / "a" / "b").endswith("/a/b': No such file or directory")
    in_words = ("embedded null byte", "open: embedded null character in path")  # up to Python 3.12, and from 3.13 on
    assert refusal(tmp_path / "nul\0").endswith(tuple(f"/nul\\x00': {words}" for words in in_words))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_without_permission_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(b"content")
    (tmp_path / "secret").chmod(0)
    assert refusal(tmp_path / "secret").endswith("Permission denied")


def test_a_terminal_sequence_in_a_name_is_shown_escaped(tmp_path):
    message = refusal(tmp_path / "\x1b[31mred")
    assert r"\x1b[31mred" in message and message.isprintable()


def test_a_path_is_needed_and_home_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert required("~/my.csv", "csv") == tmp_path / "my.csv"
    with pytest.raises(UsageError, match=r"dataset=csv needs dataset\.path"):
        required(None, "csv")
