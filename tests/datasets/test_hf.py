"""Hugging Face data sets: the numbers of a plain reading of the same data, in memory and from disk; clear refusals."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from dlcli.datasets.hf import hf
from dlcli.datasets.hf_text import hf_text
from dlcli.datasets.image_folder import image_folder
from dlcli.datasets.npz import npz
from dlcli.datasets.text import text
from dlcli.errors import DataError, UsageError
from tests.saved import outcome, same

pytest.importorskip("datasets", reason="dataset=hf needs the package datasets")
import datasets as library

PARTS = {"subset": None, "revision": None, "train_split": "auto", "validation_split": "auto", "test_split": "auto"}
DEFAULTS = {
    **PARTS,
    "target": "auto",
    "features": None,
    "kind": "auto",
    "size": None,
    "channels": "auto",
    "layout": "auto",
    "streaming": "auto",
}
TEXT = {**PARTS, "column": "text", "tokens": "characters", "vocabulary_size": 257, "window": 4}
DRAW = np.random.default_rng(1)
ROWS = 90
COLUMNS = {
    "x": DRAW.normal(size=ROWS) * 1e3,
    "colour": [("red", "blue", "green")[i % 3] for i in range(ROWS)],
    "n": DRAW.integers(0, 9, ROWS),
    "y": DRAW.integers(0, 2, ROWS).astype(str),
}
PIXELS = DRAW.integers(0, 256, (60, 9, 8, 3), np.uint8)
QUICK = ("training.batch_size=7", "training.steps=17", "decompose.budget=none", "pictures=never")


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    """The caches of the library and of dlcli, and the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLCLI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    library.disable_progress_bars()


def png(pixels):
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "png")
    return sink.getvalue()


def saved(columns, path="saved", **features):
    made = library.Dataset.from_dict(columns)
    for name, feature in features.items():
        made = made.cast_column(name, feature)
    made.save_to_disk(path)
    return path


def pictures(path="saved"):
    """Some grey, some in colour."""
    return saved(
        {
            "image": [png(each if i % 5 else each[:, :, 0]) for i, each in enumerate(PIXELS)],
            "label": [i % 3 for i in range(60)],
        },
        path,
        image=library.Image(),
        label=library.ClassLabel(names=["b", "a", "c"]),
    )


def read(path, **changed):
    return hf(path=path, **{**DEFAULTS, **changed})


def refusal(path, **changed):
    with pytest.raises((DataError, UsageError)) as caught:
        read(path, **changed)
    for line in (caught.value.message, caught.value.hint):
        assert len(line) <= 200 and line.isprintable()
    return f"{caught.value.message} | {caught.value.hint}"


@pytest.mark.parametrize("form", ["folder", "parquet", "csv", "jsonl"])
def test_a_run_has_the_numbers_of_the_same_table_as_parquet(dlcli, form):
    made = library.Dataset.from_dict(COLUMNS)
    made.to_parquet("t.parquet")
    write = {"folder": made.save_to_disk, "parquet": made.to_parquet, "csv": made.to_csv, "jsonl": made.to_json}[form]
    path = "saved" if form == "folder" else f"again.{form}"
    write(path)
    words = ("train", "model=mlp", *QUICK)
    plain = outcome(dlcli(*words, "dataset=parquet", "dataset.path=t.parquet"))
    assert len(plain) > 4
    for streaming in ("false", "true"):
        ours = dlcli(*words, "dataset=hf", f"dataset.path={path}", f"dataset.streaming={streaming}")
        assert same(plain, outcome(ours)), streaming


