"""`import dlcli`: two functions that do what the command line does, at no cost until they are called."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import dlcli
from dlcli.datasets.bundled import digits
from dlcli.errors import UsageError

TINY = ["dataset=digits", "model.width=8", "training.steps=30", "decompose.budget=none"]


def test_importing_dlcli_imports_nothing_heavy():
    code = "import sys, dlcli; print({'torch', 'numpy', 'hydra', 'yaml'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_train_returns_the_summary_and_load_the_model_that_it_is_about(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    summary = dlcli.train(TINY, quiet=True)
    run_dir = Path(summary["run"]["path"])
    assert capsys.readouterr().out == "" and (run_dir / "report.html").is_file()
    assert (run_dir / "command.txt").read_text() == f"dlcli train {' '.join(TINY)}\n"
    model, spec, step = dlcli.load(run_dir)
    assert step == 30 and not model.training and spec.outputs == len(spec.classes) == 10
    source = digits().train  # the splits are cut from it
    scores = model(spec.from_source(torch.from_numpy(source.inputs.astype(np.float32))))
    wrong = int((scores.argmax(1).numpy() != source.targets).sum())
    errors = [risk["error"] for risk in summary["risks"].values()]
    assert 0 < wrong < len(source.targets) and wrong == round(sum(risk["value"] * risk["n"] for risk in errors))


def test_a_mistake_is_an_error_of_dlcli(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="unknown setting"):
        dlcli.train(["optimizer.lrr=1"])
    with pytest.raises(UsageError, match="there is no run directory nowhere"):
        dlcli.load("nowhere")
