"""Any UTF-8 text, to be continued token by token."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from dlcli.datasets.files import reading
from dlcli.datasets.vocabularies import BytePairs, Characters
from dlcli.datasets.wording import quote
from dlcli.errors import DataError
from dlcli.protocols import Examples, Source, Vocabulary
from dlcli.registry import register
from dlcli.schema import Count, Range


@register("dataset", "text")
def text(
    *,
    path: str | None,
    tokens: Literal["characters", "byte_pairs"],
    vocabulary_size: Annotated[int, Range(257)],
    window: Count,
) -> Source:
    """A text by characters or byte pairs, in windows: the user's file, or the documentation inside Python."""
    content, origin = bundled() if path is None else read(path)
    vocabulary: Vocabulary = Characters(content) if tokens == "characters" else BytePairs(content, vocabulary_size)
    numbers = vocabulary.encode(content)
    return Source(
        train=Examples(numbers[:-1], numbers[1:]),
        vocabulary=vocabulary,
        window=window,
        origin=origin,
        notes=("the vocabulary was taken from the whole text, validation and test included",),
    )


def bundled() -> tuple[str, str]:
    """The topics of Python's built-in help, half a million characters, in the order of their names."""
    from pydoc_data.topics import topics  # half a megabyte that only this data set needs

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return "\n".join(topics[name] for name in sorted(topics)), f"the help topics inside Python {version}"


def read(path: str) -> tuple[str, str]:
    """The content of a file. DataError where it is not UTF-8 or too short to predict anything."""
    file = Path(path).expanduser()
    with reading(file) as handle:
        content = handle.read()
    try:
        decoded = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content[: fault.start].count(b"\n") + 1
        raise DataError(
            f"{quote(file, 100)} is no UTF-8 text: byte 0x{content[fault.start]:02x} in line {line}",
            "convert it, e.g. with: iconv -f latin1 -t utf-8",
        ) from fault
    return decoded, f"the file {file.name}"