def test_images_are_those_of_a_folder_of_the_same_files_and_streamed_or_not(tmp_path):
    for number, each in enumerate(PIXELS):
        file = tmp_path / "images" / "bac"[number % 3] / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(each if number % 5 else each[:, :, 0]))
    plain = image_folder(path="images", size=None, channels="auto", streaming=False)
    order = np.argsort([f"{'bac'[i % 3]}/{i:02}" for i in range(60)])
    for streaming in (False, True):
        ours = read(pictures(), streaming=streaming)
        assert ours.classes == ("b", "a", "c") and ours.train.inputs.dtype == np.uint8
        assert np.array_equal(np.asarray(ours.train.inputs)[order], plain.train.inputs)
        assert np.array_equal(ours.train.targets, np.arange(60) % 3)
    resized = [np.asarray(read("saved", size=5, channels=1, streaming=word).train.inputs) for word in (False, True)]
    assert resized[0].shape == (60, 1, 5, 5) and np.array_equal(*resized)
    folder = read("images")  # by the reader of the library, whose rows name files in the folder
    assert np.array_equal(folder.train.inputs, plain.train.inputs) and folder.classes == plain.classes == (
        "a",
        "b",
        "c",
    )


FLOATS = library.List(library.List(library.Value("float32"), 3), 4)


@pytest.mark.parametrize("feature", [None, library.Array2D((4, 3), "float32"), FLOATS], ids=["lists", "array", "fixed"])
def test_lists_are_the_arrays_that_numpy_would_save(feature, tmp_path):
    x, y = DRAW.normal(size=(30, 4, 3)).astype(np.float32), DRAW.normal(size=30)
    np.savez(tmp_path / "t.npz", x=x, y=y)
    others = dict.fromkeys(("x_validation", "y_validation", "x_test", "y_test"))
    plain = npz(path="t.npz", x="x", y="y", kind="auto", layout="auto", **others)
    saved({"x": x.tolist(), "id": list(range(30)), "y": y}, **({"x": feature} if feature else {}))
    for streaming in (False, True):
        ours = read("saved", streaming=streaming)
        assert np.array_equal(np.asarray(ours.train.inputs), plain.train.inputs)
        assert np.array_equal(ours.train.targets, plain.train.targets)
        assert ours.form == plain.form
        assert ours.notes[0] == "1 column not read, such as 'id' (dataset.features)"


def test_splits_are_found_by_name_and_chosen_by_name():
    made = library.Dataset.from_dict(COLUMNS)
    named = {"train": made.select(range(50)), "dev": made.select(range(50, 60)), "extra": made.select(range(60, 90))}
    library.DatasetDict(named).save_to_disk("saved")
    found = read("saved")
    assert (len(found.train.targets), len(found.validation.targets), found.test) == (50, 10, None)
    found = read("saved", train_split="extra", validation_split=None, test_split="train")
    assert (len(found.train.targets), found.validation, len(found.test.targets)) == (30, None, 50)
    assert refusal("saved", test_split="extr") == "'saved' has no split 'extr' | did you mean 'extra'?"
    assert refusal("saved", test_split="dev").startswith(
        "split 'dev' is both validation and test | it has 'train', 'dev'"
    )


def test_classes_among_the_inputs_are_their_names():
    saved({"kind": [0, 1, 1, 0], "y": [0.5, 1.5, 2.5, 3.5]}, kind=library.ClassLabel(names=["z", "a"]))
    found = read("saved", target="y")
    assert found.train.inputs.tolist() == [[0, 1], [1, 0], [1, 0], [0, 1]] and found.form.columns[0].categories == (
        "a",
        "z",
    )


