"""`dlcli data`: a data set looked at, or made ready before a machine goes off the net."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcli import config as configs
from dlcli.config import catalogue
from dlcli.verbs import arguments as shared

if TYPE_CHECKING:
    from dlcli.protocols import Data

LISTED = 12  # classes, columns or categories that are printed


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "what", choices=("info", "prepare"), help="prepare: download, verify and cache; info: look at it"
    )
    name = parser.add_argument("name", metavar="NAME", help="as in dataset=NAME; `dlcli list datasets` shows all")
    name.completer = partial(catalogue.options, "dataset")
    shared.add_composition(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="outputs/data/NAME.png")


def run(arguments: Namespace) -> int:
    shared.load_plugins(arguments)
    config = configs.load_checked([f"dataset={arguments.name}", *arguments.overrides], arguments.config_dir)
    from dlcli.build import read_data
    from dlcli.inspection import inspect
    from dlcli.training.faults import machine_faults

    with machine_faults():
        data = read_data(config["dataset"])
        sizes = ", ".join(f"{len(split)} {name}" for name, split in data.splits().items())
        if arguments.what == "prepare":
            print(f"ready  {arguments.name}: {sizes} ({data.facts['origin']})")
            return 0
        found = inspect(data)
        picture = arguments.picture or Path(config["output_root"]) / "data" / f"{arguments.name}.png"
        draw(data, picture)
    if arguments.format == "json":
        print(json.dumps(found | {"picture": str(picture)}, indent=2))
    else:
        print("\n".join([*lines(found), row("picture", str(configs.shown(picture.absolute())))]))
    return 0


def draw(data: Data, path: Path) -> None:
    from dlcli.inspection import shown_examples, token_counts
    from dlcli.report import examples
    from dlcli.training.durable import storage

    if data.spec.vocabulary is not None:
        figure = examples.token_bars(token_counts(data))
    else:
        figure = examples.examples(*shown_examples(data), data.spec.classes)
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=100)


def lines(found: dict[str, Any]) -> Iterator[str]:
    yield row("data", f"{found['name']} ({found['origin']})")
    yield row("inputs", " x ".join(map(str, found["shape"])))
    if vocabulary := found.get("vocabulary"):
        yield row("tokens", f"{vocabulary['size']} in the vocabulary; {found['context']}")
    for name, split in found["splits"].items():
        yield row(name, f"{split['examples']} examples, {split['from'].split('examples, ')[-1]}")
        for part in ("inputs", "targets"):
            if part in split:
                yield row("", f"{part} {statistics(split[part])}")
        if "classes" in split:
            yield row("", listed(split["classes"]))
    for column in found["columns"][:LISTED]:
        yield row(
            "column",
            f"{column['name']}: {listed(column['categories']) if 'categories' in column else statistics(column)}",
        )
    if len(found["columns"]) > LISTED:
        yield row("", f"and {len(found['columns']) - LISTED} more columns; --format json shows all")
    duplicates = found.get("duplicates", {"train": 0, "train_test": 0})
    yield row("duplicates", f"{duplicates['train']} within train, {duplicates['train_test']} of test stand in train")
    if truth := found.get("truth"):
        yield row("known", ", ".join(f"{key} {value:.4g}" for key, value in truth.items() if type(value) is float))
    for note in found.get("notes", ()):
        yield row("note", note)
    for warning in found.get("warnings", ()):
        yield row("warning", warning)


def row(head: str, text: str) -> str:
    from dlcli.training.train_log import escaped

    return escaped(f"{head:<11} {text}")


def statistics(numbers: dict[str, float]) -> str:
    return (
        f"mean {numbers['mean']:.4g}, deviation {numbers['deviation']:.4g}, "
        f"from {numbers['least']:.4g} to {numbers['greatest']:.4g}"
    )


def listed(counts: dict[str, int]) -> str:
    shown = ", ".join(f"{name} {count}" for name, count in list(counts.items())[:LISTED])
    return shown + (f" and {len(counts) - LISTED} more" if len(counts) > LISTED else "")
