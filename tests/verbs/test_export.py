"""`dlcli export`: the file alone, without dlcli, answers what `dlcli predict` answers."""

import csv
import io
import json

import numpy as np
import pytest
import torch

from dlcli import exports

QUICK = ("training.steps=5", "decompose.budget=none")


def predicted(text, *names):
    rows = list(csv.DictReader(io.StringIO(text)))
    return np.array([[float(row[name]) for name in names] for row in rows])


def program(path):
    return torch.export.load(path).module()


def test_the_file_maps_numbers_of_the_source_to_numbers_of_the_source(dlcli, tmp_path):
    x = np.random.default_rng(0).normal([5, 100], [2, 30], (60, 2))
    lines = [f"{a},{b},{1000 + 50 * a - b},{'pq'[a > 5]}" for a, b in x.tolist()]
    (tmp_path / "plane.csv").write_text("\n".join(["a,b,y,c", *lines]))
    options = ("dataset=csv", "dataset.path=plane.csv", "dataset.target=y", "model.width=8", "training.epochs=5")
    run_dir = str(dlcli("train", *options, "decompose.budget=none").run_dir)
    answer = dlcli("export", run_dir)
    assert answer.code == 0 and "export/model.pt2" in answer.out and "differs from the run's model by" in answer.out
    inputs = torch.tensor([[a, b, a <= 5, a > 5] for a, b in x.tolist()])
    found = program(tmp_path / run_dir / "export" / "model.pt2")(inputs)
    wanted = predicted(dlcli("predict", run_dir, "plane.csv").out, "prediction")
    assert np.allclose(found.numpy(), wanted, rtol=1e-5) and wanted.std() > 1
    described = json.loads((tmp_path / run_dir / "export" / "model.json").read_text())
    assert described["inputs"]["columns"][2] == {"name": "c", "categories": ["p", "q"]}
    answer = dlcli("export", run_dir, "--output", "nowhere/model.pt2")
    assert answer.code == 6 and "cannot write nowhere/model.pt2" in answer.err


def test_a_file_that_answers_otherwise_is_not_written(dlcli, tmp_path, monkeypatch):
    run_dir = str(dlcli("train", "dataset=iris", "model=linear", *QUICK).run_dir)
    honest = exports.to_torch
    monkeypatch.setattr(exports, "to_torch", lambda program: (b"", lambda x: honest(program)[1](x) + 0.01))
    answer = dlcli("export", run_dir)
    assert answer.code == 1 and "differs from the run's by 0.01" in answer.err
    assert not list((tmp_path / run_dir / "export").glob("model*"))


def test_a_missing_package_and_a_generative_model_are_refused(dlcli, monkeypatch):
    run_dir = str(dlcli("train", "model=vae", "dataset=digits", "model.width=8", *QUICK).run_dir)
    assert "is a vae, which predicts no targets" in dlcli("export", run_dir).err
    run_dir = str(dlcli("train", "dataset=iris", "model=linear", *QUICK).run_dir)
    monkeypatch.setattr(exports, "find_spec", lambda name: None)
    answer = dlcli("export", run_dir, "--format", "onnx")
    assert answer.code == 2 and answer.err.startswith("error: --format onnx needs onnx and onnxscript, not installed")
    assert "dlcli-train[onnx]" in answer.err


EVERY = {
    "mlp": ("normalization=weight",),
    "linear": (),
    "kernel": ("model.exact=true",),
    "cnn": ("normalization=batch",),
    "lenet": ("dataset=digits",),
    "resnet": ("dataset=digits",),
    "vit": ("dataset=digits", "model.width=8", "model.heads=2"),
    "rnn": (),
    "gru": (),
    "lstm": (),
    "transformer": ("dataset=text", "dataset.window=8", "model.width=8", "model.heads=2"),
}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["torch", "onnx"])
@pytest.mark.parametrize("model", EVERY)
def test_every_model_that_predicts_can_be_exported(dlcli, model, form):
    if form == "onnx":
        pytest.importorskip("onnx", reason="the extra dlcli[onnx]")
    trained = dlcli("train", f"model={model}", *EVERY[model], *QUICK)
    assert trained.code == 0, trained.err
    answer = dlcli("export", str(trained.run_dir), "--format", form)
    assert answer.code == 0, answer.err
    assert "on 100 test examples" in answer.out
