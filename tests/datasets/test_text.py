import os
from pathlib import Path

import pytest

from dlcli.datasets.text import text
from dlcli.errors import DataError

SETTINGS = {"tokens": "characters", "vocabulary_size": 300, "window": 8}


def written(tmp_path, content):
    file = tmp_path / "play.txt"
    file.write_bytes(content)
    return str(file)


def test_a_file_is_read_as_it_is_but_for_a_byte_order_mark(tmp_path):
    source = text(path=written(tmp_path, b"\xef\xbb\xbf" + "été\r\n\n".encode()), **SETTINGS)
    whole = [*source.train.inputs[:1], *source.train.targets]
    assert source.vocabulary.decode(whole) == "été\r\n\n"


def test_another_encoding_is_refused_with_the_line(tmp_path):
    with pytest.raises(DataError, match=r"is no UTF-8 text: byte 0xe9 in line 2"):
        text(path=written(tmp_path, "a\nété".encode("latin1")), **SETTINGS)


def test_the_default_is_on_every_machine():
    source = text(path=None, **SETTINGS)
    assert len(source.train.inputs) > 300_000 and source.origin.startswith("the help topics inside Python 3.")


def test_tiny_shakespeare_has_its_65_characters():
    folder = os.environ.get("DLCLI_DATA")
    if folder is None:
        pytest.skip("needs DLCLI_DATA, a folder with text/tinyshakespeare.txt")
    source = text(path=str(Path(folder) / "text" / "tinyshakespeare.txt"), **SETTINGS)
    assert len(source.vocabulary.tokens) == 65 and len(source.train.targets) == 1_115_393
