"""Data files that are missing, damaged or hostile. Each function that takes a folder makes one there, and returns the
words of a command that reads it."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

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


def of_shapes(train, test=None, kind="float32", test_kind="float32"):
    """Arrays of zeros and ones."""

    def deed(folder):
        draw = np.random.default_rng(0)
        arrays = {"x": draw.integers(0, 2, train).astype(kind), "y": np.arange(train[0]) % 2}
        if test:
            arrays |= {"x_test": draw.integers(0, 2, test).astype(test_kind), "y_test": np.arange(test[0]) % 2}
        return npz(folder, **arrays)

    return deed


def of_other_columns(folder):
    (folder / "other.csv").write_text(GOOD.replace("a,b,y", "a,c,y"))
    return [*csv(GOOD)[0](folder), "dataset.test_path=other.csv"]


def flipped_bit(folder):
    """One, in the content of one of the four files of a pinned set."""
    source = Path(os.environ.get("DLCLI_DATA", "missing")) / "fashion-mnist"
    if not source.is_dir():
        pytest.skip("DLCLI_DATA names no folder with fashion-mnist")
    for path in source.iterdir():
        if path.name.startswith("t10k-labels"):
            labels = bytearray(gzip.decompress(path.read_bytes()))
            labels[1000] ^= 1
            (folder / path.name).write_bytes(gzip.compress(labels))
        else:
            (folder / path.name).symlink_to(path)
    return ["dataset=fashion_mnist", "dataset.root=."]


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


def million_members(name, suffix, distinct=True):
    """A small archive whose list names a million members, all of the same few bytes."""

    def deed(folder):
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr(f"a/00000000{suffix}", b"")
        content = (folder / name).read_bytes()
        start, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
        before, after = content[start:end].split(b"00000000")
        entries = b"".join(before + b"%08d" % (number if distinct else 0) + after for number in range(1_000_000))
        counts = struct.pack("<2H2L4Q", 45, 45, 0, 0, 1_000_000, 1_000_000, len(entries), start)  # of ZIP64
        counts = b"PK\x06\x06" + struct.pack("<Q", len(counts)) + counts
        counts += struct.pack("<4sLQL", b"PK\x06\x07", 0, start + len(entries), 1)
        last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
        (folder / name).write_bytes(content[:start] + entries + counts + last)
        return [f"dataset={'npz' if suffix == '.npy' else 'image_folder'}", f"dataset.path={name}"]

    return deed


def million_headers(folder):
    """A packed tar of empty files."""
    with gzip.open(folder / "images.tar.gz", "wb", 1) as packed:
        for number in range(1_000_000):
            packed.write(tarfile.TarInfo(f"a/{number}.txt").tobuf(tarfile.USTAR_FORMAT))
    return ["dataset=image_folder", "dataset.path=images.tar.gz"]


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
