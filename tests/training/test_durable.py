import errno
import os

import pytest

from dlcli.errors import StorageError
from dlcli.training.durable import free_bytes, replace, storage, write_new


def test_replace_shows_the_new_content(tmp_path):
    (tmp_path / "status.json").write_bytes(b"old")
    replace(tmp_path / "status.json", b"new")
    assert (tmp_path / "status.json").read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
def test_a_failed_replace_leaves_the_old_content_and_nothing_beside_it(tmp_path, monkeypatch, call):
    (tmp_path / "status.json").write_bytes(b"old")

    def fail(*arguments):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, call if call != "rename" else "replace", fail)
        with pytest.raises(StorageError, match=r"status\.json: Input/output error"):
            replace(tmp_path / "status.json", b"new")
    assert (tmp_path / "status.json").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_short_write_is_continued(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:3]))
    write_new(tmp_path / "file", [b"0123456789", b"abc"])
    assert (tmp_path / "file").read_bytes() == b"0123456789abc"


def test_an_existing_file_or_link_is_never_written_through(tmp_path):
    (tmp_path / "target").write_bytes(b"mine")
    (tmp_path / "link").symlink_to("target")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "link", [b"theirs"])
    assert (tmp_path / "target").read_bytes() == b"mine"


def test_a_full_disk_is_told_in_megabytes(tmp_path):
    with pytest.raises(StorageError) as caught, storage(tmp_path / "x", 2_500_000):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "No space left on device (2.5 MB needed, " in caught.value.message
    assert caught.value.hint.startswith("free some space")


def test_room_is_found_for_a_path_that_does_not_exist_yet(tmp_path):
    assert free_bytes(tmp_path / "a" / "b") > 0
