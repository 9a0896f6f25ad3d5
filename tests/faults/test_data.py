"""Group B of the catalogue: data that are missing, damaged or hostile end with code 3 before a run directory exists."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest

from tests.faults.told import told

GOOD = "a,b,y\n" + "".join(f"{n % 7},{n * n % 11},{'no' if n % 3 else 'yes'}\n" for n in range(60))
ROWS = GOOD.splitlines(keepends=True)


def csv(content, *fragments, **circumstances):
    def deed(folder):
        content_now = content() if callable(content) else content
        (folder / "t.csv").write_bytes(content_now if isinstance(content_now, bytes) else content_now.encode())
        return ["dataset=csv", "dataset.path=t.csv"]

    return deed, fragments, circumstances.get("code", 3)


def changed(row, text):
    return "".join([*ROWS[:row], text, *ROWS[row + 1 :]])


def missing(folder):
    return ["dataset=csv", "dataset.path=t.csv"]


def a_folder(folder):
    (folder / "t.csv").mkdir()
    return missing(folder)


def dangling(folder):
    (folder / "t.csv").symlink_to("nowhere")
    return missing(folder)


def pipe(folder):
    os.mkfifo(folder / "t.csv")
    return missing(folder)


def endless(folder):
    (folder / "t.csv").symlink_to("/dev/zero")
    return missing(folder)


class Canary:
    def __reduce__(self):
        return os.system, ("touch canary",)


def npz(folder, **arrays):
    np.savez(folder / "t.npz", **arrays)
    return ["dataset=npz", "dataset.path=t.npz"]


def object_array(folder):
    content = io.BytesIO()
    np.lib.format.write_array(content, np.array([Canary()] * 3, dtype=object), allow_pickle=True)
    with zipfile.ZipFile(folder / "t.npz", "w") as archive:
        archive.writestr("x.npy", content.getvalue())
        archive.writestr("y.npy", content.getvalue())
    return ["dataset=npz", "dataset.path=t.npz"]


def pickle_as_npz(folder):
    (folder / "t.npz").write_bytes(pickle.dumps(Canary()))
    return ["dataset=npz", "dataset.path=t.npz"]


def declared(shape, header_size=None):
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * ((header_size or 118) - len(text)) + "\n"
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text.encode()


def npz_of(content):
    def deed(folder):
        with zipfile.ZipFile(folder / "t.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.npy", content)
            archive.writestr("y.npy", content)
        return ["dataset=npz", "dataset.path=t.npz"]

    return deed


def not_finite(folder):
    x = np.zeros((40, 3), np.float32)
    x[17, 2] = np.nan
    return npz(folder, x=x, y=np.arange(40) % 2)


def label_not_finite(folder):
    y = (np.arange(40) % 2).astype(float)
    y[5] = np.nan
    return npz(folder, x=np.random.default_rng(0).normal(size=(40, 3)), y=y)


def different_lengths(folder):
    return npz(folder, x=np.zeros((40, 3)), y=np.zeros(39))


def truncated_npz(folder):
    npz(folder, x=np.random.default_rng(0).normal(size=(40, 3)), y=np.arange(40) % 2)
    os.truncate(folder / "t.npz", 700)
    return ["dataset=npz", "dataset.path=t.npz"]


def parquet(content):
    def deed(folder):
        (folder / "t.parquet").write_bytes(content() if callable(content) else content)
        return ["dataset=parquet", "dataset.path=t.parquet"]

    return deed


def table_of(**columns):
    """A parquet file of forty rows."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as format

    content = io.BytesIO()
    format.write_table(pyarrow.table({name: column(pyarrow) for name, column in columns.items()}), content)
    return content.getvalue()


def numbers(pyarrow):
    return pyarrow.array([n % 7 for n in range(40)])


def billion_rows():
    """A good file but for its footer, where the forty rows (Thrift: field 3, an i64, zigzag) are two billion."""
    content = table_of(a=numbers, b=numbers, y=numbers)
    start, place = len(content) - 8 - int.from_bytes(content[-8:-4], "little"), content.rindex(b"\x16\x50\x19")
    footer = content[start:place] + b"\x16\x80\xd0\xac\xf3\x0e" + content[place + 2 : -8]
    return content[:start] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def of_another_type():
    return table_of(a=numbers, b=lambda pyarrow: pyarrow.array([bytes(16)] * 40, pyarrow.uuid()), y=numbers)


def nested():
    return table_of(a=numbers, b=lambda pyarrow: pyarrow.array([{"c": n} for n in range(40)]), y=numbers)


