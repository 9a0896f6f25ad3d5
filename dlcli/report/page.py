"""One web page that stands alone: no network, no script, its pictures within; for a screen, a phone and paper."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from dlcli.report import wording
from dlcli.report.pictures import Picture, Run
from dlcli.report.studies import CELLS, COMPARED, comparison_rows, group_rows
from dlcli.report.table import notes, origins
from dlcli.training.durable import replace

MOST_COMMANDS = 24
STYLE = """
:root { color-scheme: light }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff }
body { margin: 0 auto; max-width: 70rem; padding: 1rem }
h1 { font-size: 1.4rem; margin: .2rem 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #ccc }
p.lead { font-size: 1.05rem; font-weight: 600 } .quiet { color: #555; font-size: .9rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .7rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #e4e4e4 }
td { white-space: nowrap } td:first-child { white-space: normal; min-width: 6rem }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem }
.pictures { margin-top: 1rem }
figure { margin: 0; break-inside: avoid } figcaption { font-size: .85rem; color: #444 }
svg { width: 100%; height: auto; max-width: 40rem }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .8rem }
h1, li, p { overflow-wrap: anywhere } ul { padding-left: 1.2rem }
@media print {
  html { font-size: 11px } body { font-size: 1rem; max-width: none; padding: 0 }
  .pictures { grid-template-columns: 1fr 1fr } td { white-space: normal } .scroll { overflow: visible }
  h2 { break-after: avoid } tr { break-inside: avoid }
}
"""
DEFINITIONS = (
    ("approximation (on the training set)", "min_F L_train: what no member of the class avoids on these examples. An "
     "interval: its upper end is a member that was found, its lower end is proven. It is not the error of the class on "
     "the distribution."),
    ("optimization", "L_train - min_F L_train: how far the weights are from the best of their class. Between runs of "
     "one class its differences are those of the train risks, exactly."),
    ("generalization", "L_test - L_train."),
    ("risks", "of the saved weights: evaluation mode, whole splits, no augmentation, no smoothing, no decay, float64 "
     "sums."),
    ("the class F", "architecture, sizes, normalization, shapes; not the optimizer, the regularizers, or the budget."),
)  # fmt: skip


def write_page(folder: Path, study: Mapping[str, Any], runs: Sequence[Run], pictures: Sequence[Picture]) -> Path:
    """FOLDER/report.html. Raises StorageError."""
    path = folder.absolute() / "report.html"
    replace(path, page(study, runs, folder.absolute().name, pictures).encode())
    return path


def page(study: Mapping[str, Any], runs: Sequence[Run], title: str, pictures: Sequence[Picture] = ()) -> str:
    """The whole document. study: as `dlcli.study.study` makes it."""
    body = "\n".join(sections(study, runs, pictures))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def sections(study: Mapping[str, Any], runs: Sequence[Run], pictures: Sequence[Picture]) -> Iterator[str]:
    shown = {name: inlined(list(those)) for name, those in groupby(pictures, lambda each: each.tag.split("/")[0])}
    done = [run for run in runs if run["summary"] is not None]
    yield from headline(study, done)
    if len(runs) > 1:
        yield section("Groups", table(CELLS, group_rows(study)) + over(study))
    told = told_of_one(done[0]["summary"]) if study["runs"] == len(done) == 1 else ""
    yield section("Why the test risk is what it is", told + shown.get("terms", ""))
    yield section("The search", shown.get("search", ""))
    rows = comparison_rows(study)
    if rows:
        yield section("Paired differences", table(COMPARED, rows) + shown.get("differences", ""))
    yield section("The way there", shown.get("way", ""))
    yield section("What to know before believing this", listed(warnings(study, runs)))
    yield section("Words", "".join(f"<p><b>{escape(word)}</b>: {escape(text)}</p>" for word, text in DEFINITIONS))
    yield section("Again", commands(runs))


def headline(study: Mapping[str, Any], done: Sequence[Run]) -> Iterator[str]:
    if len(done) == 1 and study["runs"] == 1:
        yield f'<p class="lead">{escape(done[0]["summary"]["diagnosis"])}</p>'
    else:
        yield f'<p class="quiet">{study["runs"]} runs, {study["failed"]} without a result.</p>'


def told_of_one(summary: Mapping[str, Any]) -> str:
    """The terms of a single run with their intervals, and where the ends of min_F L_train come from."""
    rows, sources = [], []
    for metric, record in summary["decomposition"].items():
        unit, test, gap = record["loss"]["unit"], record["test"], record["generalization"]
        rows.append(
            (
                metric,
                wording.estimate(test["value"], test["ci"], unit),
                wording.interval(record["approx_train"]["interval"], unit),
                wording.interval(record["optimization"]["interval"], unit),
                wording.estimate(gap["value"], gap["ci"], unit),
            )
        )
        sources += [f"{metric}: {line}" for line in map(str, origins(record))]
    headings = ("", "test risk", "approximation", "optimization", "generalization")
    return table(headings, rows) + listed(list(dict.fromkeys(sources))) if rows else ""


def over(study: Mapping[str, Any]) -> str:
    repeated = ", ".join(study["over"])
    return f'<p class="quiet">Means over {escape(repeated)} with 95 % t intervals; single runs have none.</p>'


def section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{content}</section>" if content else ""


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    lines = ("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def listed(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>" if lines else ""


def inlined(pictures: Sequence[Picture]) -> str:
    made = (f"<figure>{inline(each.figure)}<figcaption>{escape(each.words)}</figcaption></figure>" for each in pictures)
    return f'<div class="pictures">{"".join(made)}</div>'


def inline(figure: Any) -> str:
    """The picture as part of a document: its prologue left out, names of its own that no other picture has."""
    import matplotlib

    from dlcli.report import figures

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "dlcli"}):
        text = figures.svg(figure).decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    for size in ("width", "height"):  # the view box stays: the page decides how large
        text = re.sub(rf'(<svg[^>]*?) {size}="[^"]*"', r"\1", text, count=1)
    return text


def warnings(study: Mapping[str, Any], runs: Sequence[Run]) -> list[str]:
    """Of a single run all; of several each kind once, with the number of runs that have it."""
    if len(runs) == 1:
        return [str(note) for run in runs if run["summary"] is not None for note in notes(run["summary"])]
    counted: dict[str, int] = {}
    for run in runs:
        if run["summary"] is not None:
            for text in {str(note).split(": ", 1)[1].split(": ")[0] for note in notes(run["summary"])}:
                counted[text] = counted.get(text, 0) + 1
    failures = [f"{run['status']}: {run['path']}: {run['reason']}" for run in runs if run["summary"] is None]
    return [*study["notes"], *failures, *(f"in {count} of {len(runs)} runs: {text}" for text, count in counted.items())]


def as_typed(line: str) -> str:
    """Without the place where the command lay on that machine."""
    program, _, words = line.partition(" ")
    return f"dlcli {words}" if Path(program).name == "dlcli" else line


def commands(runs: Sequence[Run]) -> str:
    lines = []
    for run in runs[:MOST_COMMANDS]:
        path = Path(run["path"]) / "command.txt"
        if path.is_file():
            lines += map(as_typed, path.read_text(encoding="utf-8", errors="replace").splitlines())
    lines = list(dict.fromkeys(lines))
    replays = [f"dlcli train --from {run['path']}" for run in runs[:MOST_COMMANDS]]
    text = "\n".join([*lines, "", "# one run again, from its own configuration:", *replays])
    seen = next((run["summary"] for run in runs if run["summary"] is not None), None)
    data = "" if seen is None else f"training set {seen['keys']['data'][:16]}, class {seen['keys']['class']}"
    return f'<pre>{escape(text)}</pre><p class="quiet">{escape(data)}</p>'
