"""CIFAR archives and folders in the official layout, with small stand-ins pinned in place of the real files."""

import hashlib
import io
import tarfile

import numpy as np
import pytest

from dlcli.datasets import cifar
from dlcli.errors import DataError


def stand_in(names, labels, classes, per_file=6, seed=0):
    """Files of random records under the official names. -> name -> content"""
    generator = np.random.default_rng(seed)
    files = {}
    for name in names:
        rows = generator.integers(256, size=(per_file, labels + cifar.PIXELS), dtype=np.uint8)
        for column, count in enumerate(classes):
            rows[:, column] = generator.integers(count, size=per_file)
        files[name] = rows.tobytes()
    return files


def pins(files):
    return {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in files.items()}


def archive(path, folder, files):
    with tarfile.open(path, "w:gz") as packed:
        for name, content in {"readme.html": b"about", **files}.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))


@pytest.fixture
def ten(monkeypatch):
    files = stand_in(cifar.CIFAR10_FILES, 1, [10])
    monkeypatch.setattr(cifar, "CIFAR10_FILES", pins(files))
    return files


@pytest.fixture
def hundred(monkeypatch):
    files = stand_in(cifar.CIFAR100_FILES, 2, [20, 100])
    monkeypatch.setattr(cifar, "CIFAR100_FILES", pins(files))
    return files


def unpacked(folder, files):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("layout", ["the archive", "its folder", "unpacked", "unpacked in its folder"])
def test_every_layout_of_root_gives_the_same_examples(tmp_path, ten, layout):
    path = tmp_path / "cifar-10-binary.tar.gz"
    if layout in ("the archive", "its folder"):
        archive(path, "cifar-10-batches-bin", ten)
        root = path if layout == "the archive" else tmp_path
    else:
        root = tmp_path / "here"
        unpacked(root / "cifar-10-batches-bin" if layout == "unpacked in its folder" else root, ten)
    source = cifar.cifar10(root=str(root))
    assert source.train.inputs.shape == (30, 3, 32, 32) and source.test.inputs.shape == (6, 3, 32, 32)
    record = np.frombuffer(ten["data_batch_2.bin"], np.uint8).reshape(6, -1)[1]
    assert source.train.targets[7] == record[0]
    assert source.train.inputs[7, 2, 31, 30] == record[1 + 2 * 1024 + 31 * 32 + 30]  # planes of red, green, blue
    assert len(source.classes) == 10 and source.classes[3] == "cat"


def test_cifar100_has_two_kinds_of_labels(tmp_path, hundred):
    archive(tmp_path / "cifar-100-binary.tar.gz", "cifar-100-binary", hundred)
    record = np.frombuffer(hundred["train.bin"], np.uint8).reshape(6, -1)
    for labels, column, count in (("coarse", 0, 20), ("fine", 1, 100)):
        source = cifar.cifar100(root=str(tmp_path), labels=labels)
        np.testing.assert_array_equal(source.train.targets, record[:, column])
        assert len(source.classes) == len(set(source.classes)) == count
        assert list(source.classes) == sorted(source.classes)


def test_a_member_that_is_missing_short_or_changed_is_refused(tmp_path, ten):
    path = tmp_path / "cifar-10-binary.tar.gz"
    changed = bytearray(ten["test_batch.bin"])
    changed[100] ^= 1
    for content, message in ((None, "has no member test_batch.bin"), (ten["test_batch.bin"][:-1], "expected 18438")):
        archive(path, "x", {name: part for name, part in ten.items() if name != "test_batch.bin"})
        if content is not None:
            archive(path, "x", ten | {"test_batch.bin": content})
        with pytest.raises(DataError, match=message):
            cifar.cifar10(root=str(tmp_path))
    archive(path, "x", ten | {"test_batch.bin": bytes(changed)})
    with pytest.raises(DataError, match=r"test_batch\.bin is damaged: sha256"):
        cifar.cifar10(root=str(tmp_path))


def test_a_damaged_archive_or_folder_is_refused(tmp_path, ten):
    path = tmp_path / "cifar-10-binary.tar.gz"
    archive(path, "cifar-10-batches-bin", ten)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match="is damaged"):
        cifar.cifar10(root=str(tmp_path))
    unpacked(tmp_path / "here", ten)
    (tmp_path / "here" / "data_batch_3.bin").write_bytes(ten["data_batch_3.bin"] + b"x")
    with pytest.raises(DataError, match="holds 18439 bytes; expected 18438"):
        cifar.cifar10(root=str(tmp_path / "here"))


def test_the_pickled_archive_is_not_taken_for_the_binary_one(tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").touch()
    with pytest.raises(DataError, match="no official files of cifar10") as caught:
        cifar.cifar10(root=str(tmp_path))
    assert "cifar-10-binary.tar.gz" in caught.value.hint