def bomb(name):
    """An archive or a packed file of zeros, a thousandth of what it unpacks to."""

    def deed(folder):
        path = folder / name
        if name.endswith(".zip"):
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for number in range(2):
                    archive.writestr(f"a/{number}.png", bytes(150_000_000))
        elif name.endswith(".tar.gz"):
            with tarfile.open(path, "w:gz") as archive:
                member = tarfile.TarInfo("a/1.png")
                member.size = 200_000_000
                archive.addfile(member, io.BytesIO(bytes(member.size)))
        return ["dataset=image_folder", f"dataset.path={name}"]

    return deed


def forged_members(folder):
    """A list that names one member again and again."""
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        archive.writestr("a/1.png", b"")
    content = (folder / "images.zip").read_bytes()
    entry = content[content.index(b"PK\x01\x02") : content.index(b"PK\x05\x06")]
    (folder / "images.zip").write_bytes(content.replace(entry, entry * 1_000_000))
    return ["dataset=image_folder", "dataset.path=images.zip"]


def images(write):
    def deed(folder):
        write(folder)
        return ["dataset=image_folder", "dataset.path=images"]

    return deed


def png(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * min(height * (width + 1), 10_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def folder_of(files):
    def write(folder):
        for name, content in files.items():
            path = folder / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    return images(write)


def two_classes(content):
    return folder_of({f"{label}/{n}.png": content for label in "ab" for n in range(5)})


def archive_with(*members):
    def deed(folder):
        with tarfile.open(folder / "images.tar.gz", "w:gz") as archive:
            for name, kind, target in members:
                member = tarfile.TarInfo(name)
                member.type, member.linkname = kind, target
                content = png(8, 8) if kind == tarfile.REGTYPE else b""
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return ["dataset=image_folder", "dataset.path=images.tar.gz"]

    return deed


def idx(change):
    def deed(folder):
        (folder / "mnist").mkdir()
        for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
            (folder / "mnist" / f"{name}-ubyte.gz").write_bytes(change)
        return ["dataset=fashion_mnist", "dataset.root=mnist"]

    return deed


def text(content):
    def deed(folder):
        (folder / "t.txt").write_bytes(content)
        return ["dataset=text", "dataset.path=t.txt", "model=rnn"]

    return deed


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
    # B6, B7, B8
    "no number": csv(changed(17, "1,nan,yes\n"), "line 18", "b"),
    "infinite": csv(changed(17, "1,inf,yes\n"), "line 18", "b"),
    "missing cell": csv(changed(17, "1,,yes\n"), "line 18"),
    "missing label": csv(changed(17, "1,2,\n"), "line 18"),
    "label not finite": (label_not_finite, ["5"], 3),
    "feature not finite": (not_finite, ["17"], 3),
    "different lengths": (different_lengths, ["40", "39"], 3),
    "unknown target": (lambda folder: [*csv(GOOD)[0](folder), "dataset.target=z"], ["z"], 3),
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
    "a million names of one member": (forged_members, ["images.zip"], 3),
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
    "foreign IDX": (idx(gzip.compress(b"nothing")), ["mnist"], 3),
    "page in place of IDX": (idx(b"<html>404</html>"), ["mnist"], 3),
    "empty text": (text(b""), ["t.txt"], 3),
    "text of other bytes": (text(b"\xff\xfe\x00" * 1000), ["t.txt"], 3),
    "short text": (text(b"to be"), ["tokens"], 3),
}


@pytest.mark.parametrize("case", CASES)
def test_unusable_data(warm, tmp_path, case):
    deed, fragments, code = CASES[case]
    words = deed(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    ended = warm.start("train", *words, cwd=tmp_path).wait(60)
    told(ended, code, *fragments)
    assert {path.name for path in tmp_path.iterdir()} == before, "something was written"


def test_a_constant_column_is_a_warning(warm, tmp_path):
    words = csv("a,b,c,y\n" + "".join(f"{n % 7},{n * n % 11},5,{n % 2}\n" for n in range(60)))[0](tmp_path)
    assert warm.run("train", *words, "training.epochs=2", "run_dir=r", cwd=tmp_path).code == 0
    warnings = json.loads((tmp_path / "r" / "summary.json").read_text())["warnings"]
    assert any("constant" in warning["text"] and "c" in warning["text"] for warning in warnings)


def test_data_that_changed_are_not_gone_on_with(warm, tmp_path):
    words = csv(GOOD)[0](tmp_path)
    assert warm.run("train", *words, "training.epochs=2", "run_dir=r", cwd=tmp_path).code == 0
    (tmp_path / "t.csv").write_text(changed(17, "3,3,no\n"))
    told(warm.run("resume", "r", "training.epochs=4", cwd=tmp_path), 4, "set has changed")
    (tmp_path / "t.csv").unlink()
    told(warm.run("resume", "r", "training.epochs=4", cwd=tmp_path), 3, "t.csv")
