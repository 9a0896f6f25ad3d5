"""What TensorBoard shows of a concluded run beside the curves of its training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dlcli.report.pictures import Picture, pictures, worth_drawing
from dlcli.report.summary import flatten
from dlcli.study import study
from dlcli.training import strict_json
from dlcli.training.durable import replace
from dlcli.training.landscape import slices
from dlcli.training.loop import epoch
from dlcli.training.run import Run
from dlcli.training.tracker import Tracker

SHOWN_MISTAKES = 16


def exhibit(
    run: Run, config: dict[str, Any], tracker: Tracker, decisions: np.ndarray | None, concluded: Mapping[str, Any]
) -> list[Picture]:
    """Final risks, the terms, the row of the HParams tab, and pictures, of which those of the page are returned.

    decisions: (n,) classes decided on test. concluded: the run, as `summary.read_run` will return it.
    """
    step, summary = run.state.step, concluded["summary"]
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
    worth = worth_drawing(config["pictures"], summary["timing"]["training"])
    drawn = draw(run, tracker, decisions, concluded) if worth else []
    tracker.flush()
    return drawn


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


def draw(run: Run, tracker: Tracker, decisions: np.ndarray | None, concluded: Mapping[str, Any]) -> list[Picture]:
    """Into TensorBoard; returns those that the page of the run has too."""
    from dlcli.report import figures  # half a second, and a run that was stopped draws nothing

    step, drawn = run.state.step, pictures(study([concluded]), [concluded])
    for each in drawn:
        tracker.image(f"report/{each.tag}", figures.pixels(each.figure), step)
    if decisions is None:
        return drawn
    test, classes = run.data.test, run.data.spec.classes
    targets = test.targets.cpu().numpy()
    tracker.image("test/confusion", figures.pixels(figures.confusion(targets, decisions, classes)), step)
    wrong = np.flatnonzero(targets != decisions)[:SHOWN_MISTAKES]
    if len(wrong):
        inputs = test.batch(torch.from_numpy(wrong).to(run.device)).inputs.cpu().numpy()
        shown = figures.misclassified(inputs, targets[wrong], decisions[wrong], classes)
        tracker.image("test/misclassified", figures.pixels(shown), step)
    return drawn
