"""What a trained model says of examples that it has never seen: a table, one row an example or a token."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlcli import registry
from dlcli.datasets import text, unlabelled
from dlcli.datasets.wording import quote
from dlcli.errors import DataError, UsageError
from dlcli.protocols import DataSpec
from dlcli.trained import restored
from dlcli.training.evaluate import chunk_of, in_chunks
from dlcli.training.faults import machine_faults
from dlcli.training.run import Run
from dlcli.training.signals import Stop


class Predictions(NamedTuple):
    columns: dict[str, np.ndarray]  # name -> (rows,)
    notes: list[str]


def predict(run_dir: Path, config: dict[str, Any], kind: str, path: Path) -> Predictions:
    """Predictions of the checkpoint "last" or "best" for a file of new inputs.

    UsageError for a model that predicts no targets, DataError for a file that does not fit the training set.
    """
    refuse_generative(run_dir, config)
    with machine_faults(), Stop() as stop, torch.inference_mode():
        run = restored(run_dir, config, kind, stop)
        if run.task.spec.causal:
            return Predictions(of_tokens(run, path), [])
        if run.task.spec.vocabulary is not None:
            raise UsageError(
                f"{run_dir} reads sequences of tokens that no file holds", "use `dlcli eval` on its splits"
            )
        found = unlabelled.read(path, run.data.spec, run.data.form)
        scores = scores_of(run, unlabelled.prepared(found, run.data.spec, run.data.form))
        return Predictions({found.unit: np.array(found.places), **named(run, scores)}, found.notes)


def refuse_generative(run_dir: Path, config: dict[str, Any]) -> None:
    model = config["model"]["name"]
    if "tasks" in registry.entry("model", model).meant_for:
        raise UsageError(
            f"{run_dir} is a {model}, which predicts no targets", f"draw from it with: dlcli sample {run_dir}"
        )


def scores_of(run: Run, split: unlabelled.Resident) -> Tensor:
    """(n, spec.outputs)"""
    batches = in_chunks(split.to(run.device), chunk_of(run.task.spec, run.device))
    return torch.cat([run.model(batch.inputs).cpu() for batch in batches])


def named(run: Run, scores: Tensor) -> dict[str, np.ndarray]:
    """The decision with its probability and that of each class, or its score where the loss judges no probabilities;
    of a regression the numbers in the units of the source."""
    spec: DataSpec = run.task.spec
    if not spec.classes:
        numbers = scores.double().numpy() * spec.target_scale + np.array(spec.target_mean)
        several = numbers.shape[1] > 1
        return {f"prediction_{i}" if several else "prediction": column for i, column in enumerate(numbers.T)}
    decided = run.task.metrics["error"].decide(scores).numpy()
    columns = {"prediction": np.array(spec.classes, object)[decided]}
    probabilities = run.task.metrics["loss"].probabilities
    if probabilities is None:
        names = [f"score_{name}" for name in spec.classes] if scores.shape[1] > 1 else ["score"]
        return columns | dict(zip(names, scores.double().numpy().T, strict=True))
    shares = probabilities(scores).double().numpy()
    columns["probability"] = shares[np.arange(len(shares)), decided]
    return columns | {f"p_{name}": share for name, share in zip(spec.classes, shares.T, strict=True)}


def of_tokens(run: Run, path: Path) -> dict[str, np.ndarray]:
    """Each token after the first, predicted from those before it in its window, by the rule of the run's own risks."""
    vocabulary, length = run.task.spec.vocabulary, run.task.spec.shape[0]
    tokens = torch.from_numpy(np.asarray(vocabulary.encode(text.read(str(path))[0]), np.int64))
    if len(tokens) < 2:
        raise DataError(f"{quote(path, 80)} has {len(tokens)} tokens", "the first is given, so it takes two or more")
    windows = tokens[:-1].split(length)
    whole = torch.stack(windows[:-1]).split(chunk_of(run.task.spec, run.device)) if len(windows) > 1 else ()
    shares = [run.model(part.to(run.device)).flatten(0, 1).cpu() for part in (*whole, windows[-1][None])]
    log_shares = torch.cat(shares).double().log_softmax(-1)  # (tokens - 1, vocabulary)
    likeliest, given = log_shares.max(-1), log_shares.gather(-1, tokens[1:, None]).squeeze(-1)
    names = np.array(vocabulary.tokens, object)
    return {
        "position": np.arange(1, len(tokens)),
        "token": names[tokens[1:].numpy()],
        "p_token": given.exp().numpy(),
        "prediction": names[likeliest.indices.numpy()],
        "probability": likeliest.values.exp().numpy(),
    }
