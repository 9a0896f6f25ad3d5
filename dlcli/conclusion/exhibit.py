"""What TensorBoard shows of a concluded run beside the curves of its training, and of a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dlcli.report.page import every_picture, worth_drawing
from dlcli.report.summary import flatten
from dlcli.study import study
from dlcli.training import strict_json
from dlcli.training.durable import replace
from dlcli.training.events import EventFile
from dlcli.training.landscape import slices
from dlcli.training.loop import epoch
from dlcli.training.run import Run
from dlcli.training.tracker import Tracker

SHOWN_MISTAKES = 16


def exhibit(
    run: Run, config: dict[str, Any], tracker: Tracker, decisions: np.ndarray | None, summary: dict[str, Any]
) -> None:
    """Final risks, the terms, the row of the HParams tab, and pictures. decisions: (n,) classes decided on test."""
    step = run.state.step
    values = {
        f"risk/{split}/{name}": risk["value"]
        for split, risks in summary["risks"].items()
        for name, risk in risks.items()
    }
    for name, part in summary["decomposition"].items():
        for term in ("approx_train", "optimization"):
            low, high = part[term]["interval"]
            ends = {"low": low, "high": high}
            label = term.removesuffix("_train").replace("approx", "approximation")
            values |= {f"decomposition/{name}/{label}_{end}": value for end, value in ends.items() if value is not None}
        values[f"decomposition/{name}/generalization"] = part["generalization"]["value"]
    tracker.log(step, epoch(run), values)
    tracker.text("diagnosis", summary["diagnosis"], step)
    final = {key.removeprefix("risk/"): value for key, value in values.items() if key.startswith("risk/")}
    tracker.hparams({key: value for key, value in flatten(config).items() if not isinstance(value, list)}, final, step)
    survey(run, tracker, Path(summary["run"]["path"]))
    if worth_drawing(config["pictures"], summary["timing"]["training"]):
        draw(run, config, tracker, decisions, summary)
    tracker.flush()


def survey(run: Run, tracker: Tracker, run_dir: Path) -> None:
    """The loss around the weights, where it is asked for: a picture, a number, and landscape.json with all of them."""
    found = slices(run)
    for phase, each in found.items():
        from dlcli.report import figures

        tracker.scalar(f"diagnostics/{phase}/landscape_rise", each.rise, run.state.step)
        tracker.image(f"landscape/{phase}", figures.pixels(figures.landscape(*each)), run.state.step)
    if found:
        kept = {phase: {"steps": each.steps.tolist(), "losses": plain(each.losses)} for phase, each in found.items()}
        replace(run_dir / "landscape.json", strict_json.dump(kept))


def plain(losses: np.ndarray) -> list[Any]:
    """JSON has no infinity, which a step far from the weights may reach."""
    return np.where(np.isfinite(losses), losses.astype(object), None).tolist()


def exhibit_study(studied: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """The pictures of the page of several runs, which stand above the step axis, at step 0."""
    events = EventFile(folder / "tensorboard")
    try:
        for tag, pixels in report_pictures(studied, runs):
            events.image(tag, pixels, 0)
    finally:
        events.close()


def report_pictures(studied: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, np.ndarray]]:
    from dlcli.report import figures  # half a second, and a run that was stopped draws nothing

    for picture in every_picture(studied, runs):
        if picture.figure is not None:
            yield f"report/{picture.tag}", figures.pixels(picture.figure)


def draw(
    run: Run, config: dict[str, Any], tracker: Tracker, decisions: np.ndarray | None, summary: dict[str, Any]
) -> None:
    from dlcli.report import figures

    step, path = run.state.step, summary["run"]["path"]
    record = {"path": path, "status": "done", "reason": "", "config": flatten(config), "summary": summary}
    for tag, pixels in report_pictures(study([record]), [record]):
        tracker.image(tag, pixels, step)
    if decisions is None:
        return
    test, classes = run.data.test, run.data.spec.classes
    targets = test.targets.cpu().numpy()
    tracker.image("test/confusion", figures.pixels(figures.confusion(targets, decisions, classes)), step)
    wrong = np.flatnonzero(targets != decisions)[:SHOWN_MISTAKES]
    if len(wrong):
        inputs = test.batch(torch.from_numpy(wrong).to(run.device)).inputs.cpu().numpy()
        shown = figures.misclassified(inputs, targets[wrong], decisions[wrong], classes)
        tracker.image("test/misclassified", figures.pixels(shown), step)
