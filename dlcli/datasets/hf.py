"""Hugging Face data sets of images, arrays or tables: which columns are the inputs, which one is to be predicted."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from dlcli.datasets.arrow_cells import is_cell, is_number, leaf, nested
from dlcli.datasets.hf_inputs import arrays, images, table
from dlcli.datasets.hub import Asked, Part, parts, read
from dlcli.datasets.table import listed, suggestion
from dlcli.datasets.targets import Kind, Targets
from dlcli.datasets.targets import encode as encode_targets
from dlcli.datasets.wording import count, quote
from dlcli.errors import DataError
from dlcli.protocols import Examples, Source
from dlcli.registry import register
from dlcli.schema import Count

TARGETS = ("label", "labels", "target", "targets", "y", "class")


class Roles(NamedTuple):
    """What the columns are for. kind: what the features are."""

    target: str
    features: list[str]
    kind: Literal["image", "array", "table"]
    notes: list[str]


@register("dataset", "hf")
def hf(
    *,
    path: str | None,
    subset: str | None,
    revision: str | None,
    target: str | int,
    features: list[str] | None,
    kind: Literal["auto", "classification", "regression"],
    train_split: str,
    validation_split: str | None,
    test_split: str | None,
    size: Count | None,
    channels: Literal["auto", 1, 3],
    layout: Literal["auto", "flat", "signals", "channels_first", "channels_last"],
    streaming: Literal["auto", True, False],
) -> Source:
    """Hugging Face data set: a folder of save_to_disk, files, or a name on the hub (Lhoest 2021, arXiv:2109.02846)."""
    splits = parts("hf", path, subset, revision, Asked(train_split, validation_split, test_split))
    roles = choose(str(path), splits["train"], target, features)
    for name, part in splits.items():
        refuse_other_columns(name, part, splits["train"], [roles.target, *roles.features])
    goals = targets_of(splits, roles.target, kind)
    if roles.kind == "image":
        inputs = images(splits, roles.features[0], size, {"auto": None, 1: "L", 3: "RGB"}[channels], streaming)
    elif roles.kind == "array":
        inputs = arrays(splits, roles.features[0], layout, streaming)
    else:
        inputs = table(splits, roles.features, streaming)
    examples = {name: Examples(inputs.parts[name], goals.parts[name]) for name in splits}
    return Source(
        train=examples["train"],
        validation=examples.get("validation"),
        test=examples.get("test"),
        classes=goals.classes,
        form=inputs.form,
        origin=f"Hugging Face data set {quote(path, 100)}" + (f", subset {quote(subset, 40)}" if subset else ""),
        notes=(*roles.notes, *goals.notes, *inputs.notes),
    )


def kind_of(feature: Any) -> str:
    """image | array | cell | other, of a feature of the library."""
    from datasets import Image
    from datasets.features.features import get_nested_type

    if isinstance(feature, Image):
        return "image"
    arrow = get_nested_type(feature)
    if nested(arrow):
        return "array" if is_number(leaf(arrow)) else "other"
    return "cell" if is_cell(arrow) else "other"


def refuse_other_columns(split: str, part: Part, train: Part, names: list[str]) -> None:
    for name in names:
        found, first = part.dataset.features.get(name), train.dataset.features[name]
        if found != first:
            raise DataError(
                f"{quote(part.path, 50)}: column {quote(name, 20)} is {quote(found, 40)}, in train {quote(first, 40)}",
                f"every split needs the same columns; dataset.{split}_split=null leaves this one out",
            )


def choose(path: str, train: Part, target: str | int, features: list[str] | None) -> Roles:
    """Find the columns; what was not named is guessed, by types and usual names. DataError where that is not enough."""
    columns = {name: kind_of(feature) for name, feature in train.dataset.features.items()}
    names, notes = list(columns), []
    for name in [*(features or ()), *([target] if isinstance(target, str) and target != "auto" else [])]:
        if name not in columns:
            raise DataError(f"{quote(path, 80)} has no column {quote(name)}", suggestion(name, names))
    if isinstance(target, int) and not -len(names) <= target < len(names):
        raise DataError(f"{quote(path, 80)} has {len(names)} columns; there is no target {target}", listed(names))
    if isinstance(target, int):
        target = names[target]
    elif target == "auto":
        target = usual_target(path, train, {name: columns[name] for name in names if name not in (features or ())})
    if features is not None:
        chosen = list(dict.fromkeys(features))
    else:
        inputs = {name: kind for name, kind in columns.items() if name != target and kind != "other"}
        first = next((kind for kind in ("image", "array", "cell") if kind in inputs.values()), None)
        chosen = [name for name, kind in inputs.items() if kind == first]
        left = [quote(name, 20) for name in names if name != target and name not in chosen]
        if left:
            notes.append(f"{count(len(left), 'column')} not read, such as {', '.join(left[:4])} (dataset.features)")
    if not chosen or target in chosen:
        raise DataError(f"{quote(path, 80)}: no feature beside the target {quote(target, 30)}", listed(names))
    found = {columns[name] for name in chosen}
    if found == {"cell"}:
        return Roles(target, chosen, "table", notes)
    if len(chosen) > 1 or "other" in found:
        what = "a column that is no input" if "other" in found else "several columns, of images or of lists"
        raise DataError(
            f"{quote(path, 60)}: {', '.join(quote(name, 20) for name in chosen[:4])}: {what}",
            f"choose one: dataset.features=[NAME]; {listed(names)}",
        )
    return Roles(target, chosen, found.pop(), notes)


def usual_target(path: str, train: Part, columns: dict[str, str]) -> str:
    """The only column of classes, else one with a usual name, else the last of a table."""
    from datasets import ClassLabel

    classes = [name for name in columns if isinstance(train.dataset.features[name], ClassLabel)]
    usual = [name for word in TARGETS for name in columns if name.lower() == word]
    if len(classes) == 1 or usual:
        return classes[0] if len(classes) == 1 else usual[0]
    if columns and set(columns.values()) == {"cell"} and not classes and len(columns) > 1:
        return list(columns)[-1]
    hint = "a text that is to be continued is dataset=hf_text; " if set(columns.values()) == {"cell"} else ""
    raise DataError(
        f"{quote(path, 80)}: which column is to be predicted?",
        f"{hint}set dataset.target=NAME; {listed(list(columns))}",
    )


def targets_of(splits: dict[str, Part], name: str, kind: Kind) -> Targets:
    """Classes by the names that the data set gives them, or by the rule of tables."""
    from datasets import ClassLabel

    feature = splits["train"].dataset.features[name]
    found = {split: read(part, [name], part.rows)[name] for split, part in splits.items()}
    if not isinstance(feature, ClassLabel) or kind == "regression":
        return encode_targets(found, kind, lambda split, row: place_of(splits[split], row, name))
    for split, part in found.items():
        if len(bad := np.flatnonzero((part < 0) | (part >= feature.num_classes))):
            raise DataError(
                f"{place_of(splits[split], bad[0], name)}: class {part[bad[0]]:g}, which has no name",
                f"a test without answers is left out by dataset.{split}_split=null",
            )
    return Targets({split: part.astype(np.int64) for split, part in found.items()}, tuple(feature.names), ())


def place_of(part: Part, row: int, column: str) -> str:
    return f"{quote(part.path, 60)}, row {row + 1}, column {quote(column, 30)}"
