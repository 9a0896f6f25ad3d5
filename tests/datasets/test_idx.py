"""IDX files: the real Fashion-MNIST where it is at hand, and whatever can be wrong with such files."""

import gzip
import hashlib
import os
import shutil
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from dlcli.datasets import idx
from dlcli.datasets.idx import FILES, GARMENTS, Content, fashion_mnist, parse, present, unpack
from dlcli.errors import DataError

DATA = Path(os.environ.get("DLCLI_DATA", "missing"))
REAL = pytest.mark.skipif(
    not (DATA / "fashion-mnist").is_dir(), reason="DLCLI_DATA names no folder with fashion-mnist/"
)


def encoded(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


IMAGES = np.random.default_rng(0).integers(256, size=(7, 28, 28), dtype=np.uint8)
PLAIN = encoded(IMAGES)
PINNED = Content(len(PLAIN), hashlib.sha256(PLAIN).hexdigest())


@REAL
@pytest.mark.parametrize("plain", [False, True], ids=["as packed", "one file unpacked"])
def test_the_real_fashion_mnist_is_read(tmp_path, plain):
    root = DATA / "fashion-mnist"
    if plain:
        shutil.copytree(root, tmp_path, dirs_exist_ok=True)
        packed = tmp_path / f"{FILES[3]}.gz"
        (tmp_path / FILES[3]).write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
        root = tmp_path
    source = fashion_mnist(root=str(root))
    assert source.train.inputs.shape == (60000, 1, 28, 28) and source.test.inputs.shape == (10000, 1, 28, 28)
    assert np.bincount(source.train.targets).tolist() == [6000] * 10
    assert np.bincount(source.test.targets).tolist() == [1000] * 10
    assert source.train.inputs.mean() / 255 == pytest.approx(0.2860, abs=5e-5)  # the constants that the field uses
    assert source.train.inputs.std() / 255 == pytest.approx(0.3530, abs=5e-5)
    assert source.classes[source.train.targets[0]] == "ankle boot" and len(GARMENTS.split(",")) == 10


@REAL
def test_one_flipped_bit_of_the_real_files_is_refused(tmp_path):
    shutil.copytree(DATA / "fashion-mnist", tmp_path, dirs_exist_ok=True)
    path = tmp_path / f"{FILES[1]}.gz"
    labels = bytearray(gzip.decompress(path.read_bytes()))
    labels[1000] ^= 1
    path.unlink()
    path.write_bytes(gzip.compress(bytes(labels)))
    with pytest.raises(DataError, match="is damaged or another file: sha256") as caught:
        fashion_mnist(root=str(tmp_path))
    assert "train-labels" in caught.value.message


def test_a_root_without_the_files_says_what_it_must_hold(tmp_path):
    with pytest.raises(DataError, match="no official files of fashion_mnist") as caught:
        fashion_mnist(root=str(tmp_path))
    assert "train-images-idx3-ubyte.gz" in caught.value.hint and len(caught.value.hint) <= 200


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_an_array_survives_the_file(tmp_path, suffix):
    path = tmp_path / f"images{suffix}"
    path.write_bytes(gzip.compress(PLAIN) if suffix else PLAIN)
    np.testing.assert_array_equal(parse(unpack(path, PINNED), path), IMAGES)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_cut_anywhere_or_continued_are_refused(tmp_path, suffix):
    whole = gzip.compress(PLAIN) if suffix else PLAIN
    path = tmp_path / f"images{suffix}"
    for content in (*(whole[:size] for size in {0, 1, 4, 9, *range(10, len(whole), 97), len(whole) - 1}), whole + b"x"):
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            unpack(path, PINNED)
        assert len(caught.value.message) <= 200 and caught.value.hint


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_flipped_bit_never_changes_the_content_unnoticed(tmp_path, suffix):
    whole = gzip.compress(PLAIN) if suffix else PLAIN
    path = tmp_path / f"images{suffix}"
    noticed = 0
    for position in range(0, len(whole), 41):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        try:
            assert unpack(path, PINNED) == PLAIN  # a date in a gzip header
        except DataError:
            noticed += 1
    assert noticed > len(whole) // 41 - 3


def test_a_bomb_is_read_no_further_than_the_pinned_size(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(bytes(64 << 20), 1))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=f"more than {PINNED.size} bytes"):
            unpack(path, PINNED)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "magic number"),
        (b"<html>", "no IDX file"),
        (b"\0\0\x0d\1" + bytes(8), "no IDX file"),  # floats
        (b"\0\0\x08\0", "no IDX file"),
        (b"\0\0\x08\3\0\0", "ends within its header of 16 bytes"),
        (PLAIN[:-1], "declares 5504 bytes and holds 5503"),
        (b"\0\0\x08\3" + b"\xff" * 12, "declares"),
    ],
)
def test_what_is_no_idx_array_is_refused(content, message):
    with pytest.raises(DataError, match=message):
        parse(content, Path("images"))


def test_all_four_files_must_be_there_under_any_of_their_names(tmp_path):
    for name in (FILES[0], f"{FILES[1]}.gz", FILES[2].replace("-idx", ".idx")):
        (tmp_path / name).touch()
    assert present(tmp_path) is None
    (tmp_path / FILES[3]).touch()
    assert [path.name for path in present(tmp_path)] == [
        FILES[0],
        f"{FILES[1]}.gz",
        "t10k-images.idx3-ubyte",
        FILES[3],
    ]
    (tmp_path / FILES[3]).unlink()
    (tmp_path / FILES[3]).symlink_to(tmp_path / "gone")
    assert present(tmp_path) is None


def test_sizes_and_sums_are_pinned_for_each_file():
    for sums in (idx.FASHION_CONTENTS, idx.MNIST_CONTENTS):
        assert len(set(sums)) == 4 and all(len(digest) == 64 for digest in sums)
    assert [size - 16 for size in idx.SIZES[::2]] == [60000 * 784, 10000 * 784]
