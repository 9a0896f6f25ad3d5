"""Data sets of the library `datasets`: its folders, files of the usual formats, and names on the Hugging Face hub.

Nothing that a data set brings along is run: only readers that are part of the library are used, of formats that hold
plain values, and a folder may not name files elsewhere. All end up as Arrow files on disk, mapped into memory.
Source: Lhoest et al. 2021, arXiv:2109.02846.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from dlcli.datasets.arrow_cells import Cells, is_text, numbers_of, texts_of
from dlcli.datasets.files import is_file, required, unreadable
from dlcli.datasets.row_file import identity_of
from dlcli.datasets.split_names import SPLITS
from dlcli.datasets.wording import quote
from dlcli.errors import DataError, DlcliError, UsageError

READERS = ("parquet", "csv", "json", "text", "arrow", "imagefolder")  # of the library; others take apart much more
CACHE = "cache"  # the reader of what was prepared before, which is Arrow
FORMATS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".txt": "text",
    ".arrow": "arrow",
}
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
BATCH = 1 << 14  # rows at a time


class Part(NamedTuple):
    """One split: rows by number, as Arrow has them."""

    path: Path  # for messages: that of the data set, and the split
    dataset: Any  # a `datasets.Dataset`

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def rows(self) -> np.ndarray:
        return np.arange(len(self))

    @property
    def identity(self) -> str:
        """All that the rows depend on: the Arrow files. Empty where there are none."""
        return " ".join(identity_of(Path(file["filename"])) for file in self.dataset.cache_files)

    def is_text(self, name: str) -> bool:
        """Whether a column holds texts; the classes of a feature are such, by their names."""
        kind = self.dataset.features.arrow_schema.field(name).type
        return bool(self.names(name)) or is_text(self.path, name, kind)

    def names(self, column: str) -> list[str]:
        """The classes of a column of such."""
        return list(getattr(self.dataset.features[column], "names", None) or ())

    def batches(self, names: list[str], rows: np.ndarray) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        """Of rows (n,) some at a time: their places from 1, and a column -> an array of pyarrow."""
        chosen = self.dataset.select_columns(names).with_format("arrow")
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            table = chosen[part]
            yield part + 1, {name: table.column(name).combine_chunks() for name in names}


def read(
    part: Part, names: list[str], rows: np.ndarray, classes: Literal["names", "numbers"] = "numbers"
) -> dict[str, np.ndarray]:
    """Columns of numbers as float64, of texts as objects of str. DataError for a cell that is missing or infinite."""
    from pyarrow import DictionaryArray

    known: dict[str, str] = {}
    pieces: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for places, columns in part.batches(names, rows) if names else ():
        for name, column in columns.items():
            if classes == "names" and part.names(name):
                column = DictionaryArray.from_arrays(column, part.names(name))
            cells = Cells(part.path, name, places, column)
            text = is_text(part.path, name, column.type)
            pieces[name].append(texts_of(cells, known) if text else numbers_of(cells))
    return {name: np.concatenate(found) for name, found in pieces.items()}


class Asked(NamedTuple):
    """Names of splits: `auto` finds them by the usual names, None leaves one out."""

    train: str
    validation: str | None
    test: str | None


def parts(name: str, path: str | None, subset: str | None, revision: str | None, asked: Asked) -> dict[str, Part]:
    """train, and validation and test where there are any.

    UsageError without the library. DataError for a path or name that it cannot read, a format that dlcli does not let
    it read, and for a split that is not there or is empty.
    """
    place = required(path, name)
    if find_spec("datasets") is None:
        raise UsageError(
            f"dataset={name} needs the package datasets, which is not installed", "pip install 'dlcli-train[hf]'"
        )
    found = opened(place, str(path), subset, revision)
    named = chosen(str(path), list(found), asked)
    for split in named.values():
        if not len(found[split]):
            raise DataError(f"{quote(path, 80)}: split {quote(split, 40)} has no rows", "name another one, or null")
        with the_library(str(path)):
            found[split].data.table.validate(full=True)  # a damaged place in a mapped file would end the process
    return {role: Part(place / split, found[split]) for role, split in named.items()}


def chosen(path: str, present: list[str], asked: Asked) -> dict[str, str]:
    """train, validation, test -> what the data set calls it."""
    named = {}
    for split, name in asked._asdict().items():
        if name == "auto":
            usual = [each for each in present if SPLITS.get(each.lower()) == split]
            alone = present if split == "train" and len(present) == 1 else []
            name = (usual or alone or [None])[0]
            if name is None and split == "train":
                raise DataError(f"{quote(path, 80)} has no split train", f"set dataset.train_split; {listed(present)}")
        elif name is not None and name not in present:
            near = get_close_matches(name, present, n=1)
            hint = f"did you mean {quote(near[0])}?" if near else listed(present)
            raise DataError(f"{quote(path, 80)} has no split {quote(name)}", hint)
        if name in named.values():
            twice = next(other for other, taken in named.items() if taken == name)
            raise DataError(f"split {quote(name)} is both {twice} and {split}", f"{listed(present)}; or use null")
        if name is not None:
            named[split] = name
    return named


def listed(present: list[str]) -> str:
    return f"it has {', '.join(quote(name, 20) for name in present[:8])}"


def opened(place: Path, path: str, subset: str | None, revision: str | None) -> dict[str, Any]:
    """Split -> a `datasets.Dataset`."""
    here = place.exists()
    if here and place.is_dir() and any((place / name).exists() for name in ("dataset_dict.json", "state.json")):
        with the_library(path) as datasets:
            saved = datasets.load_from_disk(str(place))
            return dict(saved) if isinstance(saved, datasets.DatasetDict) else {str(saved.split or "train"): saved}
    if here and is_file(place) and place.suffix.lower() not in FORMATS:
        raise DataError(f"{quote(path, 80)}: not a format of data sets", f"one of {', '.join(FORMATS)}, or a folder")
    if not here and (place.suffix.lower() in FORMATS or not HUB_NAME.fullmatch(path)):
        raise unreadable(place, FileNotFoundError(2, "No such file or directory"))
    with the_library(path) as datasets:
        if here and is_file(place):
            reader = FORMATS[place.suffix.lower()]
            options = {"sep": "\t"} if place.suffix.lower() == ".tsv" else {}
            builder = datasets.load_dataset_builder(reader, data_files=str(place), **options)
        else:
            builder = datasets.load_dataset_builder(str(place.resolve()) if here else path, subset, revision=revision)
        refuse_code(path, builder)
        if here:
            refuse_elsewhere(path, place, builder)
        builder.download_and_prepare()
        return dict(builder.as_dataset())


def refuse_code(path: str, builder: Any) -> None:
    module = type(builder).__module__
    reader = module.removeprefix("datasets.packaged_modules.").split(".")[0]
    if not module.startswith("datasets.packaged_modules.") or reader not in (*READERS, CACHE):
        raise DataError(f"{quote(path, 80)} is read by {quote(reader, 30)}", f"dlcli reads {', '.join(READERS)}")


def refuse_elsewhere(path: str, place: Path, builder: Any) -> None:
    """The card of a folder can name its files; one that is on a server, or outside, is none of its own."""
    root = (place if place.is_dir() else place.parent).resolve()
    for files in (builder.config.data_files or {}).values():
        for file in files:
            if "::" in file or "://" in file or not Path(file).is_relative_to(root):
                raise DataError(
                    f"{quote(path, 60)} names a file elsewhere: {quote(file, 80)}", "copy it into the folder"
                )


def caches() -> list[Path]:
    """Where the library keeps what it has downloaded and prepared."""
    from datasets import config
    from huggingface_hub import constants

    folders = (config.HF_DATASETS_CACHE, config.DOWNLOADED_DATASETS_PATH, constants.HF_HUB_CACHE)
    return [Path(folder).resolve() for folder in folders]


@contextmanager
def the_library(path: str) -> Iterator[Any]:
    """The module `datasets`, silent; whatever it finds wrong becomes a DataError."""
    import datasets

    datasets.disable_progress_bars()
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # it would tell a server of each reading, of local files too
    noisy = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    levels = [logger.level for logger in noisy]
    for logger in noisy:
        logger.setLevel(logging.CRITICAL)
    try:
        yield datasets
    except (DlcliError, MemoryError):
        raise
    except ConnectionError as fault:
        raise DataError(
            f"cannot download {quote(path, 80)}: {quote(fault, 90)[1:-1]}",
            "fetch it where there is a net: what its cache holds (HF_HOME) is read offline; or name a local folder",
        ) from fault
    except Exception as fault:  # readers meet damage with whatever error comes first
        cause = fault.__cause__ or fault  # the library wraps what its readers found
        if isinstance(cause, OSError) and cause.errno:
            raise unreadable(Path(path), cause) from fault
        raise DataError(
            f"{quote(path, 60)} is no readable data set: {quote(str(cause) or type(cause).__name__, 110)[1:-1]}",
            "it must be a folder of save_to_disk, files of a usual format, or a name on the hub",
        ) from fault
    finally:
        for logger, level in zip(noisy, levels, strict=True):
            logger.setLevel(level)
