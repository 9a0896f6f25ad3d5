"""The final weights on every split: per-example rows, and the risks that they are estimates of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dlcli.decomposition import record
from dlcli.decomposition.decompose import Decomposition
from dlcli.decomposition.intervals import Estimate, Sampling, sampled, whole
from dlcli.errors import Diverged
from dlcli.protocols import Batch, Metric, Task
from dlcli.training.directory import RunDirectory
from dlcli.training.evaluate import chunk_of, evaluate, evaluate_afterwards, evaluate_real, never
from dlcli.training.polish import widened
from dlcli.training.randomness import FixedNoise
from dlcli.training.references import copy_of
from dlcli.training.run import Run

DECOMPOSED = ("loss", "error")
FEWEST_TOKENS, MOST_TOKENS = 256, 8192  # of the test text that are predicted from a whole window before each
TOKENS_SHARE = 0.1  # of the windows that were trained on, to stay far below the cost of the training


class Evaluated(NamedTuple):
    """The final weights on every split: rows[split][metric] is (n,) float64, decisions are of the test split.

    again: rows under another draw of the noise, where predictions are random.
    """

    rows: dict[str, dict[str, np.ndarray]]
    decisions: np.ndarray | None
    again: dict[str, dict[str, np.ndarray]]


def evaluate_splits(run: Run, stopped: Callable[[], bool] = never) -> Evaluated:
    """Raises Cut once `stopped` is true."""
    decide = run.task.metrics["error"].decide if "error" in run.task.metrics else None
    rows, decisions = {}, []

    def collect(prediction: Tensor) -> None:
        decisions.append(decide(prediction).cpu())

    again = {}
    for name, split in run.data.splits().items():
        step, known = run.measured.get(name, (None, None))
        if step == run.state.step:  # the end of the training was an evaluation of the same weights
            rows[name] = known
        else:
            rows[name] = evaluate(run.model, run.task, split, collect=collect if decide and name == "test" else None)
        if run.task.random and not run.task.undefined:
            again[name] = evaluate(run.model, run.task, split, draw=1)
    rows["test"] |= evaluate_afterwards(run.model, run.task, run.data.test) | at_stride_1(run)
    if run.task.drawn:
        rows["real"] = evaluate_real(run.task, run.data.train, run.data.test)
    return Evaluated(rows, torch.cat(decisions).numpy() if decisions else None, again)


@torch.inference_mode()
def at_stride_1(run: Run) -> dict[str, np.ndarray]:
    """Losses of tokens that are each predicted from a whole window before it, as by a window that moves on token by
    token; evenly spread over the test text. Nothing where examples are no windows of a text.

    In windows that touch, the rule of every other risk, most tokens have fewer before them: part of their loss is that
    of a short context, which the best of models shares.
    """
    test = run.data.test
    if test.cuts == 1:
        return {}
    places = (len(test) - 1) * test.cuts + 1  # where a window may begin
    trained_on = run.steps * run.batches.batch_size
    count = min(places, MOST_TOKENS, max(FEWEST_TOKENS, int(TOKENS_SHARE * trained_on)))
    starts = torch.arange(count, device=test.device) * places // count
    found, model = [], run.model.eval()
    for some in (starts // test.cuts + starts % test.cuts * len(test)).split(chunk_of(run.task.spec, run.device)):
        batch = test.batch(some)
        prediction = run.task.predict(model, batch, FixedNoise(0, len(some), run.device))
        last = Batch(batch.inputs[:, -1:], batch.targets[:, -1:])
        found.append(run.task.metrics["loss"].rows(prediction[:, -1:], last).double().cpu())
    return {"loss_at_stride_1": torch.cat(found).numpy()}


@torch.inference_mode()
def float64_difference(run: Run) -> float | None:
    """How far the mean loss of up to 1000 training examples moves where all is computed in float64; None where there is
    no loss, where it is random, or where the device has no float64.
    """
    if "loss" not in run.task.metrics or run.task.random or run.device.type == "mps":
        return None
    model, batch = copy_of(run.model), run.data.train.batch(slice(chunk_of(run.task.spec, run.device)))

    def mean(model: nn.Module, batch: Batch) -> float:
        prediction = run.task.predict(model, batch, FixedNoise(0, len(batch.inputs), run.device))
        return run.task.metrics["loss"].rows(prediction, batch).double().mean().item()

    return abs(mean(model, batch) - mean(model.double(), widened(batch)))


def refuse_nonfinite(evaluated: Evaluated) -> None:
    for split, metrics in evaluated.rows.items():
        for metric, rows in metrics.items():
            bad = int(np.count_nonzero(~np.isfinite(rows)))
            if bad:
                raise Diverged(
                    f"the {split} {metric} of the final weights is not finite for {bad} of {len(rows)} examples",
                    "try a lower optimizer.lr or training.clip_norm=1",
                )


def keep_rows(directory: RunDirectory, evaluated: Evaluated) -> None:
    """losses/SPLIT_METRIC.npy, (n,) float64, in the order of the split: from them every number can be had again.

    Not so for distances of whole samples, whose rows are the examples themselves.
    """
    rows = {(split, metric): each for split, metrics in evaluated.rows.items() for metric, each in metrics.items()}
    directory.write_arrays(
        {f"losses/{split}_{metric}.npy": each for (split, metric), each in rows.items() if each.ndim == 1}
    )


def risk_estimates(
    run: Run, evaluated: Evaluated, parts: Mapping[str, Decomposition] | None = None, bootstrap: bool = True
) -> dict[str, dict[str, Any]]:
    """A train risk is known, those of the other splits are estimates of the distribution's.

    parts: decompositions, which hold the estimates of the test split already.
    """
    found: dict[str, dict[str, Any]] = {}
    for split, metrics in evaluated.rows.items():
        found[split], sampling = {}, sampling_of(run, split, bootstrap)
        for name, rows in metrics.items():
            metric = run.task.metrics.get(name)
            if metric is None:  # evaluated once, in the unit of the loss
                estimate = sampled(rows, run.task.metrics["loss"].unit, sampling)
            elif split == "test" and parts is not None and name in parts:
                estimate = parts[name].test
            elif name not in decomposed(run.task):
                estimate = Estimate(metric.reduce(rows), len(rows), metric.unit, method="one reduction of the split")
            else:
                estimate = whole(rows, metric.unit) if split == "train" else sampled(rows, metric.unit, sampling)
            found[split][name] = record.estimate(estimate)
            if split in evaluated.again and name in decomposed(run.task):
                error = noise_error(rows, evaluated.again[split][name])
                found[split][name] |= {"noise_se": error} if error else {}  # 0: the expectation has a closed form
            if estimate.unit == "squared units":
                targets = run.data.splits()[split].targets.cpu().numpy()
                found[split][name]["constant"] = metric.constant_risk(targets)
    return found


def sampling_of(run: Run, split: str, bootstrap: bool) -> Sampling:
    """bootstrap: whether there is time for one."""
    return Sampling(split in run.data.splits() and run.data.splits()[split].contiguous, bootstrap)


def noise_error(rows: np.ndarray, again: np.ndarray) -> float:
    """Standard error of a risk that comes from the drawn noise alone: two independent draws for each example."""
    return float(np.sqrt(np.mean((rows - again) ** 2) / 2 / len(rows)))


def decomposed(task: Task) -> dict[str, Metric]:
    """The losses whose risk is a mean over examples; other metrics are readings of the same rows, and no sums."""
    return {name: metric for name, metric in task.metrics.items() if name in DECOMPOSED}
