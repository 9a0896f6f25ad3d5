from __future__ import annotations

import io
import os
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcli.datasets import npz as module
from dlcli.datasets.npz import npz
from dlcli.errors import DataError

NAMES = ("x", "y", "x_validation", "y_validation", "x_test", "y_test")
DEFAULTS = {**dict.fromkeys(NAMES, "auto"), "kind": "auto", "layout": "auto"}
X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture
def load(tmp_path):
    def save_and_read(arrays, save=np.savez, **changed):
        save(tmp_path / "my.npz", **arrays)
        return npz(path=str(tmp_path / "my.npz"), **{**DEFAULTS, **changed})

    return save_and_read


def refused(path, **changed):
    with pytest.raises(DataError) as caught:
        npz(path=str(path), **{**DEFAULTS, **changed})
    for text in (caught.value.message, caught.value.hint):
        assert len(text) <= 200 and text.isprintable()
    return caught.value.message.split("my.npz'")[-1].lstrip(",: ")


@pytest.fixture
def refusal(tmp_path):
    def save_and_fail(arrays, **changed):
        np.savez(tmp_path / "my.npz", **arrays)
        return refused(tmp_path / "my.npz", **changed)

    return save_and_fail


@pytest.fixture
def member(tmp_path):
    """Write a file with valid targets and a hand-made member x.npy."""

    def write(header, body=b"", version=b"\x01\x00", compression=zipfile.ZIP_STORED):
        targets = io.BytesIO()
        np.save(targets, Y)
        header = header.encode() + b"\n"
        length = len(header).to_bytes(2 if version == b"\x01\x00" else 4, "little")
        with zipfile.ZipFile(tmp_path / "my.npz", "w", compression) as archive:
            archive.writestr("x.npy", b"\x93NUMPY" + version + length + header + body)
            archive.writestr("y.npy", targets.getvalue())
        return tmp_path / "my.npz"

    return write


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f8", "i2", ">i4", "u8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_those_that_numpy_loads(load, save, dtype, order):
    x = np.asarray(X, dtype, order=order)
    source = load({"x": x, "y": Y}, save)
    assert np.array_equal(source.train.inputs, x) and source.train.inputs.dtype.kind == "f"
    assert np.array_equal(source.train.targets, Y) and source.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test", "x_val", "y_val"),
        ("train_images", "train_labels", "test_images", "test_labels", "val_images", "val_labels"),
        ("X", "y", "X_test", "y_test", "X_valid", "y_valid"),
        ("data", "target", "test_data", "test_target", "validation_data", "validation_target"),
    ],
)
def test_the_usual_names_are_found(load, names):
    values = (X, Y, X[:3] + 1, Y[:3], X[:2] + 2, Y[:2])
    source = load(dict(zip(names, values, strict=True)))
    parts = (*source.train, *source.test, *source.validation)
    assert all(np.array_equal(part, value) for part, value in zip(parts, values, strict=True))


def test_names_in_the_config_are_used_and_null_leaves_a_split_out(load):
    arrays = {"left": X, "right": Y, "x_test": X, "y_test": Y, "junk": np.array([{}], object)}
    source = load(arrays, x="left", y="right", x_test=None, y_test=None)
    assert np.array_equal(source.train.inputs, X) and source.test is None


@pytest.mark.parametrize(
    ("y", "targets", "classes"),
    [
        (np.array(["b", "a", "b", "c", "a", "b"]), [1, 0, 1, 2, 0, 1], ("a", "b", "c")),
        (np.array([b"b", b"a", b"b", b"c", b"a", b"b"]), [1, 0, 1, 2, 0, 1], ("a", "b", "c")),
        (Y[:, None], [0, 1, 2, 0, 1, 2], ("0", "1", "2")),
        (np.eye(3)[Y], [0, 1, 2, 0, 1, 2], ("0", "1", "2")),
        (X[:, 0] / 3, (X[:, :1] / 3).tolist(), ()),
        (X / 3, (X / 3).tolist(), ()),
    ],
)
def test_targets_are_read_by_what_they_look_like(load, y, targets, classes):
    source = load({"x": X, "y": y})
    assert source.train.targets.tolist() == targets and source.classes == classes


