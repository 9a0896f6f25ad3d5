"""Group B of the catalogue where the inputs stay on disk: what is wrong is named by file, row and column before the
first step, in the same words as where they fit into memory; and what happens to the files later ends the run with its
checkpoints whole (B1, B2, B6, B8, B14, B15).
"""

from __future__ import annotations

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.faults.left_behind import acknowledged, differences, newest_good, outcome
from tests.faults.runs import COMMON
from tests.faults.told import told

N = 40
STEP = "dlcli.training.loop:take_step"


def columns(**changed):
    found = {
        "a": [float(n % 7) for n in range(N)],
        "b": [n * 0.5 for n in range(N)],
        "y": [("no", "yes")[n % 2] for n in range(N)],
    }
    return found | changed


def put(name, row, value):
    """The columns with another cell. Rows count from 1."""
    cells = columns()[name]
    cells[row - 1] = value
    return columns(**{name: cells})


def parquet(made, test=None, cut=None):
    def deed(folder):
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet as format

        words = ["dataset=parquet", "dataset.path=t.parquet"]
        format.write_table(pyarrow.table(made), folder / "t.parquet", row_group_size=7)
        if test:
            format.write_table(pyarrow.table(test), folder / "test.parquet", row_group_size=7)
            words.append("dataset.test_path=test.parquet")
        if cut:
            content = (folder / "t.parquet").read_bytes()
            (folder / "t.parquet").write_bytes(cut(content))
        return words

    return deed


def hf(made, test=None, cut=False, **features):
    def deed(folder):
        library = pytest.importorskip("datasets")

        def table(columns):
            found = library.Dataset.from_dict(columns)
            for name, feature in features.items():
                found = found.cast_column(name, feature(library))
            return found

        parts = {"train": made} | ({"test": test} if test else {})
        library.DatasetDict({name: table(part) for name, part in parts.items()}).save_to_disk(folder / "saved")
        if cut:
            (path,) = (folder / "saved" / "train").glob("*.arrow")
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return ["dataset=hf", "dataset.path=saved"]

    return deed


def of_texts(texts, column="text"):
    def deed(folder):
        hf({"text": texts})(folder)
        return ["dataset=hf_text", "dataset.path=saved", f"dataset.column={column}", "dataset.window=8", "model=rnn"]

    return deed


def pixels(number, side=8):
    return np.random.default_rng(number).integers(0, 255, (side, side, 3), np.uint8)


def jpeg(number, side=8):
    content = io.BytesIO()
    Image.fromarray(pixels(number, side)).save(content, "JPEG")
    return content.getvalue()


def pictures(change=lambda path: None, name="b/21.jpg", side=8):
    """Twenty a class; one of them is changed."""

    def deed(folder):
        for number in range(N):
            path = folder / "images" / "ab"[number % 2] / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg(number, side))
        change(folder / "images" / name)
        return ["dataset=image_folder", "dataset.path=images"]

    return deed


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def of_images(change):
    """A column of images; that of row 22 is changed."""
    contents = [jpeg(number) for number in range(N)]
    contents[21] = change(contents[21])
    cells = [content and {"bytes": content, "path": None} for content in contents]
    made = {"image": cells, "label": [n % 2 for n in range(N)]}
    return hf(made, image=lambda library: library.Image())


def classes(library):
    return library.ClassLabel(names=["no", "yes"])


def labelled(value=1, row=7):
    labels = [n % 2 for n in range(N)]
    labels[row - 1] = value
    return columns(y=labels)