@pytest.mark.parametrize(
    ("columns", "changed", "message"),
    [
        ({"x": [1.0, 2.0], "y": [0.5, 1.0]}, {"target": "z"}, "'saved' has no column 'z' | 2 columns: 'x', 'y'"),
        ({"width": [1.0, 2.0], "y": [0.5, 1.0]}, {"features": ["widht"]}, "did you mean 'width'?"),
        ({"x": [1.0, None], "y": [0.5, 1.0]}, {}, "'saved/train', row 2, column 'x': missing"),
        ({"x": [[1, 2], [3]], "y": [0.5, 1.0]}, {}, "row 2, column 'x': 1 numbers, where the first row has 2"),
        ({"x": [[1.0, 2.0], [3.0, float("inf")]], "y": [0, 1]}, {}, "row 2, column 'x': inf is not finite"),
        ({"x": [[1.0, 2.0], [3.0, None]], "y": [0, 1]}, {}, "row 2, column 'x': missing"),
        ({"x": [[1.0], [3.0]], "z": [[1.0], [3.0]], "y": [0, 1]}, {}, "several columns, of images or of lists"),
        ({"x": [["p"], ["q"]], "y": [0, 1]}, {}, "no feature beside the target 'y'"),
        ({"x": [[1.0], [3.0]]}, {}, "which column is to be predicted? | set dataset.target=NAME"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_what_is_wrong_is_named(columns, changed, message, streaming):
    saved(columns)
    with pytest.raises(DataError) as caught:
        np.asarray(read("saved", streaming=streaming, **changed).train.inputs)
    assert message in f"{caught.value.message} | {caught.value.hint}"


def test_a_test_without_answers_is_named_and_can_be_left_out():
    label = library.ClassLabel(names=["a", "b"])
    parts = {
        name: library.Dataset.from_dict({"x": [1.0, 2.0], "y": ys}).cast_column("y", label)
        for name, ys in {"train": [0, 1], "test": [-1, -1]}.items()
    }
    library.DatasetDict(parts).save_to_disk("saved")
    assert "'saved/test', row 1, column 'y': class -1, which has no name" in refusal("saved")
    assert read("saved", test_split=None).test is None


def test_a_text_has_the_tokens_of_the_same_file(tmp_path):
    (tmp_path / "t.txt").write_text("one line\n\nanother, and ünïcode\nlast line\n" * 9)
    plain = text(path="t.txt", tokens="characters", vocabulary_size=257, window=4)
    for path in ("t.txt", saved({"text": (tmp_path / "t.txt").read_text().splitlines()})):
        ours = hf_text(path=path, **TEXT)
        assert (
            np.array_equal(ours.train.inputs, plain.train.inputs) and ours.vocabulary.tokens == plain.vocabulary.tokens
        )
    with pytest.raises(DataError, match="has no column 'txt'"):
        hf_text(path="saved", **{**TEXT, "column": "txt"})
    saved({"text": [1, 2]}, "numbers")
    with pytest.raises(DataError, match="column 'text' holds no texts"):
        hf_text(path="numbers", **TEXT)


def test_splits_of_a_text_are_those_of_the_data_set(dlcli, summary_of):
    parts = {name: library.Dataset.from_dict({"text": ["abcabc"] * n}) for name, n in {"train": 90, "test": 30}.items()}
    library.DatasetDict(parts).save_to_disk("saved")
    answer = dlcli("data", "info", "hf_text", "dataset.path=saved", "dataset.window=8", "--format", "json")
    assert answer.code == 0, answer.err
    splits = json.loads(answer.out)["splits"]
    assert splits["test"]["from"] == "as the source gives it"
    assert splits["validation"]["from"] == "the last 63 tokens, 0.1 of the rest"
    assert splits["test"]["examples"] == (7 * 30 - 1) // 8 and splits["train"]["examples"] == (7 * 81 - 1) // 8


def test_damage_and_what_is_no_data_set_are_refused(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 nothing PAR1")
    assert "'t.parquet' is no readable data set" in refusal("t.parquet")
    (tmp_path / "empty").mkdir()
    assert "'empty' is no readable data set" in refusal("empty")
    (tmp_path / "t.bin").write_bytes(b"anything")
    assert "'t.bin': not a format of data sets" in refusal("t.bin")
    assert "cannot read 'no.csv': No such file" in refusal("no.csv")
    assert "cannot read '/no/folder/here'" in refusal("/no/folder/here")
    assert "dataset=hf needs dataset.path" in refusal(None)
    saved(COLUMNS)
    (tmp_path / "saved" / "data-00000-of-00001.arrow").write_bytes(b"nothing")
    assert "'saved' is no readable data set" in refusal("saved")


class Canary:
    def __reduce__(self):
        return open, ("canary", "w")


def test_nothing_that_a_data_set_brings_is_run(tmp_path):
    for name, content in {
        "script/script.py": b"open('canary', 'w')",
        "pickle/train.pkl": pickle.dumps(Canary()),
    }.items():
        file = tmp_path / name
        file.parent.mkdir()
        file.write_bytes(content)
        refusal(name.split("/")[0])
    (tmp_path / "tar").mkdir()
    with tarfile.open(tmp_path / "tar" / "train.tar", "w") as archive:  # of a reader that unpacks torch's files
        archive.addfile(tarfile.TarInfo("1.txt"), io.BytesIO())
    assert "'tar' is read by 'webdataset' | dlcli reads parquet, csv" in refusal("tar")
    assert not (tmp_path / "canary").exists()


def test_a_folder_cannot_name_files_elsewhere(tmp_path):
    outside = tmp_path / "outside.csv"
    outside.write_text("x,y\n1,2\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "README.md").write_text(
        f"---\nconfigs:\n- config_name: default\n  data_files: {outside}\n---\n"
    )
    assert "'data' names a file elsewhere" in refusal("data")
    (tmp_path / "secret.png").write_bytes(png(PIXELS[0]))
    table = library.Dataset.from_dict(
        {"image": [{"bytes": None, "path": str(tmp_path / "secret.png")}] * 2, "label": ["a", "b"]},
        features=library.Features(image=library.Image(), label=library.Value("string")),
    )
    (tmp_path / "inner").mkdir()
    parquet.write_table(table.data.table, tmp_path / "inner" / "t.parquet")
    assert "row 1: the image is a file elsewhere" in refusal("inner/t.parquet")


def test_no_server_is_told_of_local_data(monkeypatch):
    asked = []
    monkeypatch.setattr(library.config, "HF_UPDATE_DOWNLOAD_COUNTS", True)
    monkeypatch.setattr("datasets.load.get_session", lambda *_: asked.append(1))
    library.Dataset.from_dict(COLUMNS).to_parquet("t.parquet")
    read("t.parquet")
    assert not asked


def test_what_the_cache_holds_is_read_without_a_net(tmp_path, monkeypatch):
    library.Dataset.from_dict(COLUMNS).to_parquet("t.parquet")
    builder = library.load_dataset_builder("parquet", data_files="t.parquet")
    builder.download_and_prepare()
    prepared = Path(builder.cache_dir)
    named = tmp_path / "hf" / "someone___something" / "default" / "0.0.0" / prepared.name
    named.parent.mkdir(parents=True)
    (prepared / "parquet-train.arrow").rename(prepared / "something-train.arrow")
    prepared.rename(named)
    monkeypatch.setattr(library.config, "HF_HUB_OFFLINE", True)
    assert np.array_equal(read("someone/something").train.inputs, read("t.parquet").train.inputs)


@pytest.mark.parametrize("gone", ["hub", "library"])
def test_without_a_net_or_the_library_there_is_one_line_and_a_hint(tmp_path, gone, monkeypatch):
    hide = "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n: None if n == 'datasets' else f(n); "
    program = (
        hide if gone == "library" else ""
    ) + "import sys; from dlcli.cli import main; sys.exit(main(sys.argv[1:]))"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    words = ["train", "dataset=hf", "dataset.path=someone/something", "model=linear"]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=120)
    lines = [line for line in done.stderr.splitlines() if line.startswith(("error", "hint"))]
    expected = {"hub": (3, "cannot download 'someone/something'"), "library": (2, "needs the package datasets")}
    code, message = expected[gone]
    assert done.returncode == code and message in done.stderr and len(lines) == 2 and "Traceback" not in done.stderr
