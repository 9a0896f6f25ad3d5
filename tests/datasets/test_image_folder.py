from __future__ import annotations

import io
import os
import struct
import tarfile
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dlcli.datasets.image_folder import image_folder
from dlcli.datasets.pictures import Files
from dlcli.errors import DataError

DEFAULTS = {"size": None, "channels": "auto", "streaming": "auto"}
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 6, 5, 3), np.uint8)
NAMES = (
    "train/cat/1",
    "train/cat/2",
    "train/dog/1",
    "train/dog/2",
    "test/cat/1",
    "test/dog/1",
    "val/cat/1",
    "val/dog/1",
)


def encoded(pixels, kind="png", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


FILES = {f"{name}.png": encoded(pixels) for name, pixels in zip(NAMES, PIXELS, strict=True)}


def write(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DLCLI_CACHE", str(tmp_path / "cache"))


def load(root, **changed):
    return image_folder(path=str(root), **{**DEFAULTS, **changed})


def refused(root, **changed):
    with pytest.raises(DataError) as caught:
        load(root, **changed)
    for text in (caught.value.message, caught.value.hint):
        assert len(text) <= 200 and text.isprintable()
    return caught.value.message.split("/images'")[-1].lstrip(": ")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "images"


def test_folders_give_splits_classes_and_the_pixels_of_the_files(root):
    source = load(write(root, FILES))
    channels_first = PIXELS.transpose(0, 3, 1, 2)
    assert source.classes == ("cat", "dog")
    for part, start, stop in ((source.train, 0, 4), (source.test, 4, 6), (source.validation, 6, 8)):
        assert part.inputs.dtype == np.uint8 and np.array_equal(part.inputs, channels_first[start:stop])
    assert source.train.targets.tolist() == [0, 0, 1, 1] and source.test.targets.tolist() == [0, 1]


@pytest.mark.parametrize("suffix", [".tar.gz", ".tgz", ".tar", ".zip"])
@pytest.mark.parametrize("wrapper", ["", "./", "download/pets/"])
def test_an_archive_gives_what_the_folder_gives(root, tmp_path, suffix, wrapper):
    folder, archive = load(write(root, FILES)), tmp_path / f"images{suffix}"
    files = dict(reversed(FILES.items())) | {"__MACOSX/train/._1.png": b"junk", ".DS_Store": b"junk"}
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for name, content in files.items():
                packed.writestr(wrapper + name, content)
    else:
        with tarfile.open(archive, "w:" if suffix == ".tar" else "w:gz") as packed:
            for name, content in files.items():
                member = tarfile.TarInfo(wrapper + name)
                member.size = len(content)
                packed.addfile(member, io.BytesIO(content))
    source = load(archive)
    for split in ("train", "validation", "test"):
        for ours, theirs in zip(getattr(source, split), getattr(folder, split), strict=True):
            assert np.array_equal(ours, theirs)


def test_without_split_folders_all_is_train_and_other_files_get_a_note(root):
    source = load(
        write(root, {"cat/a.PNG": FILES["train/cat/1.png"], "dog/b.png": FILES["train/dog/1.png"], "README": b""})
    )
    assert len(source.train.inputs) == 2 and source.test is None
    assert source.notes == ("1 file with other suffixes not read, such as 'README'",)


def test_grey_images_have_one_channel_unless_another_has_colour(root):
    grey = encoded(PIXELS[0, ..., 0])
    assert load(write(root, {"a/1.png": grey, "b/1.png": grey})).train.inputs.shape == (2, 1, 6, 5)
    source = load(write(root, {"b/2.png": encoded(PIXELS[1])}))
    assert np.array_equal(source.train.inputs[0], np.stack([PIXELS[0, ..., 0]] * 3))
    assert load(root, channels=1).train.inputs.shape == (3, 1, 6, 5)
    assert load(write(root / "grey", {"a/1.png": grey, "b/1.png": grey}), channels=3).train.inputs.shape[1] == 3


def test_size_resizes_the_shorter_side_and_crops_the_centre(root):
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, 20:60] = 200  # the centre square
    tall = wide.transpose(1, 0, 2)
    write(root, {"a/1.png": encoded(wide), "b/1.png": encoded(tall), "b/2.jpg": encoded(wide, "jpeg", quality=95)})
    inputs = load(root, size=10).train.inputs
    assert inputs.shape == (3, 3, 10, 10)
    assert np.abs(inputs[:, :, 1:-1, 1:-1].astype(int) - 200).max() <= 3


def test_a_photo_is_turned_as_the_camera_says(root):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    flat = np.zeros((8, 16, 3), np.uint8)
    flat[:, :8] = 255  # left half white: at the top once turned
    write(root, {"a/1.jpg": encoded(flat, "jpeg", exif=exif), "b/1.jpg": encoded(flat, "jpeg", exif=exif)})
    inputs = load(root).train.inputs
    assert inputs.shape == (2, 3, 16, 8) and inputs[0, :, :8].min() > 250 and inputs[0, :, 8:].max() < 5


def test_large_images_decoded_by_threads_are_the_same(root):
    noise = np.random.default_rng(1).integers(0, 256, (3, 100, 100, 3), np.uint8)  # 30 kB each as PNG
    source = load(write(root, {f"{name}/1.png": encoded(pixels) for name, pixels in zip("abc", noise, strict=True)}))
    assert np.array_equal(source.train.inputs, noise.transpose(0, 3, 1, 2))


def bomb(width, height):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("bad.png", bomb(65000, 65000), "has more than 67108864 pixels"),
        ("bad.png", bomb(10000, 9500), "has more than 67108864 pixels"),
        ("bad.png", bomb(9000, 9000), "has 9000 x 9000 pixels; at most 67108864 are read"),
        ("bad.jpg", encoded(np.tile(PIXELS[0], (8, 8, 1)), "jpeg")[:-400], "is damaged: image file is t"),
        ("bad.png", FILES["train/cat/1.png"][:60], "is damaged: "),
        ("bad.png", b"GIF is what I am not", "is no readable image"),
        ("bad.png", encoded(np.zeros((6, 5), np.uint16)), "has more than 8 bits per pixel (mode I;16)"),
        ("bad.png", encoded(PIXELS[0][:, :4]), "has 4 x 6 pixels, the first one 5 x 6"),
        ("ba\x1bd.png", b"x", "is no readable image"),
    ],
)  # fmt: skip
def test_an_image_that_is_not_usable_is_named(root, file, content, message):
    found = refused(write(root, FILES | {f"train/cat/{file}": content}))
    assert message in found and file.replace("\x1b", "\\x1b") in found


