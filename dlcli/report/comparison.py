"""Several runs side by side, one row each; a run that failed keeps its row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from dlcli.report import wording
from dlcli.report.summary import differing
from dlcli.report.table import plain_table
from dlcli.training.train_log import escaped

Run = Mapping[str, Any]  # as `summary.read_run` returns it
HEADINGS = ("train\nloss", "test\nloss", "train\nerror", "test\nerror", "gap", "above\nbest", "status")


def print_comparison(runs: Sequence[Run], console: Console) -> None:
    """A table of the runs, then what went wrong in those without a result."""
    for part in parts(runs, console.is_terminal):
        console.print(part, highlight=False)


def parts(runs: Sequence[Run], lines: bool) -> Iterator[RenderableType]:
    names = labels(runs)
    best = best_train_losses(runs)
    yield comparison_table(runs, names, best, lines)
    if any(count > 1 for _, count in best.values()):
        yield Text(
            "above best: train loss minus the least one among the runs with the same function class, training set and "
            "loss; an exact difference of optimization terms.",
            style="dim",
        )
    for run, name in zip(runs, names, strict=True):
        if run["reason"]:
            yield Text(f"{run['status']}: {name}: {run['reason']}", style="" if run["status"] == "pruned" else "red")


def comparison_table(
    runs: Sequence[Run], names: Sequence[str], best: Mapping[tuple[str, ...], tuple[float, int]], lines: bool
) -> Table:
    """What differs between the runs, their risks, and how far each is from the best-trained of its own class.

    That last column is exact whatever min_F L_train is; runs of different classes are never compared by it.
    """
    table = plain_table(lines, f"{len(runs)} runs")
    table.add_column("run", overflow="fold")
    measures = undecomposed(runs)
    for heading in (*HEADINGS[:-1], *(f"test\n{name.replace('_', ' ')}" for name in measures), HEADINGS[-1]):
        table.add_column(heading)
    for run, name in zip(runs, names, strict=True):
        summary = run["summary"]
        if summary is None:
            table.add_row(
                Text(name),
                *[""] * (len(HEADINGS) - 1 + len(measures)),
                Text(run["status"], style="red" if run["status"] == "failed" else ""),
            )
            continue
        train, test = summary["risks"]["train"], summary["risks"]["test"]
        least, count = best.get(comparable(summary), (0.0, 0))
        table.add_row(
            Text(name),
            shown(train.get("loss")),
            shown(test.get("loss")),
            shown(train.get("error")),
            shown(test.get("error")),
            wording.number(test["loss"]["value"] - train["loss"]["value"]) if "loss" in test else "",
            wording.number(train["loss"]["value"] - least) if count > 1 else "",
            *(shown(test.get(measure)) for measure in measures),
            run["status"],
        )
    return table


def undecomposed(runs: Sequence[Run]) -> list[str]:
    """What there is to say of runs without a loss, such as those of a game of two players."""
    risks = [run["summary"]["risks"]["test"] for run in runs if run["summary"] is not None]
    return list(dict.fromkeys(name for risk in risks if "loss" not in risk for name in risk if name != "error"))


def shown(risk: Mapping[str, Any] | None) -> str:
    return "" if risk is None else wording.number(risk["value"], risk["unit"])


def labels(runs: Sequence[Run]) -> list[str]:
    """What sets each run apart, as short as it stays clear: `sgd lr=0.1 seed=0`; the directory if nothing does."""
    configs = [run["config"] for run in runs]
    keys = [key for key in differing(configs) if not follows(key, configs)]
    last = [key.rsplit(".", 1)[-1] for key in keys]
    short = [end if last.count(end) == 1 else key for key, end in zip(keys, last, strict=True)]
    spelled = {key: spelling([config[key] for config in configs if key in config]) for key in keys}

    def label(config: Mapping[str, Any]) -> str:
        # The name of a component says which group it is of, a setting of a component it does not have says nothing.
        named = [(key, name) for key, name in zip(keys, short, strict=True) if key in config]
        present = [(key, name, spelled[key](config[key])) for key, name in named]
        return " ".join(
            value if any(other.startswith(f"{key}.") for other in config) else f"{name}={value}"
            for key, name, value in present
        )

    return [label(run["config"]) or escaped(run["path"]) for run in runs]


def spelling(values: Sequence[Any]) -> Callable[[Any], str]:
    """Numbers that a search has drawn have seventeen digits, of which these need as many as tell them apart."""
    numbers = {value for value in values if isinstance(value, float)}
    enough = (count for count in range(4, 17) if len({f"{number:.{count}g}" for number in numbers}) == len(numbers))
    digits = next(enough, 17)
    return lambda value: min(str(value), f"{value:.{digits}g}", key=len) if isinstance(value, float) else str(value)


def follows(key: str, configs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a setting says no more than its component: `optimizer.lr`, where each optimizer has its own one."""
    component = key.partition(".")[0]
    if component == key or component not in differing(configs):
        return False
    values: dict[Any, set[str]] = {}
    for config in configs:
        if key in config:
            values.setdefault(config.get(component), set()).add(repr(config[key]))
    return all(len(found) == 1 for found in values.values())


def comparable(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """Equal for runs that share min_F L_train: the keys of class, training set and loss."""
    return tuple(summary["keys"][part] for part in ("class", "data", "loss"))


def best_train_losses(runs: Sequence[Run]) -> dict[tuple[str, ...], tuple[float, int]]:
    """Per key: the least train loss, and how many runs have the key."""
    found: dict[tuple[str, ...], tuple[float, int]] = {}
    for run in runs:
        if run["summary"] is not None and "loss" in run["summary"]["risks"]["train"]:
            key = comparable(run["summary"])
            value = run["summary"]["risks"]["train"]["loss"]["value"]
            least, count = found.get(key, (value, 0))
            found[key] = (min(least, value), count + 1)
    return found
