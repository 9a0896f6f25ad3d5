"""Games and energies through the command line: resumed to the bit with all their players, and told when they fail."""

import json
import signal

import numpy as np
import pytest
import safetensors.torch

from dlcli.training import loop

GRID = ("dataset=gaussian_grid", "dataset.examples=600", "dataset.test_examples=300", "training.batch_size=50")
SHORT = (*GRID, "training.steps=17", "training.evaluate_every=1")
GAN = ("model=gan", "model.width=16", "model.latent=4")
RUNS = {
    "gan": (*GAN, "model.spectral=true", "model.pack=2", "task=adversarial", "task.discriminator_steps=3"),
    "wasserstein": (*GAN, "task=adversarial", "task.loss=wasserstein", "task.penalty=between"),
    "energy": ("model=ebm", "model.width=16", "model.chains=70"),
    "score_matching": ("model=ebm", "model.width=16", "task=score_matching", "task.langevin_steps=5"),
}


def content(run_dir):
    newest = max((run_dir / "checkpoints").iterdir())
    losses = [(path.name, path.read_bytes()) for path in sorted((run_dir / "losses").iterdir())]
    return (newest / "model.safetensors").read_bytes(), (newest / "optimizer.safetensors").read_bytes(), losses


@pytest.mark.parametrize("name", RUNS)
def test_a_run_stopped_within_an_epoch_goes_on_to_the_bit(dlcli, monkeypatch, name):
    whole = dlcli("train", *SHORT, *RUNS[name])
    assert whole.code == 0, whole.err
    original = loop.take_step

    def take_step(run):
        if run.state.step == 6:  # of ten in the epoch, and between two turns of a generator that has every third
            monkeypatch.setattr(loop, "take_step", original)
            signal.raise_signal(signal.SIGTERM)
        return original(run)

    monkeypatch.setattr(loop, "take_step", take_step)
    stopped = dlcli("train", *SHORT, *RUNS[name])
    assert stopped.code == 143
    assert dlcli("resume", str(stopped.run_dir)).code == 0
    assert content(stopped.run_dir) == content(whole.run_dir)


def test_the_checkpoint_of_a_game_holds_both_memories_and_the_average(dlcli):
    newest = max((dlcli("train", *SHORT, *RUNS["gan"]).run_dir / "checkpoints").iterdir())
    memories = safetensors.torch.load_file(newest / "optimizer.safetensors")
    model = safetensors.torch.load_file(newest / "model.safetensors")
    assert {name.split("/")[0] for name in memories} == {"discriminator", "generator"}
    assert memories["discriminator/step"] == 17 and memories["generator/step"] == 17 // 3
    assert model["average.updates"] == 17 // 3


def test_a_game_has_no_decomposition_and_real_examples_stand_beside_the_drawn_ones(dlcli, summary_of):
    answer = dlcli("train", *SHORT, *RUNS["gan"])
    summary = summary_of(answer.run_dir)
    assert summary["decomposition"] == {}
    assert "The decomposition is not defined" in summary["diagnosis"] and "not defined" in answer.out
    risks = summary["risks"]
    assert "The generator has collapsed" in summary["diagnosis"]
    assert set(risks["test"]) == {"modes", "high_quality", "reverse_kl", "surprise", "discrepancy"}
    assert risks["real"]["modes"]["value"] == 25 and risks["real"]["high_quality"]["value"] > 0.97
    assert risks["test"]["discrepancy"]["value"] > 10 * abs(risks["real"]["discrepancy"]["value"])
    assert json.loads((answer.run_dir / "status.json").read_text())["state"] == "done"


