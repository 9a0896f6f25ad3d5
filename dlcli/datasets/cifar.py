"""CIFAR-10 and CIFAR-100 from their official binary archives, packed or unpacked (the others are Python pickles)."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np

from dlcli.datasets.archives import is_archive, members
from dlcli.datasets.files import is_file, reading
from dlcli.datasets.official import Official, locate
from dlcli.datasets.wording import quote
from dlcli.errors import DataError
from dlcli.protocols import Examples, Source
from dlcli.registry import register

PIXELS = 3 * 32 * 32
AGAIN = "download the archive again, or delete it so that dlcli does"
URL = "https://www.cs.toronto.edu/~kriz/"
CIFAR10 = Official(
    "cifar-10-binary.tar.gz",
    f"{URL}cifar-10-binary.tar.gz",
    170_052_171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
CIFAR100 = Official(
    "cifar-100-binary.tar.gz",
    f"{URL}cifar-100-binary.tar.gz",
    168_513_733,
    "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
)
CIFAR10_FILES = {
    "data_batch_1.bin": (30_730_000, "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
    "data_batch_2.bin": (30_730_000, "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
    "data_batch_3.bin": (30_730_000, "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
    "data_batch_4.bin": (30_730_000, "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
    "data_batch_5.bin": (30_730_000, "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
    "test_batch.bin": (30_730_000, "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
}
CIFAR100_FILES = {
    "train.bin": (153_700_000, "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"),
    "test.bin": (30_740_000, "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"),
}
OBJECTS = "airplane automobile bird cat deer dog frog horse ship truck"
COARSE = """aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
    household_furniture insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes
    large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles small_mammals trees
    vehicles_1 vehicles_2"""
FINE = """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm"""


@register("dataset", "cifar10")
def cifar10(*, root: str | None) -> Source:
    """Ten kinds of object, 32x32 colour pixels, 50000 to train and 10000 to test (Krizhevsky 2009)."""
    path = _locate("cifar10", CIFAR10, CIFAR10_FILES, root)
    files = read(path, CIFAR10_FILES)
    train = np.concatenate([records(files[name], 1) for name in CIFAR10_FILES if name.startswith("data")])
    test = records(files["test_batch.bin"], 1)
    return Source(
        _examples(train, 0), _examples(test, 0), classes=tuple(OBJECTS.split()), origin=f"official archive {path}"
    )


@register("dataset", "cifar100")
def cifar100(*, root: str | None, labels: Literal["fine", "coarse"]) -> Source:
    """A hundred kinds of object in 20 groups, 32x32 colour pixels, 50000 and 10000 examples (Krizhevsky 2009)."""
    path = _locate("cifar100", CIFAR100, CIFAR100_FILES, root)
    files = read(path, CIFAR100_FILES)
    column, names = (1, FINE) if labels == "fine" else (0, COARSE)
    train, test = (_examples(records(files[name], 2), column) for name in CIFAR100_FILES)
    return Source(train, test, classes=tuple(names.split()), origin=f"official archive {path}")


def _locate(dataset: str, archive: Official, files: Mapping[str, tuple[int, str]], root: str | None) -> Path:
    """The archive, or the folder that holds what was in it."""

    def present(folder: Path) -> list[Path] | None:
        if is_archive(folder) and is_file(folder):
            return [folder]
        if is_file(folder / archive.name):
            return [folder / archive.name]
        for unpacked in (folder, folder / "cifar-10-batches-bin", folder / "cifar-100-binary"):
            if all(is_file(unpacked / name) for name in files):
                return [unpacked]
        return None

    return locate(dataset, present, [archive], root)[0]


def read(path: Path, pinned: Mapping[str, tuple[int, str]]) -> dict[str, bytes]:
    """The pinned members of an archive or folder, by name. DataError unless each has its size and sha256."""
    if is_archive(path):
        found = {name.split("/")[-1]: content for name, content in members(path) if name.split("/")[-1] in pinned}
    else:
        found = {}
        for name in pinned:
            with reading(path / name) as handle:
                found[name] = handle.read(pinned[name][0] + 1)  # one more shows that there is more
    for name, (size, digest) in pinned.items():
        if name not in found:
            raise DataError(f"{quote(path, 100)} has no member {name}", AGAIN)
        content = found[name]
        if len(content) != size:
            raise DataError(f"{quote(path, 80)}: {name} holds {len(content)} bytes; expected {size}", AGAIN)
        actual = sha256(content).hexdigest()
        if actual != digest:
            raise DataError(f"{quote(path, 80)}: {name} is damaged: sha256 {actual[:16]}, not {digest[:16]}", AGAIN)
    return found


def records(content: bytes, labels: int) -> np.ndarray:
    """Rows of `labels` label bytes and 3072 pixel bytes. -> (n, labels + 3072) uint8"""
    return np.frombuffer(content, np.uint8).reshape(-1, labels + PIXELS)


def _examples(rows: np.ndarray, column: int) -> Examples:
    return Examples(rows[:, -PIXELS:].reshape(-1, 3, 32, 32), rows[:, column])
