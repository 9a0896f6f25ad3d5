"""`dlcli predict`: what a trained model says of a file of new examples, as a table."""

from __future__ import annotations

import csv
import io
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from dlcli import config as configs
from dlcli.errors import UsageError
from dlcli.verbs import arguments as shared

if TYPE_CHECKING:
    import numpy as np

    from dlcli.predictions import Predictions

FORMATS = (".csv", ".parquet")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    parser.add_argument(
        "input",
        type=Path,
        metavar="INPUT",
        help="csv or parquet, npz, an image, a folder or archive of images, or a text",
    )
    parser.add_argument(
        "--output", "-o", type=Path, metavar="FILE", help=".csv or .parquet; CSV on stdout when not given"
    )
    shared.add_checkpoint(parser)
    shared.add_plugins(parser)


def run(arguments: Namespace) -> int:
    shared.load_plugins(arguments)
    output = arguments.output
    if output is not None and output.suffix.lower() not in FORMATS:
        raise UsageError(
            f"--output {output}: its suffix is none of {', '.join(FORMATS)}", "name a .csv or .parquet file"
        )
    config = shared.saved_config(arguments.run_dir)
    from dlcli.predictions import predict
    from dlcli.training.durable import replace
    from dlcli.training.train_log import escaped

    predictions = predict(arguments.run_dir.absolute(), config, arguments.checkpoint, arguments.input)
    for note in predictions.notes:
        print(f"note: {note}", file=sys.stderr)
    if output is None:
        text = csv_text(predictions)
        # Names are data: a program gets them as they are, a terminal without what it would obey.
        sys.stdout.write("\n".join(map(escaped, text.split("\n"))) if sys.stdout.isatty() else text)
        return 0
    content = csv_text(predictions).encode() if output.suffix.lower() == ".csv" else parquet(predictions)
    replace(output, content)
    rows = len(next(iter(predictions.columns.values())))
    print(f"wrote  {configs.shown(output)}, {rows} rows of {', '.join(list(predictions.columns)[:4])} ...")
    return 0


def csv_text(predictions: Predictions) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(predictions.columns)
    writer.writerows(zip(*map(spelled, predictions.columns.values()), strict=True))
    return text.getvalue()


def spelled(column: np.ndarray) -> list[object]:
    """Numbers with the seven digits that float32 has: more would be noise."""
    return [f"{value:.7g}" for value in column] if column.dtype.kind == "f" else column.tolist()


def parquet(predictions: Predictions) -> bytes:
    import pyarrow
    from pyarrow import parquet as tables

    content = pyarrow.BufferOutputStream()
    tables.write_table(pyarrow.table(predictions.columns), content)
    return content.getvalue().to_pybytes()
