"""The risks of one run and the three terms of each loss, as tables for a terminal, a pipe or a log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dlcli.report import wording

GAP = 2  # letters between columns
FEWEST_RUNGS = 4  # of a ladder that is shown
SPLITS = ("train", "validation", "test", "real")  # real: training examples in place of drawn ones, against test
FORMULAS = {
    "approximation": "min_F L_train",
    "optimization": "L_train - min_F L_train",
    "generalization": "L_test - L_train",
}


def print_report(summary: Mapping[str, Any], console: Console) -> None:
    """Everything that a reader of one run is told; plain text without lines or colours where nobody watches."""
    for part in parts(summary, console.is_terminal):
        console.print(part, highlight=False, soft_wrap=False)


def print_risks(risks: Mapping[str, Any], console: Console) -> None:
    """The first table alone, for a checkpoint that is only evaluated."""
    for part in (risks_table(risks, console.is_terminal), interval_note(risks), *noise_note(risks)):
        console.print(part, highlight=False, soft_wrap=False)


def parts(summary: Mapping[str, Any], lines: bool) -> Iterator[RenderableType]:
    """The report from top to bottom; `lines` draws rules under the headings."""
    yield risks_table(summary["risks"], lines)
    yield interval_note(summary["risks"])
    yield from noise_note(summary["risks"])
    for metric, record in summary["decomposition"].items():
        yield ""
        yield terms_table(metric, record, lines)
        yield from provenance(record)
        if metric == "loss":
            yield from ladder_table(metric, record, lines)
    noted = list(notes(summary))
    if noted:
        yield ""
        yield from noted
    yield ""
    yield Text(summary["diagnosis"], style="bold")


def plain_table(lines: bool, title: str) -> Table:
    return Table(
        box=box.SIMPLE_HEAD if lines else None,
        title=Text(title, style="bold"),
        title_justify="left",
        pad_edge=False,
        show_edge=False,
        padding=(0, GAP - lines, 0, 0),  # a box has a space of its own between columns
    )


def risks_table(found: Mapping[str, Any], lines: bool) -> Table:
    risks = {split: found[split] for split in SPLITS if found.get(split)}
    table = plain_table(lines, "Risks, evaluated on whole splits")
    table.add_column("")
    for split in risks:
        table.add_column(split)
    for metric, first in (risks["train"] | risks.get("test", {})).items():
        cells = [shown(risk.get(metric)) for risk in risks.values()]
        table.add_row(f"{metric.replace('_', ' ')}{wording.unit_name(first['unit'])}", *map(Text, cells))
        if first["unit"] == "squared units" and all(risk[metric].get("constant") for risk in risks.values()):
            table.add_row("R^2", *(f"{1 - r[metric]['value'] / r[metric]['constant']:.4g}" for r in risks.values()))
    table.add_row("examples", *(str(risk[next(iter(risk))]["n"]) for risk in risks.values()))
    return table


def shown(risk: Mapping[str, Any] | None) -> str:
    """Empty where something was not evaluated on a split."""
    return "" if risk is None else wording.estimate(risk["value"], risk["ci"], risk["unit"])


def interval_note(risks: Mapping[str, Any]) -> Text:
    sampled = [risk for risk in risks["test"].values() if risk["ci"] is not None]
    if not sampled:
        single = max(risk["n"] for risk in risks["test"].values()) == 1
        return Text("No intervals: " + ("the test split has a single example." if single else "no mean over examples."))
    methods = dict.fromkeys(risk["method"] for risk in sampled)
    return Text(
        f"[a, b]: {100 * sampled[0]['level']:.3g} % intervals for the sampling of the examples, this model given "
        f"({', '.join(methods)}).",
        style="dim",
    )


def noise_note(risks: Mapping[str, Any]) -> Iterator[Text]:
    """What the risks of random predictions owe to the draw, which is one and the same for every run."""
    errors = {split: risk["loss"]["noise_se"] for split, risk in risks.items() if risk.get("loss", {}).get("noise_se")}
    if errors:
        each = ", ".join(f"{split} {wording.number(error)}" for split, error in errors.items())
        yield Text(f"Standard error of the loss by the drawn noise, the same draw for every run: {each}.", style="dim")


def terms_table(metric: str, record: Mapping[str, Any], lines: bool) -> Table:
    """Three terms and their sum; where min_F L_train is an interval, so are the first two."""
    unit, test = record["loss"]["unit"], record["test"]["value"]
    gap = record["generalization"]
    name = "error" if unit == "fraction" else f"{metric}{wording.unit_name(unit)}"
    table = plain_table(lines, f"Why the test {name} is {wording.number(test, unit)}")
    for heading in ("term", "", "value", "share"):
        table.add_column(heading, overflow="fold")
    rows = {
        "approximation": record["approx_train"]["interval"],
        "optimization": record["optimization"]["interval"],
    }
    for term, ends in rows.items():
        table.add_row(term, FORMULAS[term], Text(wording.interval(ends, unit)), share(ends, test))
    value = wording.estimate(gap["value"], gap["ci"], unit)
    table.add_row("generalization", FORMULAS["generalization"], Text(value), share([gap["value"]] * 2, test))
    table.add_row("sum", "L_test", wording.number(test, unit), "")
    return table


def share(ends: list[float | None], whole: float) -> str:
    """Of the test risk; empty where a share says nothing (an open end, or a risk that is not positive)."""
    low, high = ends
    if low is None or high is None or whole <= 0:
        return ""
    shares = [f"{100 * end / whole + 0.0:.0f}" for end in (low, high)]
    return f"{shares[0]} %" if shares[0] == shares[1] else f"{shares[0]} to {shares[1]} %"


def provenance(record: Mapping[str, Any]) -> Iterator[Padding]:
    """Where each end of min_F L_train comes from, and heuristics beside them."""
    for line in origins(record):
        yield Padding(line, (0, 0, 0, 2))


def origins(record: Mapping[str, Any]) -> Iterator[Text]:
    unit, approximation = record["loss"]["unit"], record["approx_train"]
    lower, upper = approximation["lower"], approximation["upper"]
    if lower is None:
        yield Text("min_F L_train has no lower bound: this loss can be negative")
    elif not (lower["kind"] == upper["kind"] == "exact"):
        yield Text(f"min_F L_train {wording.bound(lower, unit)}")
    yield Text(f"min_F L_train {wording.bound(upper, unit)}")
    for heuristic in approximation["heuristics"]:
        yield Text(f"beside it, {wording.bound(heuristic, unit)}", style="dim")
    yield from split_of_optimization(record["optimization"], unit)
    yield from population(record.get("population") or {}, unit)
    matched = record["test"]["matched_noise_value"]
    if matched is not None:
        yield Text(f"with the label noise of the training set the test risk is {wording.number(matched, unit)}")


def split_of_optimization(found: Mapping[str, Any], unit: str) -> Iterator[Text]:
    """Where the run minimized something else, and the minimizer of that was looked for."""
    if found.get("surrogate"):
        bias = wording.interval(found["surrogate_bias"], unit)
        yield Text(
            f"of the optimization term, solver error {wording.number(found['solver_error'], unit)}, the bias of "
            f"its objective {bias}: {found['surrogate']['method']}"
        )
        yield from own_objective(found["surrogate"])


def own_objective(found: Mapping[str, Any]) -> Iterator[Text]:
    """Values of what was minimized, penalty included: no risks, and no ends of min_F L_train."""
    if found["least"]:
        before, after = (wording.number(found[when]) for when in ("before", "after"))
        yield Text(
            f"the run's own objective, penalty included, is {before} at its weights, {after} at that minimizer; over "
            f"the class it {wording.bound(found['least'])}"
        )


def population(found: Mapping[str, Any], unit: str) -> Iterator[Text]:
    """The other decomposition, of risks on the distribution, as far as it is known."""
    best, excess = found.get("best_in_class"), found.get("excess")
    if best:
        ends, level = wording.interval(best["interval"], unit), f"{100 * best['level']:.3g} %"
        yield Text(f"on the distribution the best of the class is {ends} ({level} confidence: {best['method']})")
    if excess:
        each = ", ".join(
            f"{name} {wording.interval(excess[name], unit)}" for name in ("approximation", "estimation", "optimization")
        )
        yield Text(f"on the distribution, above the Bayes risk {wording.number(excess['bayes'], unit)}: {each}")


def ladder_table(metric: str, record: Mapping[str, Any], lines: bool) -> Iterator[RenderableType]:
    """Every member that was looked at, as it came, where there were more than a quick budget finds."""
    unit = record["loss"]["unit"]
    tried = [bound for bound in record["approx_train"].get("bounds_tried", ()) if bound["side"] == "upper"]
    if sum(bound["seconds"] > 0 for bound in tried) < FEWEST_RUNGS:
        return
    table, best = plain_table(lines, f"Members that were looked for ({metric})"), record["train"]["value"]
    for heading in ("found by", "train risk", "best so far", "seconds"):
        table.add_column(heading, overflow="fold")
    for bound in tried:
        best = min(best, bound["value"])
        numbers = (wording.number(each, unit) for each in (bound["value"], best))
        table.add_row(Text(shortened(bound["method"])), *numbers, f"{bound['seconds']:.1f}")
    yield ""
    yield table


def shortened(method: str) -> str:
    """The ends of a chain of methods."""
    first, *_, last = method.split("; ", 1)[0], *method.rsplit("; ", 1)
    return first if first == last else f"{first} ... {last}"


def notes(summary: Mapping[str, Any]) -> Iterator[Text]:
    """Warnings of the run and of each decomposition; a shared one is printed once."""
    seen: dict[str, list[str]] = {}
    for warning in summary["warnings"]:
        seen.setdefault(warning["text"], [])
    for metric, record in summary["decomposition"].items():
        for warning in record["warnings"]:
            seen.setdefault(warning["text"], []).append(metric)
    for text, metrics in seen.items():
        only = f" ({metrics[0]})" if len(metrics) == 1 else ""
        yield Text(f"note{only}: {text}", style="yellow")