LISTS = columns(b=[[float(n), 1.0] for n in range(N)])
CASES = {
    "parquet, nan": (parquet(put("b", 18, np.nan)), ["t.parquet", "row 18", "column 'b'", "nan is not finite"]),
    "parquet, infinite": (parquet(put("b", 18, np.inf)), ["t.parquet", "row 18", "column 'b'", "inf is not finite"]),
    "parquet, beyond float32": (parquet(put("a", 40, 1e300)), ["t.parquet", "row 40", "column 'a'"]),
    "parquet, missing": (parquet(put("a", 18, None)), ["t.parquet", "row 18", "column 'a'", "missing"]),
    "parquet, missing label": (parquet(put("y", 18, None)), ["t.parquet", "row 18", "column 'y'", "missing"]),
    "parquet, texts": (
        parquet(columns(), columns(b=list(map(str, range(N))))),
        ["test.parquet", "column 'b'", "text, where training has numbers"],
    ),
    "parquet, other label": (
        parquet(columns(), put("y", 9, "maybe")),
        ["test.parquet", "row 9", "column 'y'", "'maybe' is not in the training split"],
    ),
    "parquet, cut": (parquet(columns(), cut=lambda content: content[:300]), ["t.parquet"]),
    "parquet, a page of noise": (
        parquet(columns(), cut=lambda content: content[:40] + bytes(60) + content[100:]),
        ["t.parquet", "no readable parquet file"],
    ),
    "images, cut": (pictures(cut_in_half), ["images", "'b/21.jpg'", "damaged"]),
    "images, large and cut": (pictures(cut_in_half, side=80), ["images", "'b/21.jpg'", "damaged"]),
    "images, empty": (pictures(lambda path: path.write_bytes(b"")), ["b/21.jpg", "empty"]),
    "images, a page": (pictures(lambda path: path.write_bytes(b"<html>")), ["'b/21.jpg'", "no readable image"]),
    "images, another size": (
        pictures(lambda path: path.write_bytes(jpeg(0, 9))),
        ["'b/21.jpg'", "9 x 9 pixels, the first one 8 x 8"],
    ),
    "images, a link to nowhere": (
        pictures(lambda path: (path.unlink(), path.symlink_to("nowhere"))),
        ["b/21.jpg", "No such file"],
    ),
    "hf, nan": (hf(put("b", 18, np.nan)), ["'saved/train'", "row 18", "column 'b'", "nan is not finite"]),
    "hf, missing": (hf(put("b", 18, None)), ["'saved/train'", "row 18", "column 'b'", "missing"]),
    "hf, a label of no name": (
        hf(labelled(), labelled(-1), y=classes),
        ["'saved/test'", "row 7", "column 'y'", "class -1, which has no name"],
    ),
    "hf, other label": (
        hf(columns(), put("y", 9, "maybe")),
        ["'saved/test'", "row 9", "column 'y'", "'maybe' is not in the training split"],
    ),
    "hf, texts": (hf(columns(), columns(b=list(map(str, range(N))))), ["'saved/test'", "column 'b'", "string"]),
    "hf, lists, nan": (
        hf(columns(b=[*LISTS["b"][:17], [1.0, np.nan], *LISTS["b"][18:]])),
        ["'saved/train'", "row 18", "column 'b'", "nan is not finite"],
    ),
    "hf, lists of other lengths": (
        hf(columns(b=[*LISTS["b"][:17], [1.0], *LISTS["b"][18:]])),
        ["'saved/train'", "row 18", "column 'b'", "1 numbers, where the first row has 2"],
    ),
    "hf, image cut": (of_images(lambda content: content[: len(content) // 2]), ["'saved/train'", "row 22", "damaged"]),
    "hf, image of noise": (of_images(lambda content: b"noise"), ["'saved/train'", "row 22", "no readable image"]),
    "hf, no image": (of_images(lambda content: None), ["'saved/train'", "row 22", "missing"]),
    "hf, cut": (hf(columns(), cut=True), ["'saved'", "no readable data set"]),
}
TEXTS = {
    "numbers": (of_texts([1] * N), ["'saved/train'", "column 'text'", "holds no texts"]),
    "no column": (of_texts(["a"] * N, "tex"), ["'saved/train'", "no column 'tex'", "did you mean 'text'?"]),
    "nothing": (of_texts([None, *[""] * (N - 1)]), ["dataset=hf_text", "tokens"]),
}


@pytest.mark.short("True-parquet, nan", "True-images, cut")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("streaming", [True, False])
def test_unusable_data_on_disk(warm, tmp_path, case, streaming):
    deed, fragments = CASES[case]
    words = [*deed(tmp_path), f"dataset.streaming={str(streaming).lower()}", "model=linear"]
    before = {path.name for path in tmp_path.iterdir()}
    ended = warm.run("train", *words, cwd=tmp_path, env={"DLCLI_CACHE": str(tmp_path / "cache")})
    told(ended, 3, *fragments)
    assert {path.name for path in tmp_path.iterdir()} - before <= {"cache"}, "something was written"
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.suffix not in ("", ".lock", ".rows")]


@pytest.mark.short()
@pytest.mark.parametrize("case", TEXTS)
def test_unusable_texts(warm, tmp_path, case):
    deed, fragments = TEXTS[case]
    told(warm.run("train", *deed(tmp_path), cwd=tmp_path), 3, *fragments)


# What happens to the files of a run that reads them on and on (B15)


def vanish(folder):
    for path in folder.rglob("*.jpg"):
        path.unlink()


def change(folder):
    for path in folder.rglob("*.jpg"):
        path.write_bytes(jpeg(99, 80))


HARM = {"vanish": (vanish, "No such file"), "change": (change, "was changed while it was in use")}


@pytest.mark.faults
@pytest.mark.parametrize("harm", HARM)
def test_images_that_change_under_a_run(warm, tmp_path, harm):
    """Large ones are decoded when they are needed: the run ends naming one, and goes on once they are back."""
    deed, told_of = HARM[harm]
    words = [*pictures(side=80)(tmp_path), "dataset.streaming=true", "model=linear", "training.batch_size=5"]
    words = ["train", *words, "training.steps=40", *COMMON]
    assert warm.run(*words, "run_dir=unbroken", cwd=tmp_path).code == 0
    shutil.copytree(tmp_path / "images", tmp_path / "kept")
    process = warm.start(*words, "run_dir=run", cwd=tmp_path, function=[STEP, 20, 0.5])
    process.wait_for("asleep")
    deed(tmp_path / "images")
    ended = process.wait()
    told(ended._replace(err=ended.err.replace("asleep\nawake\n", "")), 3, ".jpg", told_of)
    run = tmp_path / "run"
    assert newest_good(run) >= acknowledged(run) >= 16
    shutil.rmtree(tmp_path / "images")
    shutil.copytree(tmp_path / "kept", tmp_path / "images")
    assert warm.run("resume", "run", cwd=tmp_path).code == 0
    assert not differences(outcome(run), outcome(tmp_path / "unbroken"))


@pytest.mark.faults
def test_rows_that_are_cut_under_a_run(warm, tmp_path):
    """Of a parquet file they were unpacked into the cache, which is made anew at the next start."""
    made = parquet({name: cells * 200 for name, cells in columns().items()})(tmp_path)
    words = ["train", *made, "dataset.streaming=true", "model=linear", "training.steps=40", *COMMON]
    cache = {"DLCLI_CACHE": str(tmp_path / "cache")}
    assert warm.run(*words, "run_dir=unbroken", cwd=tmp_path, env=cache).code == 0
    process = warm.start(*words, "run_dir=run", cwd=tmp_path, function=[STEP, 20, 0.5], env=cache)
    process.wait_for("asleep")
    (rows,) = (tmp_path / "cache").rglob("*.rows")
    with rows.open("r+b") as file:
        file.truncate(800)
    ended = process.wait()
    told(ended._replace(err=ended.err.replace("asleep\nawake\n", "")), 3, ".rows", "the file was cut")
    assert warm.run("resume", "run", cwd=tmp_path, env=cache).code == 0
    assert not differences(outcome(tmp_path / "run"), outcome(tmp_path / "unbroken"))
