"""Group B of the catalogue: data that are missing, damaged or hostile end with code 3 before a run directory exists."""

from __future__ import annotations

import gzip
import json
import pickle
import tarfile

import pytest

from tests.faults.hostile_data import (
    GOOD,
    ROWS,
    Canary,
    a_folder,
    archive_with,
    billion_rows,
    bomb,
    changed,
    csv,
    dangling,
    declared,
    different_lengths,
    endless,
    flipped_bit,
    folder_of,
    idx,
    images,
    label_not_finite,
    million_headers,
    million_members,
    missing,
    nested,
    not_finite,
    npz_of,
    object_array,
    of_another_type,
    of_other_columns,
    of_shapes,
    parquet,
    pickle_as_npz,
    pipe,
    png,
    text,
    truncated_npz,
    two_classes,
)
from tests.faults.told import told

FILE, LINK, HARD, DEVICE = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE
CASES = {
    # B1, B2, B4
    "missing": (missing, ["t.csv"], 3),
    "a folder": (a_folder, ["t.csv"], 3),
    "dangling link": (dangling, ["t.csv"], 3),
    "a pipe": (pipe, ["t.csv"], 3),
    "endless": (endless, ["t.csv"], 3),
    "empty": csv("", "t.csv"),
    "header only": csv(ROWS[0], "t.csv"),
    "one example": csv("".join(ROWS[:2]), ""),
    "one class": csv(ROWS[0] + "1,2,yes\n" * 50, ""),
    # B6, B8
    "no number": csv(changed(17, "1,nan,yes\n"), "line 18", "b"),
    "infinite": csv(changed(17, "1,inf,yes\n"), "line 18", "b"),
    "missing cell": csv(changed(17, "1,,yes\n"), "line 18"),
    "missing label": csv(changed(17, "1,2,\n"), "line 18"),
    "label not finite": (label_not_finite, ["5"], 3),
    "feature not finite": (not_finite, ["17"], 3),
    "different lengths": (different_lengths, ["40", "39"], 3),
    "unknown target": (lambda folder: [*csv(GOOD)[0](folder), "dataset.target=z"], ["z"], 3),
    # B7
    "other features in the test": (of_shapes((40, 3), (9, 4)), ["(4,)", "(3,)"], 3),
    "other channels in the test": (of_shapes((40, 1, 8, 8), (9, 3, 8, 8)), ["test", "train"], 3),
    "floats beside pixels": (of_shapes((40, 1, 8, 8), (9, 1, 8, 8), "uint8", "float32"), ["float", "uint8"], 3),
    "four axes": (of_shapes((40, 1, 3, 3, 3)), ["(1, 3, 3, 3)"], 3),
    "one axis": (of_shapes((40,)), ["(40,)"], 3),
    "no features": (of_shapes((40, 0)), ["(40, 0)"], 3),
    "images of two sizes": (folder_of({"a/1.png": png(8, 8), "b/2.png": png(9, 8)}), ["b/2.png", "9 x 8", "8 x 8"], 3),
    "other columns in the test": (of_other_columns, ["other.csv", "'b'"], 3),
    # B9, B10
    "ragged": csv(changed(17, "1,2\n"), "line 18"),
    "too many": csv(changed(17, "1,2,yes,4\n"), "line 18"),
    "million columns": csv(lambda: ",".join(f"c{n}" for n in range(1_000_000)) + "\n"),
    "endless line": csv(lambda: "a,b\n" + "1" * 30_000_000),
    "CP1252": csv(GOOD.replace("yes", "j\xe4").encode("cp1252"), "UTF-8"),
    "NUL": csv(changed(17, "1,\0,yes\n")),
    "doubled names": csv(GOOD.replace("a,b,y", "a,a,y")),
    "escape sequence": csv(changed(17, "1,\x1b[2J\x1b]0;owned\x07,yes\n"), "x1b"),
    "formula": csv(changed(17, "1,=cmd|'/c calc'!A1,yes\n")),
    "long cell": csv(changed(17, f"1,{'9' * 5000}x,yes\n")),
    # B11
    "objects": (object_array, ["t.npz"], 3),
    "pickle": (pickle_as_npz, ["t.npz"], 3),
    "huge shape": (npz_of(declared("(100000000000, 1000)")), ["t.npz"], 3),
    "huge header": (npz_of(declared("(3,)", 5_000_000)), ["t.npz"], 3),
    "bomb": (npz_of(declared("(40, 10000000)") + b"\0" * 400_000_000), ["t.npz"], 3),
    "truncated npz": (truncated_npz, ["t.npz"], 3),
    # B12
    "no parquet": (parquet(b"PAR1 nothing PAR1"), ["t.parquet"], 3),
    "pickle as parquet": (parquet(pickle.dumps(Canary())), ["t.parquet"], 3),
    "a billion rows": (parquet(billion_rows), ["t.parquet", "2000000000 rows"], 3),
    "extension type": (parquet(of_another_type), ["t.parquet", "column 'b'"], 3),
    "nested type": (parquet(nested), ["t.parquet", "column 'b'"], 3),
    "zip bomb": (bomb("images.zip"), ["images.zip"], 3),
    "gzip bomb": (bomb("images.tar.gz"), ["images.tar.gz"], 3),
    "bomb in place of IDX": (idx(gzip.compress(bytes(200_000_000))), ["mnist"], 3),
    # B13, B14
    "a million names of one member": (million_members("images.zip", ".png", distinct=False), ["images.zip"], 3),
    "a million members": (million_members("images.zip", ".png"), ["images.zip", "too many members"], 3),
    "a million arrays": (million_members("t.npz", ".npy"), ["t.npz", "too many members"], 3),
    "a million headers": (million_headers, ["images.tar.gz", "300000 members"], 3),
    "name twice": (archive_with(("a/1.png", FILE, ""), ("a/1.png", FILE, "")), ["images.tar.gz", "twice"], 3),
    "image bomb": (two_classes(png(65_000, 65_000)), [".png"], 3),
    "truncated image": (two_classes(png(8, 8)[:40]), [".png"], 3),
    "no image": (two_classes(b"<html>"), [".png"], 3),
    "no folder": (images(lambda folder: None), ["images"], 3),
    "empty folder": (images(lambda folder: (folder / "images").mkdir()), ["images"], 3),
    "escaping member": (archive_with(("../canary", FILE, ""), ("a/1.png", FILE, "")), ["images.tar.gz"], 3),
    "absolute member": (archive_with(("/tmp/canary/1.png", FILE, "")), ["images.tar.gz"], 3),
    "link in an archive": (archive_with(("a", LINK, ".."), ("a/canary", FILE, "")), ["images.tar.gz"], 3),
    "hard link": (archive_with(("a/1.png", HARD, "/etc/passwd")), ["images.tar.gz"], 3),
    "device": (archive_with(("a/1.png", DEVICE, "")), ["images.tar.gz"], 3),
    # B2, B3
    "a flipped bit": (flipped_bit, ["t10k-labels", "sha256"], 3),
    "foreign IDX": (idx(gzip.compress(b"nothing")), ["mnist"], 3),
    "page in place of IDX": (idx(b"<html>404</html>"), ["mnist"], 3),
    "empty text": (text(b""), ["t.txt"], 3),
    "text of other bytes": (text(b"\xff\xfe\x00" * 1000), ["t.txt"], 3),
    "short text": (text(b"to be"), ["tokens"], 3),
}