def test_an_empty_image_a_fifo_and_a_dangling_link_are_named(root):
    write(root, FILES)
    bad = root / "train/cat/bad.png"
    for make, message in (
        (bad.touch, "is empty"),
        (lambda: os.mkfifo(bad), "is no regular file"),
        (lambda: bad.symlink_to("nowhere"), "No such file or directory"),
    ):
        make()
        assert "bad.png'" in refused(root) and message in refused(root)
        bad.unlink()


def test_folders_that_are_no_image_folder_are_refused(root, tmp_path):
    assert "No such file or directory" in refused(root)
    root.mkdir()
    assert refused(root) == "holds no images"
    write(root, {"1.png": FILES["train/cat/1.png"]})
    assert refused(root) == "image '1.png' stands in no folder of a class"
    assert refused(root / "1.png").endswith("is a file")
    write(root, {"cat/1.png": b""})
    (tmp_path / "x").mkdir()
    write(tmp_path / "x/images", FILES | {"extra/1.png": FILES["train/cat/1.png"]})
    assert refused(tmp_path / "x/images") == "'extra' stands beside the folder train"


def test_a_class_folder_without_images_is_refused(root):
    write(root, FILES)
    (root / "train/bird").mkdir()
    assert refused(root) == "folder 'train/bird' holds no images"


def test_a_class_that_only_the_test_has_and_a_test_without_train_are_refused(root, tmp_path):
    assert refused(write(root, FILES | {"test/bird/1.png": FILES["test/cat/1.png"]})).startswith(
        "class 'bird' of test is"
    )
    other = write(tmp_path / "y/images", {name: content for name, content in FILES.items() if "train" not in name})
    assert refused(other) == "has a folder for test and none for train"


