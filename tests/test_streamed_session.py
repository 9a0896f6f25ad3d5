"""Runs whose data stay on disk: to the bit those of data in memory, with a stop or without, and a word for damage."""

from __future__ import annotations

import json

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet
from safetensors.numpy import load_file

from tests.saved import outcome, same

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 9, 8, 3), np.uint8)
QUICK = ("training.batch_size=7", "decompose.budget=none", "pictures=never", "schedule=constant")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DLCLI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def images(tmp_path):
    """Some grey, some in colour."""
    for number, pixels in enumerate(PIXELS):
        path = tmp_path / "images" / "abc"[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels if number % 5 else pixels[:, :, 0]).save(path)
    return ("dataset=image_folder", "dataset.path=images", "model=linear")


@pytest.fixture
def table(tmp_path):
    """Seven groups of rows; the test rows have a colour that training never saw."""
    draw = np.random.default_rng(1)
    columns = {
        "x": draw.normal(size=200) * 1e3,
        "colour": [("red", "blue", "green")[i % (3 if i % 4 == 0 else 2)] for i in range(200)],
        "split": ["test" if i % 4 == 0 else "train" for i in range(200)],
        "n": draw.integers(0, 9, 200),
        "y": draw.integers(0, 2, 200).astype(str),
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet", row_group_size=30)
    return ("dataset=parquet", "dataset.path=t.parquet", "dataset.split=split", "model=mlp")


@pytest.mark.parametrize("kind", ["images", "table"])
def test_a_streamed_run_is_the_resident_run_to_the_bit_and_so_is_one_that_was_stopped(dlcli, request, kind):
    words = (*request.getfixturevalue(kind), *QUICK, "dataset.train_fraction=0.9")
    resident = outcome(dlcli("train", *words, "training.steps=17", "dataset.streaming=false"))
    assert len(resident) > 4
    assert same(resident, outcome(dlcli("train", *words, "training.steps=17", "dataset.streaming=true")))
    stopped = dlcli("train", *words, "training.steps=8", "dataset.streaming=true")
    assert stopped.code == 0, stopped.err
    answer = dlcli("resume", str(stopped.run_dir), "training.steps=17")
    assert answer.code == 0, answer.err
    assert same(resident, outcome(stopped._replace(code=answer.code)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "hf", "images"])
def test_two_ranks_read_what_one_reads(dlcli, request, tmp_path, kind):
    if kind == "hf":
        library = pytest.importorskip("datasets", reason="dataset=hf needs the package datasets")
        request.getfixturevalue("table")
        library.Dataset(parquet.read_table(tmp_path / "t.parquet").drop(["split"])).save_to_disk("saved")
        words = ("dataset=hf", "dataset.path=saved", "dataset.target=y", "model=mlp")
    else:
        words = request.getfixturevalue({"parquet": "table", "images": "images"}[kind])
    found = []
    for ranks in (1, 2):
        count = (f"training.devices={ranks}", f"run_dir=on-{ranks}")
        answer = dlcli("train", *words, *QUICK, "training.steps=40", "dataset.streaming=true", *count)
        assert answer.code == 0, answer.err
        newest = max((tmp_path / f"on-{ranks}" / "checkpoints").iterdir())
        found.append(load_file(newest / "model.safetensors"))
    differences = [np.abs(found[0][name] - found[1][name]).max() for name in found[0]]
    assert 0 < max(differences) < 1e-5


def test_an_image_that_is_damaged_is_named(dlcli, images, tmp_path):
    (tmp_path / "images" / "b" / "31.png").write_bytes(b"no picture")
    answer = dlcli("train", *images, *QUICK, "training.steps=2", "dataset.streaming=true")
    assert answer.code == 3 and "'b/31.png' is no readable image" in answer.err
    assert len([line for line in answer.err.splitlines() if line.startswith("error")]) == 1


def test_a_cell_that_is_missing_is_named_by_row(dlcli, tmp_path):
    values = [1.0, 2.0, None, 4.0] * 5
    parquet.write_table(pyarrow.table({"x": values, "y": list("ab" * 10)}), tmp_path / "t.parquet", row_group_size=2)
    answer = dlcli("train", "dataset=parquet", "dataset.path=t.parquet", "dataset.streaming=true", "model=linear")
    assert answer.code == 3 and "row 3, column 'x': missing" in answer.err


def test_an_archive_is_not_streamed(dlcli, tmp_path):
    (tmp_path / "a.zip").write_bytes(b"zip")
    answer = dlcli("train", "dataset=image_folder", "dataset.path=a.zip", "dataset.streaming=true", "model=linear")
    assert answer.code == 2 and "unpack it" in answer.err


@pytest.mark.parametrize("kind", ["images", "table"])
def test_info_of_streamed_data_is_that_of_data_in_memory(dlcli, request, kind):
    words = ("data", "info", request.getfixturevalue(kind)[0].split("=")[1], *request.getfixturevalue(kind)[1:-1])
    streamed, resident = (dlcli(*words, f"dataset.streaming={word}", "--format", "json") for word in ("true", "false"))
    assert streamed.code == 0, streamed.err
    assert json.loads(streamed.out) == json.loads(resident.out)