@pytest.mark.parametrize("name", ["gan", "energy", "score_matching"])
def test_examples_are_drawn_in_the_numbers_of_the_source(dlcli, name):
    run_dir = dlcli("train", *SHORT, *RUNS[name], "dataset.standardize=all").run_dir
    assert dlcli("sample", str(run_dir), "--count", "300").code == 0
    drawn = np.load(run_dir / "samples" / "seed-0.npz")["samples"]
    assert drawn.shape == (300, 2) and np.isfinite(drawn).all() and len(np.unique(drawn[:, 0])) > 200
    if name == "gan":  # what evaluation sees of the same noise is standardized: the source is 2.83 times as wide
        rows = np.load(run_dir / "losses" / "test_surprise.npy")
        modes = np.stack(np.meshgrid(*[np.arange(-4, 5, 2.0)] * 2), -1).reshape(-1, 1, 2)
        densities = np.exp(-np.square((drawn - modes) / 0.05).sum(-1) / 2) / (2 * np.pi * 0.05**2)
        near = rows[:300] < 50  # elsewhere the densities vanish
        np.testing.assert_allclose(rows[:300][near], -np.log(densities.mean(0)[near]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("phase", ["discriminator", "generator"])
def test_a_loss_that_is_not_finite_names_its_phase(dlcli, monkeypatch, phase):
    from dlcli.tasks import adversarial

    original = getattr(adversarial, f"{phase}_loss")
    monkeypatch.setattr(adversarial, f"{phase}_loss", lambda *arguments: original(*arguments) * np.nan)
    answer = dlcli("train", *SHORT, *RUNS["wasserstein"])
    assert answer.code == 5
    assert f"the loss of phase '{phase}' is not finite in step 1" in answer.err


def test_the_likelihood_of_an_energy_in_the_plane_is_never_below_the_entropy(dlcli, summary_of):
    settings = ("dataset.deviation=0.5", "dataset.side=2", "training.steps=150", "optimizer.lr=0.01")
    summary = summary_of(dlcli("train", *SHORT, *RUNS["energy"], "model.chains=500", *settings).run_dir)
    test, entropy = summary["risks"]["test"]["loss"], summary["data"]["truth"]["entropy"]
    assert entropy - 0.1 < test["ci"][1] and test["value"] < entropy + 0.6
    assert summary["risks"]["test"]["quadrature_error"]["value"] < 1e-3
    assert "partition function" in summary["diagnosis"]


def test_score_matching_is_a_risk_and_is_decomposed(dlcli, summary_of):
    summary = summary_of(dlcli("train", *SHORT, *RUNS["score_matching"]).run_dir)
    part = summary["decomposition"]["loss"]
    assert 0 <= part["approx_train"]["interval"][0] <= part["train"]["value"]


def test_models_and_tasks_that_do_not_go_together_are_refused(dlcli):
    answer = dlcli("train", *GRID, "model=mlp", "task=adversarial")
    assert answer.code == 2 and "model=mlp does not fit task=adversarial" in answer.err
    answer = dlcli("train", *GRID, "model=gan", "task=energy")
    assert answer.code == 2 and "model=gan does not fit task=energy" in answer.err


def test_features_come_from_a_classifier_of_the_same_data(dlcli, summary_of):
    digits = ("dataset=digits", "training.batch_size=100", "decompose.budget=none")
    classifier = dlcli("train", *digits, "model=lenet", "training.steps=60").run_dir
    game = ("model=gan", "model.width=8", "task=adversarial", f"task.features={classifier}", "training.steps=8")
    answer = dlcli("train", *digits, *game, "dataset.standardize=none", "model.output=sigmoid")
    assert answer.code == 0, answer.err
    risks = summary_of(answer.run_dir)["risks"]
    assert set(risks["test"]) == {"discrepancy", "frechet_distance", "precision", "recall"}
    assert risks["real"]["precision"]["value"] > 0.5 > risks["test"]["precision"]["value"]
    assert risks["test"]["frechet_distance"]["value"] > 3 * risks["real"]["frechet_distance"]["value"]
    foreign = dlcli("train", *GRID, "model=gan", "task=adversarial", f"task.features={classifier}")
    assert foreign.code == 2 and "needs a classifier of gaussian_grid" in foreign.err
    absent = dlcli("train", *GRID, "model=gan", "task=adversarial", "task.features=nowhere")
    assert absent.code == 2 and "nowhere is not a run directory" in absent.err


@pytest.mark.slow
def test_the_shipped_settings_reach_all_modes_and_lose_them(dlcli, summary_of):
    found = {}
    for name in ("gan_grid", "gan_grid_collapsed"):
        summary = summary_of(dlcli("train", f"experiment={name}").run_dir)
        found[name] = {measure: risk["value"] for measure, risk in summary["risks"]["test"].items()}, summary
    reached, lost = found["gan_grid"], found["gan_grid_collapsed"]
    assert reached[0]["modes"] == 25 and reached[0]["high_quality"] > 0.9 and reached[0]["reverse_kl"] < 0.05
    assert "All 25 modes are reached." in reached[1]["diagnosis"]
    assert lost[0]["modes"] <= 5 and "The generator has collapsed" in lost[1]["diagnosis"]
