"""Small laws that keep the house readable; each is one grep."""

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "dlcli"
TEXTS = {path: path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}


def places(pattern):
    lines = ((path, line) for path, text in TEXTS.items() for line in text.splitlines())
    return [f"{path.relative_to(PACKAGE)}: {line.strip()}" for path, line in lines if re.search(pattern, line)]


def test_one_place_calls_backward():
    assert [place.split(":")[0] for place in places(r"\.backward\(")] == ["training/step.py"]


def test_no_file_is_named_for_a_missing_concept():
    banned = {"utils", "util", "common", "helpers", "helper", "base", "core", "misc", "manager"}
    assert not [path for path in TEXTS if path.stem in banned or path.parent.name in banned]


def test_no_file_is_longer_than_300_lines():
    assert TEXTS and not [path for path, text in TEXTS.items() if text.count("\n") > 300]


def test_nothing_unpickles_and_no_config_can_name_code():
    assert not places(r"\bimport pickle|(?<!safetensors\.)torch\.load\(|pickle\.load|hydra\.utils|allow_pickle=True")


def test_no_torch_optim():
    assert not places(r"torch\.optim\.|from torch import optim|import torch\.optim")