def test_links_to_folders_are_followed_and_never_in_circles(root):
    write(root.parent / "elsewhere", {"1.png": FILES["train/cat/1.png"]})
    write(root, {"cat/1.png": FILES["train/cat/1.png"]})
    (root / "dog").symlink_to(root.parent / "elsewhere")
    (root / "cat/up").symlink_to(root)
    assert load(root).train.targets.tolist() == [0, 1]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_an_unreadable_folder_is_refused(root):
    write(root, FILES)
    (root / "train/cat").chmod(0)
    try:
        assert "Permission denied" in refused(root)
    finally:
        (root / "train/cat").chmod(0o755)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damage_is_refused_or_read_never_another_error(tmp_path_factory, data):
    kind = data.draw(st.sampled_from(["png", "jpeg", "gif", "bmp", "webp", "tiff", "ppm"]))
    content = bytearray(encoded(PIXELS[0], kind))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    root = write(tmp_path_factory.mktemp("damaged"), {"a/1.png": FILES["train/cat/1.png"], "b/1.png": bytes(content)})
    try:
        source = load(root)
    except DataError as fault:
        assert len(fault.message) <= 200 and fault.message.isprintable()
    else:
        assert source.train.inputs.shape == (2, 3, 6, 5)


@pytest.mark.slow
@pytest.mark.skipif("DLCLI_DATA" not in os.environ, reason="DLCLI_DATA names no folder with cifar10/")
def test_cifar10_as_an_archive_of_images():
    source = load(Path(os.environ["DLCLI_DATA"]) / "cifar10/cifar10-imagefolder.tar.gz")
    assert source.train.inputs.shape == (50_000, 3, 32, 32) and source.test.inputs.shape == (10_000, 3, 32, 32)
    assert np.bincount(source.train.targets).tolist() == [5000] * 10
    means = source.train.inputs.mean((0, 2, 3)) / 255
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=5e-4)  # the published means of CIFAR-10


def test_an_image_that_is_changed_while_it_is_in_use_is_refused(tmp_path):
    root = write(tmp_path / "images", FILES)
    inputs = load(root, streaming=True, size=100).train.inputs
    assert np.array_equal(inputs, load(root, streaming=False, size=100).train.inputs)
    (root / "train/dog/1.png").write_bytes(encoded(PIXELS[0][:, :, 0]))
    with pytest.raises(DataError, match=r"'train/dog/1\.png' was changed while it was in use"):
        np.asarray(inputs)


def test_small_images_are_decoded_once_and_again_when_they_have_changed(tmp_path, monkeypatch):
    root = write(tmp_path / "images", FILES)
    read, decoded = Files.read, []
    monkeypatch.setattr(Files, "read", lambda self, places: decoded.append(len(places)) or read(self, places))
    first = np.asarray(load(root, streaming=True).train.inputs)
    assert sum(decoded) == len(FILES)
    again = load(root, streaming=True).train.inputs
    assert np.array_equal(np.asarray(again), first) and sum(decoded) == len(FILES)
    (root / "train/dog/1.png").write_bytes(encoded(PIXELS[0][:, :, 0]))
    changed = np.asarray(load(root, streaming=True).train.inputs)
    assert np.array_equal(changed, load(root, streaming=False).train.inputs) and not np.array_equal(changed, first)
    assert sum(decoded) == 2 * len(FILES) and np.array_equal(np.asarray(again), first)  # what is in use stays


def test_rows_that_nobody_has_read_for_a_month_make_room(tmp_path):
    kept = tmp_path / "cache" / "rows"
    root = write(tmp_path / "images", FILES)
    load(root, streaming=True)
    (old,) = kept.glob("*.rows")
    month = time.time() - 31 * 86400
    os.utime(old, (month, month))
    load(root, streaming=True)
    assert old.stat().st_mtime > month + 1  # read, and so remembered
    load(root, streaming=True, size=4)
    assert len(list(kept.glob("*.rows"))) == 2
    os.utime(old, (month, month))
    load(root, streaming=True, size=5)
    assert not old.exists() and len(list(kept.glob("*.rows"))) == 2
