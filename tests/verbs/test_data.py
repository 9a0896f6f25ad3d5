"""`dlcli data`: what it says of a data set, against the arrays themselves."""

import json
import os

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from dlcli import inspection
from dlcli.datasets.bundled import digits

DATA = os.environ.get("DLCLI_DATA")


def test_info_agrees_with_the_arrays(dlcli, tmp_path):
    answer = dlcli("data", "info", "digits", "--format", "json")
    assert answer.code == 0, answer.err
    found, source = json.loads(answer.out), digits().train
    assert sum(split["examples"] for split in found["splits"].values()) == len(source.targets)
    counts = [sum(split["classes"][name] for split in found["splits"].values()) for name in found["classes"]]
    assert counts == np.bincount(source.targets.astype(int)).tolist() and found["shape"] == [1, 8, 8]
    shares = {name: split["examples"] / len(source.targets) for name, split in found["splits"].items()}
    mean = sum(shares[name] * split["inputs"]["mean"] for name, split in found["splits"].items())
    assert mean == pytest.approx(source.inputs.mean(), rel=1e-6)
    ends = {(split["inputs"]["least"], split["inputs"]["greatest"]) for split in found["splits"].values()}
    assert ends == {(0.0, 1.0)} and "from 0 to 1" in dlcli("data", "info", "digits").out
    with Image.open(tmp_path / "outputs" / "data" / "digits.png") as picture:
        assert min(picture.size) > 300 and len(picture.getcolors(1 << 20)) > 10


def test_info_describes_the_columns_of_a_table(dlcli, tmp_path):
    lines = [f"{i},{'ab'[i % 2]},{2 * i}" for i in range(100)]
    (tmp_path / "t.csv").write_text("\n".join(["n,c,y", *lines]))
    options = ("dataset.path=t.csv", "dataset.target=y", "dataset.validation_fraction=0", "dataset.test_fraction=0.5")
    answer = dlcli("data", "info", "csv", *options, "--picture", "t.png")
    assert answer.code == 0 and (tmp_path / "t.png").is_file(), answer.err
    assert "column      c: a " in answer.out and "column      n: mean " in answer.out and "targets mean " in answer.out
    assert "duplicates  0 within train, 0 of test stand in train" in answer.out


@pytest.mark.parametrize("streaming", ["true", "false"])
def test_numbers_that_come_in_pieces_have_the_statistics_of_the_whole(dlcli, tmp_path, monkeypatch, streaming):
    monkeypatch.setenv("DLCLI_CACHE", str(tmp_path / "cache"))
    draw, n = np.random.default_rng(0), 3300
    columns = {
        "far": 1e5 + draw.normal(size=n),
        "c": np.array(list("abc"))[draw.integers(0, 3, n)],
        "y": draw.random(n),
    }
    columns["far"][1000:1005] = columns["far"][0]
    columns["c"][1000:1005] = columns["c"][0]
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    parquet.write_table(
        pyarrow.table({name: column[:7] for name, column in columns.items()}), tmp_path / "test.parquet"
    )
    asked = []
    monkeypatch.setattr(
        inspection, "numbers", lambda *each, old=inspection.numbers: asked.append(len(each[0].inputs)) or old(*each)
    )
    options = ("dataset.path=t.parquet", "dataset.test_path=test.parquet", f"dataset.streaming={streaming}")
    answer = dlcli("data", "info", "parquet", *options, "dataset.validation_fraction=0", "--format", "json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    (far, c), split = found["columns"], found["splits"]["train"]
    expected = {"mean": np.mean, "deviation": np.std, "least": np.min, "greatest": np.max}
    # The inputs of a model are float32 deviations from the mean; of those seven digits are left.
    assert far == {"name": "far"} | {name: pytest.approx(f(columns["far"]), abs=1e-6) for name, f in expected.items()}
    assert c["categories"] == dict(zip("abc", np.unique(columns["c"], return_counts=True)[1].tolist(), strict=True))
    assert split["targets"] == {name: pytest.approx(f(columns["y"]), abs=1e-6) for name, f in expected.items()}
    assert found["duplicates"] == {"train": 5, "train_test": 7, "validation_test": 0}
    assert max(asked) <= 1000 and sum(asked) == n + 7 + 1000  # each example once, and those of the picture


LATER = [pytest.param(name, marks=pytest.mark.slow) for name in ("two_moons", "adding", "diabetes")]


@pytest.mark.parametrize("name", ["noisy_sine", "text", "iris", *LATER])
def test_every_kind_has_a_picture(dlcli, tmp_path, name):
    answer = dlcli("data", "info", name)
    assert answer.code == 0 and (tmp_path / "outputs" / "data" / f"{name}.png").stat().st_size > 5000, answer.err


def test_prepare_says_what_is_ready_and_what_is_not(dlcli, tmp_path):
    assert dlcli("data", "prepare", "iris").out.startswith("ready  iris: 108 train, 12 validation, 30 test (")
    answer = dlcli("data", "prepare", "mnist", f"dataset.root={tmp_path}")
    assert answer.code == 3 and "no official files of mnist in dataset.root" in answer.err
    assert dlcli("data", "info", "irsi").code == 2


@pytest.mark.skipif(DATA is None, reason="DLCLI_DATA names no folder with fashion-mnist")
def test_prepare_verifies_the_official_files(dlcli):
    answer = dlcli("data", "prepare", "fashion_mnist", f"dataset.root={DATA}/fashion-mnist")
    assert answer.code == 0 and "54000 train, 6000 validation, 10000 test" in answer.out
