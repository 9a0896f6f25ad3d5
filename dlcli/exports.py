"""A trained model as a file that runs without dlcli, from the numbers of the data set to probabilities or numbers."""

from __future__ import annotations

import copy
import io
import json
import logging
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dlcli.errors import DlcliError, UsageError
from dlcli.predictions import refuse_generative
from dlcli.protocols import DataSpec, Form
from dlcli.trained import restored
from dlcli.training.durable import replace, storage
from dlcli.training.faults import machine_faults
from dlcli.training.run import Run
from dlcli.training.signals import Stop

CHECKED = 100  # test examples on which the file is held against the model
TOLERANCE = 1e-4  # of the greatest output; float32 sums in another order differ by some 1e-6
FOLDER = "export"  # of a run
SUFFIXES = {"torch": ".pt2", "onnx": ".onnx"}
Answer = Callable[[np.ndarray], np.ndarray]


class Exported(NamedTuple):
    path: Path
    examples: int
    difference: float  # greatest, of any output of any example


class Deployed(nn.Module):
    """numbers of the source (batch, *spec.shape) -> what `outputs` says of the scores (batch, ..., outputs)."""

    def __init__(self, model: nn.Module, spec: DataSpec, outputs: Callable[[Tensor], Tensor] | None):
        super().__init__()
        self.model, self.outputs, self.tokens = model, outputs, spec.vocabulary is not None
        like = torch.empty(1, *spec.shape)
        self.register_buffer("mean", spec.to_source(torch.zeros_like(like))[:1])
        self.register_buffer("scale", spec.to_source(torch.ones_like(like))[:1] - self.mean)
        self.register_buffer("target_mean", torch.tensor(spec.target_mean))
        self.target_scale = spec.target_scale
        self.numbers = not spec.classes and not self.tokens

    def forward(self, inputs: Tensor) -> Tensor:
        scores = self.model(inputs if self.tokens else (inputs - self.mean) / self.scale)
        if self.numbers:
            return scores * self.target_scale + self.target_mean
        return scores if self.outputs is None else self.outputs(scores)


def export(run_dir: Path, config: dict[str, Any], kind: str, form: str, output: Path | None) -> Exported:
    """Write the model of a checkpoint, and beside it what goes in and comes out, as JSON; by default into the run.

    The file that was written is read back and held against the model on examples of the test split, in batches of
    several sizes. UsageError for a model that predicts no targets, and where a package is missing.
    """
    refuse_generative(run_dir, config)
    refuse_missing(form)
    path = output or run_dir / FOLDER / f"model{SUFFIXES[form]}"
    with machine_faults(), Stop() as stop, torch.inference_mode():
        run = restored(run_dir, config, kind, stop)
    spec, probabilities = run.task.spec, run.task.metrics["loss"].probabilities
    # A copy, because the parameters of a run are views of one vector, which each of them would take along.
    deployed = Deployed(copy.deepcopy(run.model).cpu(), spec, probabilities).eval().requires_grad_(False)
    inputs = run.data.test.batch(slice(CHECKED)).inputs.cpu()
    wanted = original(run, deployed, inputs)
    numbers = inputs if deployed.tokens else spec.to_source(inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters, about their own future
        program = torch.export.export(deployed, (numbers[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
        content, answer = (to_torch if form == "torch" else to_onnx)(program)
        found = np.concatenate([answer(part) for part in (numbers[:1].numpy(), numbers[1:].numpy()) if len(part)])
    difference = float(np.abs(found - wanted).max())
    if not difference <= TOLERANCE * max(1.0, float(np.abs(wanted).max())):
        raise DlcliError(
            f"the exported model differs from the run's by {difference:.3g}, so nothing was written",
            "inputs of great size lose digits in float32: train on smaller numbers",
        )
    if output is None:
        with storage(path):
            path.parent.mkdir(exist_ok=True)
    replace(path, content)
    replace(path.with_suffix(".json"), json.dumps(described(spec, run.data.form, probabilities), indent=2).encode())
    return Exported(path, len(wanted), difference)


def original(run: Run, deployed: Deployed, inputs: Tensor) -> np.ndarray:
    """What the run's own model says of inputs as it reads them."""
    with torch.inference_mode():
        scores = run.model(inputs.to(run.device)).cpu()
        if deployed.numbers:
            scores = scores * deployed.target_scale + deployed.target_mean
        return (scores if deployed.outputs is None else deployed.outputs(scores)).numpy()


def refuse_missing(form: str) -> None:
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None] if form == "onnx" else []
    if missing:
        raise UsageError(
            f"--format onnx needs {' and '.join(missing)}, not installed here",
            "pip install 'dlcli-train[onnx]', or use --format torch, which needs nothing",
        )


def to_torch(program: torch.export.ExportedProgram) -> tuple[bytes, Answer]:
    """An archive for `torch.export.load(FILE).module()`."""
    content = io.BytesIO()
    torch.export.save(program, content)
    content.seek(0)
    module = torch.export.load(content).module()
    return content.getvalue(), lambda numbers: module(torch.from_numpy(numbers)).numpy()


def to_onnx(program: torch.export.ExportedProgram) -> tuple[bytes, Answer]:
    """A model for any ONNX runtime; the check uses the slow one that comes with the format."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of torchvision, whatever is exported
    model = torch.onnx.export(program, dynamo=True, verbose=False).model_proto
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    evaluator = ReferenceEvaluator(onnx.load_model_from_string(content))
    return content, lambda numbers: evaluator.run(None, {evaluator.input_names[0]: numbers})[0]


def described(spec: DataSpec, form: Form, probabilities: Callable[[Tensor], Tensor] | None) -> dict[str, Any]:
    """What a program that calls the model has to know."""
    inputs: dict[str, Any] = {"shape": ["batch", *spec.shape], "type": "float32"}
    outputs: dict[str, Any] = {"shape": ["batch", spec.outputs], "meaning": "numbers in the units of the data set"}
    if spec.vocabulary is not None:
        inputs |= {"type": "int64", "meaning": "tokens", "vocabulary": list(spec.vocabulary.tokens)}
        outputs = {"shape": ["batch", *spec.shape, spec.outputs], "meaning": "probabilities of the next token"}
    elif form.columns:
        columns = [{"name": name, "categories": texts} for name, texts in form.columns]
        inputs |= {
            "meaning": "columns in this order, a text as zeros and a one over its categories",
            "columns": columns,
        }
    else:
        inputs["meaning"] = "pixels from 0 to 1" if spec.levels else "numbers of the data set"
    if spec.classes:
        outputs = {"shape": ["batch", len(spec.classes) if probabilities else spec.outputs]}
        outputs |= {"meaning": "probabilities" if probabilities else "scores", "classes": list(spec.classes)}
    return {"data": spec.name, "inputs": inputs, "outputs": outputs}
