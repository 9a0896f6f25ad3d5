"""Sequences through the command line: a text is continued and resumed, and what remembers solves what needs memory."""

import json
import signal

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml

from dlcli import build
from dlcli.conclusion import evaluation
from dlcli.training import loop

SENTENCES = "the quick brown fox jumps over the lazy dog. pack my box with five dozen liquor jugs! "
TEXT = ("dataset=text", "dataset.path=play.txt", "dataset.window=16", "training.steps=20", "training.batch_size=8")
MODELS = {
    "transformer": ("model=transformer", "normalization=layer", "model.width=16", "model.dropout=0.2"),
    "lstm": ("model=lstm", "model.width=16", "model.dropout=0.2"),
}


@pytest.fixture
def play(tmp_path):
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 20))
    words = SENTENCES.split()
    (tmp_path / "play.txt").write_text(" ".join(words[i] for i in order) + SENTENCES * 20)


def content(run_dir):
    newest = max((run_dir / "checkpoints").iterdir())
    losses = [(path.name, path.read_bytes()) for path in sorted((run_dir / "losses").iterdir())]
    return (newest / "model.safetensors").read_bytes(), (newest / "optimizer.safetensors").read_bytes(), losses


@pytest.mark.parametrize("model", MODELS)
def test_a_stopped_run_on_text_goes_on_to_the_bit(dlcli, monkeypatch, play, model):
    whole = dlcli("train", *TEXT, *MODELS[model]).run_dir
    original = loop.take_step

    def take_step(run):
        if run.state.step == 7:
            monkeypatch.setattr(loop, "take_step", original)
            signal.raise_signal(signal.SIGTERM)
        return original(run)

    monkeypatch.setattr(loop, "take_step", take_step)
    stopped = dlcli("train", *TEXT, *MODELS[model])
    assert stopped.code == 143
    assert dlcli("resume", str(stopped.run_dir)).code == 0
    assert content(stopped.run_dir) == content(whole)


def test_the_test_risk_is_the_mean_over_all_tokens_of_the_end_of_the_text(
    dlcli, summary_of, play, tmp_path, monkeypatch
):
    answer = dlcli("train", *TEXT, *MODELS["transformer"])
    risks = summary_of(answer.run_dir)["risks"]["test"]
    config = yaml.safe_load((answer.run_dir / "config.yaml").read_text())
    run = build.build(config)
    newest = max((answer.run_dir / "checkpoints").iterdir())
    run.model.load_state_dict(safetensors.torch.load_file(newest / "model.safetensors"))
    text = (tmp_path / "play.txt").read_text()
    tokens = torch.tensor([sorted(set(text)).index(letter) for letter in text])[-((len(text) + 9) // 10) :]
    losses, model = [], run.model.eval().double()
    for start in range(0, len(tokens) - 16, 16):  # one window after the other, as a reader would
        scores = model(tokens[None, start : start + 16])[0].log_softmax(1)
        losses += (-scores[range(16), tokens[start + 1 : start + 17]]).tolist()
    assert len(losses) == (len(tokens) - 1) // 16 * 16
    assert risks["loss"]["value"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert risks["perplexity"]["value"] == pytest.approx(np.exp(np.mean(losses)), rel=1e-5)
    assert risks["bits_per_character"]["value"] == pytest.approx(np.mean(losses) / np.log(2), rel=1e-5)
    assert "neighbouring examples" in risks["loss"]["method"]  # windows of one text are not resampled one by one
    sliding = [  # trap 20: every token with a whole window before it
        -model(tokens[None, start : start + 16])[0, -1].log_softmax(0)[tokens[start + 16]].item()
        for start in range(len(losses) - 15)
    ]
    assert risks["loss_at_stride_1"]["value"] == pytest.approx(np.mean(sliding), rel=1e-5)
    assert risks["loss_at_stride_1"]["n"] == len(sliding)
    monkeypatch.setattr(evaluation, "MOST_TOKENS", 100)
    spread = np.array(sliding)[np.arange(100) * len(sliding) // 100]
    assert evaluation.at_stride_1(run)["loss_at_stride_1"] == pytest.approx(spread, rel=1e-5)


def test_a_repeated_text_is_learned_and_stays_above_its_floor(dlcli, summary_of, play):
    answer = dlcli("train", *TEXT, *MODELS["lstm"], "training.steps=150", "model.dropout=0", "optimizer.lr=0.02")
    part = summary_of(answer.run_dir)["decomposition"]["loss"]
    assert 0 < part["approx_train"]["interval"][0] <= part["train"]["value"] < 1.5


def test_models_of_numbers_refuse_a_text_in_one_line(dlcli, play):
    answer = dlcli("train", *TEXT, "model=mlp")
    assert answer.code == 2 and "model 'mlp' reads numbers, and 'text' is made of tokens" in answer.err


@pytest.mark.slow
def test_an_lstm_solves_the_adding_problem_and_a_plain_network_does_not(dlcli, summary_of):
    """Squared errors after 2000 steps at length 60; predicting the mean gives 1/6."""
    found = {}
    for model in ("lstm", "rnn"):
        settings = ("dataset.length=60", "training.steps=2000", "decompose.budget=none")
        run_dir = dlcli("train", f"experiment=adding_{model}", *settings).run_dir
        found[model] = summary_of(run_dir)["risks"]["test"]["loss"]["value"]
    assert found["lstm"] < 0.01 and 0.15 < found["rnn"] < 0.19, json.dumps(found)
