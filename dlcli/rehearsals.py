"""Checks of the whole program against known truth: each trains, concludes and reads what was written, as a user would.

The estimator alone is checked by `decomposition.selftest`; here the training loop, the ladder and the ledger are in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from dlcli import config as configs
from dlcli import session
from dlcli.build import build
from dlcli.conclusion.evaluation import evaluate_splits
from dlcli.training.directory import RunDirectory
from dlcli.training.evaluate import evaluate
from dlcli.training.progress import ProgressDisplay
from dlcli.training.signals import Stop

Verdict = tuple[bool, str]
MNIST1D_SOFTMAX = 1.583247770786  # nats; an independent Newton solver on the authors' 4000 examples
CLOSED, ROUNDING = 1e-6, 1e-5  # of an exact minimum; of risks after equal training in another order of summation
GOOD, TINY = "optimizer.lr=0.003", "optimizer.lr=1e-6"


@contextmanager
def folder() -> Iterator[Callable[..., dict[str, Any]]]:
    """train(override, ...) -> summary, in a folder that is forgotten; runs of one folder share a ledger."""
    with TemporaryDirectory() as root:
        count = iter(range(100))

        def train(*overrides: str) -> dict[str, Any]:
            config = configs.load_checked([*overrides, f"output_root={root}"])
            path = Path(root) / f"run{next(count)}"
            path.mkdir()
            with Stop() as stop, RunDirectory(path) as directory:
                return session.train_in(directory, config, ["selftest"], stop, ProgressDisplay(lines=False))

        yield train


def interval(summary: Mapping[str, Any], metric: str = "loss") -> list[float]:
    return summary["decomposition"][metric]["approx_train"]["interval"]


def terms(summary: Mapping[str, Any]) -> np.ndarray:
    part = summary["decomposition"]["loss"]
    ends = [*part["approx_train"]["interval"], *part["optimization"]["interval"]]
    return np.array([*ends, part["generalization"]["value"]])


def softmax_through_the_program(generator: np.random.Generator) -> Verdict:
    with folder() as train:
        low, high = interval(train("experiment=mnist1d_linear", "training.steps=200"))
    closed = high - low < CLOSED and low - CLOSED <= MNIST1D_SOFTMAX <= high + CLOSED
    return closed, f"min in [{low:.9f}, {high:.9f}], known {MNIST1D_SOFTMAX:.9f}"


def least_squares_through_the_program(generator: np.random.Generator) -> Verdict:
    """Noise variance known: all terms of Bottou & Bousquet are closed around the fit, and the Bayes risk is below."""
    seed = int(generator.integers(1000))
    with folder() as train:
        overrides = (f"dataset.seed={seed}", "dataset.validation_fraction=0", "optimizer.lr=0.03")
        summary = train("model=linear", "dataset=linear_regression", "training.epochs=30", *overrides)
    part, (low, high) = summary["decomposition"]["loss"], interval(summary)
    excess, noise = part["population"]["excess"], part["population"]["bayes"]["value"]
    below = low < noise  # fitted to noise: 50 features of 200 examples
    covered = excess["approximation"][0] <= 0 <= excess["approximation"][1]
    return high - low < CLOSED and below and covered, (
        f"min in [{low:.6f}, {high:.6f}], Bayes {noise:.4f}, estimation {excess['estimation'][1]:.4f} at most"
    )


def tiny_and_good_learning_rates(generator: np.random.Generator) -> Verdict:
    """One command: nearly all of the train loss is optimization with a tiny rate, and little is with a good one."""
    seed = f"seed={generator.integers(1000)}"
    found = []
    with folder() as train:
        for rate in (TINY, GOOD):
            part = train("dataset=digits", seed, rate)["decomposition"]["loss"]
            found.append((part["optimization"]["interval"][0], part["train"]["value"]))
    (bad, whole), (_, small) = found
    return bad > 0.9 * whole and small < 0.05 * whole, (
        f"optimization at least {bad:.3f} of {whole:.3f} with {TINY}; train loss {small:.4f} with {GOOD}"
    )


def relu_of_one_input(generator: np.random.Generator) -> Verdict:
    seed = f"dataset.seed={generator.integers(1000)}"
    with folder() as train:
        part = train("dataset=noisy_sine", "model.width=8", "model.depth=1", seed)["decomposition"]["loss"]
    bound = part["approx_train"]["lower"]
    told = any(warning["code"] == "approx_opt_not_separable" for warning in part["warnings"])
    low, high = part["approx_train"]["interval"]
    return told and low < high and "pieces" in bound["method"], f"min in [{low:.5f}, {high:.5f}]: {bound['method']}"


def arrays(path: Path, x: np.ndarray, y: np.ndarray, test: tuple[np.ndarray, np.ndarray]) -> str:
    np.savez(path, x=x, y=y, x_test=test[0], y_test=test[1])
    return f"dataset.path={path}"


def drawn(generator: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    x = generator.normal(size=(n, 5))
    return x, (
        x @ np.array([[1, 0, -1], [0, 1, 0], [0, -1, 1], [1, 1, 1], [0, 0, 1]]) + generator.gumbel(size=(n, 3))
    ).argmax(1)


def data_twice_through_the_program(generator: np.random.Generator) -> Verdict:
    (x, y), test = drawn(generator, 150), drawn(generator, 200)
    command = ("dataset=npz", "model=linear", "optimizer=gd", "training.steps=60", "dataset.validation_fraction=0")
    with TemporaryDirectory() as place, folder() as train:
        once = train(*command, arrays(Path(place) / "once.npz", x, y, test))
        twice = train(*command, arrays(Path(place) / "twice.npz", np.r_[x, x], np.r_[y, y], test))
    change = float(np.abs(terms(once) - terms(twice)).max())
    return change < ROUNDING, f"greatest change of a term {change:.1e}"


def train_set_as_test_set(generator: np.random.Generator) -> Verdict:
    x, y = drawn(generator, 150)
    with TemporaryDirectory() as place, folder() as train:
        source = arrays(Path(place) / "same.npz", x, y, (x, y))
        summary = train("dataset=npz", "training.epochs=3", "dataset.validation_fraction=0", source)
    gap = summary["decomposition"]["loss"]["generalization"]["value"]
    seen = summary["data"]["duplicates"]["train_test"]
    told = any(
        warning["code"] == "duplicates_across_splits" for warning in summary["decomposition"]["loss"]["warnings"]
    )
    return abs(gap) < 1e-12 and told, f"generalization {gap:.1e}, {seen} duplicates across splits told"


def evaluation_batches(generator: np.random.Generator) -> Verdict:
    """Batch normalization and dropout in the model: batches of 1, of 1000, and two evaluations are alike."""
    overrides = ["dataset=digits", "normalization=batch", "model.dropout=0.5", f"seed={generator.integers(1000)}"]
    run = build(configs.load_checked(overrides))
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    first = evaluate_splits(run).rows["train"]["loss"]
    others = [evaluate(run.model, run.task, run.data.train, chunk)["loss"] for chunk in (1, 7, 1000)]
    change = max(float(np.abs(first - rows).max()) for rows in others)
    moved = [name for name, tensor in run.model.state_dict().items() if not torch.equal(tensor, before[name])]
    return change < ROUNDING and not moved, f"greatest change of a row {change:.1e}, {len(moved)} buffers moved"


def nested_classes_through_the_program(generator: np.random.Generator) -> Verdict:
    """The wider class was trained for a single epoch: what it contains was found in the ledger."""
    seed = f"seed={generator.integers(1000)}"
    with folder() as train:
        narrow = interval(train("dataset=digits", "model.width=8", "model.depth=1", seed))[1]
        wide = interval(train("dataset=digits", "model.width=16", "model.depth=1", seed, "training.epochs=1"))[1]
    return wide <= narrow, f"upper end {narrow:.4f} at width 8, {wide:.4f} at width 16"


def other_labels_other_bounds(generator: np.random.Generator) -> Verdict:
    """Two draws of label noise under one configuration never share a bound."""
    with folder() as train:
        noisy = ("dataset=digits", "model.width=8", "training.epochs=1", "dataset.label_noise=0.5")
        first, second = (train(*noisy, f"dataset.seed={seed}")["keys"] for seed in (1, 2))
    apart = first["data"] != second["data"] and first["class"] == second["class"]
    return apart, f"data {first['data'][:8]} and {second['data'][:8]}, class {first['class']}"


CHECKS: Mapping[str, Callable[[np.random.Generator], Verdict]] = {
    "trained: softmax regression on MNIST-1D closed to 1e-6": softmax_through_the_program,
    "trained: least squares, with the terms on the distribution": least_squares_through_the_program,
    "trained: a tiny learning rate, a good learning rate": tiny_and_good_learning_rates,
    "trained: ReLU network of one input, width 8, is not separable": relu_of_one_input,
    "trained, law: data twice": data_twice_through_the_program,
    "trained, law: train set as test set": train_set_as_test_set,
    "trained, law: evaluation batches": evaluation_batches,
    "trained, law: a wider class is no worse": nested_classes_through_the_program,
    "trained, law: other labels, other bounds": other_labels_other_bounds,
}