SLOWLY = {
    "a million names of one member",
    "a million arrays",
    "a million headers",
}  # to make, or to read up to the limit


@pytest.mark.short(*(CASES.keys() - SLOWLY))
@pytest.mark.parametrize("case", CASES)
def test_unusable_data(warm, tmp_path, case):
    deed, fragments, code = CASES[case]
    words = deed(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    ended = warm.start("train", *words, cwd=tmp_path).wait(60)
    told(ended, code, *fragments)
    assert {path.name for path in tmp_path.iterdir()} == before, "something was written"


@pytest.mark.parametrize("shape", [(5, 1, 8, 9), (5, 3, 8, 8), (5, 63), (5, 8, 8, 8)], ids=str)
def test_inputs_that_the_model_was_not_trained_on(warm, unbroken, tmp_path, shape):
    of_shapes(shape)(tmp_path)
    ended = warm.run("predict", unbroken("batch norm and dropout")[0], "t.npz", cwd=tmp_path)
    told(ended, 3, "t.npz", str(shape[1:]), "training had (1, 8, 8)")


@pytest.mark.short("vit-dataset=iris")
@pytest.mark.parametrize("dataset", ["dataset=iris", "dataset=parity", "dataset=copy_memory", "dataset=diabetes"])
@pytest.mark.parametrize("model", ["vit", "cnn", "airbench", "vae", "gan", "rnn", "transformer"])
def test_a_model_and_data_of_another_kind(warm, dataset, model):
    """Either they go together, or it is said what the model wants and what the data are, before a step is taken."""
    ended = warm.run("train", dataset, f"model={model}", "training.steps=1", "decompose.budget=none")
    if ended.code:
        told(ended, 2, f"model '{model}' ", dataset.removeprefix("dataset="))
        assert "step" not in ended.out


def test_constant_columns_and_copies_are_a_warning_before_the_first_step(warm, tmp_path):
    """And copies where few values make them likely are none."""
    rows = [f"{n * 0.37},{n % 11 * 0.1 + n},5,{n % 2}\n" for n in range(60)]
    words = csv("a,b,c,y\n" + "".join(rows + rows[:20]))[0](tmp_path)
    ended = warm.run("train", *words, "training.epochs=2", "run_dir=r", cwd=tmp_path)
    assert ended.code == 0 and not ended.err
    before, _, after = ended.out.partition("epoch 1")
    assert "warning: of 3 features, constant in train: 'c'\n" in before and "training examples are copies" in before
    told = [warning["text"] for warning in json.loads((tmp_path / "r" / "summary.json").read_text())["warnings"]]
    assert any("constant" in text for text in told) and any("copies" in text for text in told) and "'c'" in after
    events = warm.run("train", *words, "training.epochs=1", "--log", "json", cwd=tmp_path).out
    assert sum(json.loads(line)["event"] == "warning" for line in events.splitlines()) == 2
    assert "copies" not in warm.run("train", "dataset=parity", "dataset.length=8", "training.steps=1").out


def test_data_that_changed_are_not_gone_on_with(warm, tmp_path):
    words = csv(GOOD)[0](tmp_path)
    assert warm.run("train", *words, "training.epochs=2", "run_dir=r", cwd=tmp_path).code == 0
    (tmp_path / "t.csv").write_text(changed(17, "3,3,no\n"))
    told(warm.run("resume", "r", "training.epochs=4", cwd=tmp_path), 4, "set has changed")
    (tmp_path / "t.csv").unlink()
    told(warm.run("resume", "r", "training.epochs=4", cwd=tmp_path), 3, "t.csv")
