"""Groups of runs and their paired differences, as rows of text for a terminal, Markdown and a web page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

from dlcli.report import wording
from dlcli.report.table import GAP, plain_table

Study = Mapping[str, Any]  # schema dlcli.study/1
CELLS = ("group", "runs", "train loss", "test loss", "test error", "approximation", "optimization", "generalization")
RISKS, TERMS = (0, 1, 2, 3, 4), (0, 5, 6, 7)  # a terminal of 80 columns shows them one below the other
LONGEST = 14  # letters of a word that a column does not break
COMPARED = ("quantity", "first", "second", "difference", "pairs", "p (Holm)", "first is")


def print_study(study: Study, console: Console) -> None:
    for part in parts(study, console.is_terminal, console.width):
        console.print(part, highlight=False)


def parts(study: Study, lines: bool, room: int) -> Iterator[RenderableType]:
    """lines: under headings, too. room: letters of a line."""
    repeated = ", ".join(study["over"])
    if any(group["done"] > 1 for group in study["groups"]):
        yield ""
        for title, columns in ((f"means over {repeated}, 95 % t intervals", RISKS), ("terms of the test loss", TERMS)):
            table = plain_table(lines, f"Groups: {title}")
            fill(table, [CELLS[i] for i in columns], [[row[i] for i in columns] for row in group_rows(study)], room)
            yield table
            yield ""
    rows = comparison_rows(study)
    if rows:
        table = plain_table(lines, f"Paired differences over {repeated}, by {study['axis']}")
        fill(table, COMPARED, rows, room)
        yield table
    for note in study["notes"]:
        yield Text(f"note: {note}", style="yellow")


def fill(table: Any, headings: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> None:
    """Columns as wide as their longest word, and wider, line after line of their longest cell, as far as there is room.

    Rich's own distribution sees no words where it shrinks columns, and cuts off what they push over the edge.
    """
    columns = [(heading, *cells) for heading, *cells in zip(headings, *rows, strict=True)]
    whole = [max(map(cell_len, cells)) for cells in columns]
    widths = [min(LONGEST, max(cell_len(word) for cell in cells for word in cell.split())) for cells in columns]
    for _ in range(room - GAP * (len(columns) - 1) - sum(widths)):
        fullest = max(range(len(columns)), key=lambda i: -(-whole[i] // widths[i]))
        widths[fullest] = min(widths[fullest] + 1, whole[fullest])
    for heading, width in zip(headings, widths, strict=True):
        table.add_column(heading, overflow="fold", width=width)
    for row in rows:
        table.add_row(*map(Text, row))


def markdown(study: Study) -> str:
    """The same tables in Markdown."""
    text = [f"# {study['runs']} runs, {study['failed']} without a result", "", *grid(CELLS, group_rows(study))]
    rows = comparison_rows(study)
    if rows:
        text += ["", f"## Paired differences, by {study['axis']}", "", *grid(COMPARED, rows)]
    text += ["", *(f"- {note}" for note in study["notes"])]
    return "\n".join(text).rstrip() + "\n"


def grid(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [headings, ["---"] * len(headings), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return [f"| {' | '.join(row)} |" for row in cells]


def group_rows(study: Study) -> list[list[str]]:
    return [group_row(group) for group in study["groups"]]


def group_row(group: Mapping[str, Any]) -> list[str]:
    risks, terms = group["risks"], group["terms"].get("loss")
    count = f"{group['done']}" + (f" ({group['failed']} failed)" if group["failed"] else "")
    row = [group["label"], count]
    row += [estimate(risks.get(split, {}).get(metric)) for split, metric in TOLD]
    if terms is None:
        return [*row, "", "", ""]
    low, high = terms["optimization"][0], terms["optimization"][1]
    ends = [low["mean"], None if high is None else high["mean"]]
    approximation = wording.interval(terms["approximation"], terms["unit"])
    return [
        *row,
        approximation,
        wording.interval(ends, terms["unit"]),
        estimate(terms["generalization"], terms["unit"]),
    ]


TOLD = (("train", "loss"), ("test", "loss"), ("test", "error"))


def estimate(value: Mapping[str, Any] | None, unit: str = "") -> str:
    return "" if value is None else wording.estimate(value["mean"], value["ci"], unit or value.get("unit", ""))


def comparison_rows(study: Study) -> list[list[str]]:
    return [comparison_row(each) for each in study["comparisons"]]


def comparison_row(each: Mapping[str, Any]) -> list[str]:
    if "intervals" in each:
        ends = " and ".join(wording.interval(interval) for interval in each["intervals"])
        return [each["quantity"], each["first"], each["second"], ends, "", "", each["verdict"]]
    unit = "fraction" if each["quantity"].endswith("error") else ""
    p = "" if each["adjusted_p"] is None else f"{each['adjusted_p']:.3g}"
    pairs = f"{each['pairs']}" + (f" ({each['lost']} lost)" if each["lost"] else "")
    value = wording.estimate(each["mean"], each["ci"], unit)
    return [each["quantity"], each["first"], each["second"], value, pairs, p, each["verdict"]]
