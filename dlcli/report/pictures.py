"""What is drawn of one run or of several: for its page, and for TensorBoard. Each picture is laid out once for both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dlcli.report.summary import read_rows

Run = Mapping[str, Any]  # as `summary.read_run` returns it

MOST_HISTOGRAMS, MOST_LADDERS = 4, 6
METRICS = ("loss", "error")
DRAWING = 2.0  # seconds that pictures take at most, in TensorBoard and on the page
LATER = " (dlcli report --format html draws its pictures)"


class Picture(NamedTuple):
    tag: str  # short, for TensorBoard; its first word names the section of the page
    words: str
    figure: Any  # a matplotlib Figure


def worth_drawing(asked: str, training: float) -> bool:
    """asked: the setting `pictures`. training: seconds of a run, or of all of a sweep, which looking at them should not
    outlast."""
    return asked == "always" or (asked == "auto" and training > DRAWING)


def pictures(study: Mapping[str, Any], runs: Sequence[Run]) -> list[Picture]:
    """All there is to draw. study: as `dlcli.study.study` makes it."""
    done = [run for run in runs if run["summary"] is not None]
    drawn = [*terms(study), *search(study.get("search")), *differences(study), *way(study, done)]
    return [each for each in drawn if each.figure is not None]


def into_tensorboard(drawn: Sequence[Picture], folder: Path) -> None:
    """Of several runs, which stand above the step axis: at step 0."""
    from dlcli.report import figures  # half a second
    from dlcli.training.events import EventFile

    events = EventFile(folder / "tensorboard")
    try:
        for each in drawn:
            events.image(f"report/{each.tag}", figures.pixels(each.figure), 0)
    finally:
        events.close()


def terms(study: Mapping[str, Any]) -> Iterator[Picture]:
    from dlcli.report import charts  # half a second

    for metric in METRICS:
        words = "Terms end to end up to the test risk; hatched: approximation or optimization, not told apart."
        yield Picture(f"terms/{metric}", f"{metric}: {words}", charts.bars(study["groups"], metric))
        for number in study["numbers"]:
            drawn = charts.swept(number, study["groups"], metric)
            said = f"{metric} against {number['key']}, bands over {', '.join(study['over'])}."
            yield Picture(f"terms/{metric}_against_{number['key']}", said, drawn)


def search(found: Mapping[str, Any] | None) -> Iterator[Picture]:
    """found: what search.json holds, where a sweep has searched."""
    if not found:
        return
    from dlcli.report import searches

    words = "The search by the validation loss: trials in their order, and the best so far; crosses were ended early."
    yield Picture("search/history", words, searches.history(found))
    words = "Each line is a trial; dark ones did well on validation."
    yield Picture("search/parallel", words, searches.parallel(found))
    for key in found["settings"]:
        words = f"Validation loss against {key}, whatever the other settings were."
        yield Picture(f"search/{key}", words, searches.against(found, key))
    words = "Share of the variance of the validation loss that a setting explains over its range (fANOVA)."
    yield Picture("search/importance", words, searches.importance(found))


def differences(study: Mapping[str, Any]) -> Iterator[Picture]:
    from dlcli.report import charts

    for quantity in dict.fromkeys(each["quantity"] for each in study["comparisons"]):
        words = f"{quantity}: left of 0 the first is lower; filled: the corrected test decides."
        yield Picture(f"differences/{quantity}", words, charts.forest(study["comparisons"], quantity))


def way(study: Mapping[str, Any], done: Sequence[Run]) -> Iterator[Picture]:
    """One run of each group stands for it."""
    from dlcli.report import charts
    from dlcli.training.tracker import read_metrics  # a tenth of a second

    first = {group["label"]: run for group in study["groups"] if (run := representative(group, done)) is not None}
    records = {name: run["summary"]["decomposition"].get("loss") for name, run in first.items()}
    ladders = {name: record for name, record in list(records.items())[:MOST_LADDERS] if record}
    if ladders:
        words = "Upper bounds of min_F L_train against the seconds spent; a curve that still falls is not done."
        yield Picture("way/upper_bounds", words, charts.ladder(ladders))
        ends = next(iter(ladders.values()))["approx_train"]["interval"] if len(ladders) == 1 else (None, None)
        histories = {name: read_metrics(Path(run["path"])) for name, run in first.items()}
        words = "Risks at the evaluations of the training, by the definitions of the report."
        yield Picture("way/risks", words, charts.steps(histories, "loss", ends))
    for name, run in list(first.items())[:MOST_HISTOGRAMS]:
        rows = [read_rows(Path(run["path"]), split, "loss") for split in ("train", "test")]
        if records[name] and not any(each is None for each in rows):
            unit, low = records[name]["loss"]["unit"], records[name]["approx_train"]["interval"][0]
            words = f"Losses of single examples: {name}"
            yield Picture(f"way/losses/{name}", words, charts.histogram(*rows, unit, low))


def representative(group: Mapping[str, Any], done: Sequence[Run]) -> Run | None:
    paths = {run["path"]: run for run in done}
    return next((paths[path] for path in group["paths"] if path in paths), None)
