"""`dlcli ledger`: the best member that any run has found of each class, on each training set, in each loss."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from dlcli import config as configs
from dlcli.errors import UsageError

LEAST_WIDTH = {"class": 20, "loss": 14, "best": 8}  # what must stay readable on a narrow terminal


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("output_root", nargs="?", type=Path, default=Path("outputs"), metavar="OUTPUT_ROOT")
    parser.add_argument("--rebuild", action="store_true", help="forget it, and read the run directories again")


def run(arguments: Namespace) -> int:
    from rich.console import Console
    from rich.text import Text

    from dlcli.decomposition.ledger import Ledger
    from dlcli.report.table import plain_table
    from dlcli.training.train_log import escaped

    root, console = arguments.output_root, Console()
    if not root.is_dir():
        raise UsageError(f"there is no folder {root}", "give the output root of your runs, the default is ./outputs")
    ledger = Ledger(root)
    if arguments.rebuild:
        read, unreadable = ledger.rebuild()
        print(f"read {read} runs of {configs.shown(root)}")
        for path in unreadable:
            print(f"not readable: {configs.shown(path)}")
    standings = ledger.standings()
    table = plain_table(console.is_terminal, f"{len(standings)} entries, version {ledger.version or '0'}")
    for heading in ("class", "data", "loss", "best", "members"):
        table.add_column(heading, overflow="fold", min_width=LEAST_WIDTH.get(heading))
    for heading in ("run", "found by"):
        table.add_column(heading, overflow="ellipsis", no_wrap=True)
    for best, evaluated in standings:
        cells = (best.function_class, best.data[:8], best.loss, f"{best.risk:.6g}", str(evaluated), best.run)
        table.add_row(*(Text(escaped(cell)) for cell in cells), Text(best.method.rsplit("; ", 1)[-1]))
    console.print(table, highlight=False)
    return 0