def test_pixels_stay_bytes_and_channels_come_first(load):
    images = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), np.uint8)
    source = load({"x": images, "y": Y})
    assert source.train.inputs.dtype == np.uint8
    assert np.array_equal(source.train.inputs, images.transpose(0, 3, 1, 2))
    assert "images, channels last (dataset.layout=auto)" in source.notes[0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "no array found for the targets of train"),
        ({"a": X, "y": Y}, "no array found for the inputs of train"),
        ({"x": X, "y": Y, "x_test": X}, "no array found for the targets of test"),
        ({"x": X, "X_train": X, "y": Y}, "'x', 'X_train' could all be meant for train"),
        ({"x": X[:5], "y": Y}, "train: 5 rows of 'x', 6 of 'y'"),
        ({"x": X[:, 0], "y": Y}, "array 'x': one number per example, shape (6,)"),
        ({"x": np.where(X == 7, np.nan, X), "y": Y}, "array 'x', row 3, column 1 (from 0): nan is not finite"),
        ({"x": X, "y": np.where(Y == 2, np.inf, Y)}, "array 'y', row 2 (from 0): inf is not finite"),
        ({"x": X[:0], "y": Y[:0]}, "array 'x': shape (0, 2) holds no examples"),
        ({"x": X.astype(complex), "y": Y}, "array 'x': type complex128 is neither numbers nor texts"),
        ({"x": X.astype(str), "y": Y}, "array 'x': texts are no inputs"),
        ({"x": X.astype(object), "y": Y}, "array 'x': Python objects, which could run code when read"),
        (
            {"x": X, "y": Y, "x_test": X, "y_test": Y + 1},
            "array 'y_test', row 2 (from 0): class '3' is not in the training split",
        ),
        ({"x": X, "y": Y, "x_test": X, "y_test": X}, "the splits have different numbers of targets"),
    ],
)
def test_what_is_wrong_is_named(refusal, arrays, message):
    assert refusal(arrays) == message


def test_a_name_that_is_not_there_is_refused(refusal):
    assert refusal({"x": X, "y": Y}, x="pixels") == "has no array 'pixels'"


def test_a_pickle_is_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    np.savez(tmp_path / "my.npz", x=np.array([[Bomb()]] * 6, object), y=Y)
    assert "Python objects" in refused(tmp_path / "my.npz")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ("(8000000000000, 8)", "<f8", "needs 512000000000000 bytes, 96 are there"),
        ("(6, 3)", "<f8", "needs 144 bytes, 96 are there"),
        ("(-6, -2)", "<f8", "shape (-6, -2)"),
        ("(6, 2, 0)", "<f8", "holds no examples"),
        ("(1000000000000, 1)", "<U0", "neither numbers nor texts"),
        ("(6, 2)", "|O", "Python objects"),
        ("6", "<f8", "no readable npz file"),
        ("(" * 3000 + ")" * 3000, "<f8", "no readable npz file"),
        ("(6, 2),", "<f8" + " " * 20_000, "no readable npz file"),
    ],
)
def test_a_header_that_lies_is_refused_before_memory_is_taken(member, shape, dtype, message):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}"
    assert message in refused(member(header, X.tobytes()))


def test_a_header_of_the_long_form_is_not_even_read(member):
    assert "header version 2.0" in refused(member(" " * 70_000, version=b"\x02\x00"))


def test_a_bomb_is_refused_by_its_ratio(member, monkeypatch):
    monkeypatch.setattr(module, "FREE_BYTES", 1000)
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (6, 100000)}"
    assert "600000 bytes out of" in refused(member(header, bytes(600_000), compression=zipfile.ZIP_DEFLATED))


def test_two_arrays_of_one_name_and_another_format_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "my.npz", "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("x.npy", b"1")
        archive.writestr("x.npy", b"2")
    assert refused(tmp_path / "my.npz").endswith("two arrays have one name")
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "x.npy").rename(tmp_path / "my.npz")
    assert refused(tmp_path / "my.npz") == "is no readable npz file: File is not a zip file"


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_is_refused_or_read_never_another_error(tmp_path_factory, data):
    buffer = io.BytesIO()
    save = data.draw(st.sampled_from([np.savez, np.savez_compressed]))
    save(buffer, x=X, y=np.array(["a", "b", "c", "a", "b", "c"]), extra=X[:1])
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    path = tmp_path_factory.mktemp("damaged") / "my.npz"
    path.write_bytes(content)
    try:
        source = npz(path=str(path), **DEFAULTS)
    except DataError as fault:
        assert len(fault.message) <= 200 and fault.message.isprintable()
    else:  # checksums guard the arrays; only names and times of the archive may have changed
        assert np.array_equal(source.train.inputs, X) and source.train.targets.tolist() == [0, 1, 2, 0, 1, 2]
