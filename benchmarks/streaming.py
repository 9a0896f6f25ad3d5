"""Data that stay on disk: shuffled batches by dlcli's threads, beside torch's DataLoader with as many workers.

    python benchmarks/streaming.py images FOLDER [--examples 7000] [--pixels 224]
    python benchmarks/streaming.py parquet [--examples 50000] [--columns 100]

FOLDER: of images, one folder a class; an archive is unpacked first; --pixels enlarges them. Both sides have the same
order and decoder, and hand over standardized float32 on the device. The DataLoader decodes in its workers, in its
fastest form: whole batches at a time (`__getitems__`), persistent workers, two batches of prefetching each. dlcli has
decoded small images once, when it opened them (dlcli/datasets/row_file.py); the seconds of that are printed too. Of a
table both read the same rows of numbers. Epochs alternate, the first one of each is not counted; what is said is the
ratio of the two in each round.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import torch
from PIL import Image
from pyarrow import parquet
from torch.utils.data import DataLoader

from dlcli import build, config
from dlcli.datasets.archives import is_archive
from dlcli.datasets.image_folder import contents, listed, only_images
from dlcli.datasets.pictures import Files, is_image, parts_of
from dlcli.datasets.resident import affine, ready
from dlcli.datasets.streamed import Streamed, threads

AHEAD = 4  # steps that a run names beforehand


class Rows:
    """The rows of a split as torch's loader wants them. read: what decodes them, by their places in the source."""

    def __init__(self, split: Streamed, read: Callable[[np.ndarray], np.ndarray]):
        self.read, self.places, self.targets = read, split.inputs.places, split.targets
        self.statistics = split.statistics

    def __len__(self) -> int:
        return len(self.places)

    def __getitems__(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = self.read(self.places[rows])
        if inputs.dtype != np.uint8:
            inputs = ready(inputs, self.statistics)
        return torch.from_numpy(inputs), self.targets[rows]


def ours(split: Streamed, batches: list[torch.Tensor], _: DataLoader | None) -> float:
    total = torch.zeros((), device=split.target_device)
    for place, rows in enumerate(batches):
        total += split.batch(rows, batches[place + 1 : place + AHEAD]).inputs[0].sum()
    return total.item()


def theirs(split: Streamed, batches: list[torch.Tensor], loader: DataLoader) -> float:
    total = torch.zeros((), device=split.target_device)
    for inputs, targets in loader:
        inputs, targets = inputs.to(split.target_device, non_blocking=True), targets.to(split.target_device)
        if inputs.dtype == torch.uint8:
            factor, shift = (part.to(inputs.device) for part in affine(split.statistics, inputs.ndim))
            inputs = inputs.float().mul_(factor).add_(shift)
        total += inputs[0].sum()
    return total.item()


def images(source: Path, pixels: int | None, room: Path) -> Path:
    """A folder of the images, of so many pixels."""
    if not is_archive(source) and pixels is None:
        return source.resolve()
    for name, content in contents(source)[0]:
        path = room / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if pixels is None or not is_image(name):
            path.write_bytes(content)
        else:
            Image.open(io.BytesIO(content)).resize((pixels, pixels), Image.Resampling.BICUBIC).save(path, "jpeg")
    return room / "images"


def decoder(folder: Path, shape: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
    """What decodes the images of a folder, in the order of dlcli."""
    found = only_images(((name, b"") for name in listed(folder)[0]), [])
    names = sorted((name for name, _ in found), key=parts_of)
    return Files(folder, names, shape, None, None).read


def table(rows: int, columns: int, room: Path) -> list[str]:
    draw = np.random.default_rng(0)
    numbers = {f"x{i}": draw.normal(size=rows).astype(np.float32) for i in range(columns)}
    parquet.write_table(pyarrow.table(numbers | {"y": draw.random(rows)}), room / "t.parquet", row_group_size=20_000)
    return ["dataset=parquet", f"dataset.path={room / 't.parquet'}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=("images", "parquet"))
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--examples", type=int, default=7000, help="of an epoch")
    parser.add_argument("--pixels", type=int, help="of a side, to which images are enlarged")
    parser.add_argument("--columns", type=int, default=100, help="of the table")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        room = Path(name)
        os.environ["DLCLI_CACHE"] = str(room / "cache")
        if arguments.kind == "images":
            folder = images(arguments.folder, arguments.pixels, room)
            words = ["dataset=image_folder", f"dataset.path={folder}"]
        else:
            words = table(2 * arguments.examples, arguments.columns, room)
        section = config.load_checked([*words, "dataset.streaming=true"])["dataset"]
        started = time.perf_counter()
        split = build.read_data(section).train.to(arguments.device)
        print(f"opened in {time.perf_counter() - started:.1f} s: {len(split)} training examples {split.inputs.item}")
        read = decoder(folder, split.inputs.item) if arguments.kind == "images" else split.inputs.read
        order = torch.from_numpy(np.random.default_rng(1).permutation(len(split))[: arguments.examples])
        batches = list(order.split(arguments.batch))
        loader = DataLoader(
            Rows(split, read),
            batch_sampler=[rows.tolist() for rows in batches],
            num_workers=threads(),
            collate_fn=lambda batch: batch,
            persistent_workers=True,
            prefetch_factor=2,
            pin_memory=arguments.device != "cpu",
        )
        seconds: dict = {ours: [], theirs: []}
        sums = set()
        for turn in range(arguments.rounds + 1):
            for way in (ours, theirs) if turn % 2 else (theirs, ours):
                started = time.perf_counter()
                sums.add(round(way(split, batches, loader), 2))
                seconds[way].append(time.perf_counter() - started)
        assert len(sums) == 1, f"the two read different numbers: {sums}"
    ratios = [b / a for a, b in zip(seconds[ours][1:], seconds[theirs][1:], strict=True)]
    rate = {way: len(order) / statistics.median(spent[1:]) for way, spent in seconds.items()}
    print(
        f"{arguments.kind}: dlcli {rate[ours]:.0f} examples a second, DataLoader with {threads()} workers "
        f"{rate[theirs]:.0f}; ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
