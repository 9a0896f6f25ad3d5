"""VAE and flow through the command line: resumed to the bit, told when they fail, drawn from."""

import signal

import numpy as np
import pytest
from PIL import Image

from dlcli.training import loop

SHORT = ("training.steps=23", "training.epochs=null", "training.evaluate_every=1", "training.batch_size=100")
VAE = ("model=vae", "dataset=digits", "model.width=20", "model.latents=4")
FLOW = ("model=flow", "model.couplings=2", "model.width=8")
RUNS = {
    "vae": VAE,
    "gaussian": (*VAE, "task=reconstruction", "task.likelihood=gaussian", "dataset.binarize=true"),
    "convolutional": (*VAE, "model.architecture=convolutional", "model.width=4", "normalization=batch"),
    "points": (*FLOW, "dataset=gaussian_grid", "dataset.examples=1000", "dataset.test_examples=300", "model.bins=4"),
    "images": (*FLOW, "dataset=digits"),
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
        if run.state.step == 16:
            monkeypatch.setattr(loop, "take_step", original)
            signal.raise_signal(signal.SIGTERM)
        return original(run)

    monkeypatch.setattr(loop, "take_step", take_step)
    stopped = dlcli("train", *SHORT, *RUNS[name])
    assert stopped.code == 143
    assert dlcli("resume", str(stopped.run_dir)).code == 0
    assert content(stopped.run_dir) == content(whole.run_dir)


def test_the_report_of_a_vae_has_the_tighter_bound_and_the_error_of_its_noise(dlcli, summary_of):
    answer = dlcli("train", *SHORT, *VAE)
    test = summary_of(answer.run_dir)["risks"]["test"]
    assert test["importance_weighted_16"]["value"] < test["loss"]["value"]
    assert test["loss"]["value"] == pytest.approx(test["reconstruction"]["value"] + test["kl"]["value"])
    assert 0 < test["loss"]["noise_se"] < 1
    assert "importance weighted" in answer.out and "entropy of the grey pixels" in answer.out
    assert "Standard error of the loss by the drawn noise" in " ".join(answer.out.split())


def test_a_density_has_no_lower_bound_and_knows_the_entropy(dlcli, summary_of):
    answer = dlcli("train", *SHORT, *RUNS["points"])
    part = summary_of(answer.run_dir)["decomposition"]["loss"]
    assert part["approx_train"]["interval"][0] is None
    assert part["population"]["bayes"]["value"] == pytest.approx(0.06529, abs=1e-5)
    assert "has no lower bound" in answer.out


@pytest.mark.parametrize(("name", "shape"), [("vae", (1, 8, 8)), ("images", (1, 8, 8)), ("points", (2,))])
def test_samples_are_written_beside_the_run_and_depend_on_the_seed_alone(dlcli, name, shape):
    run_dir = str(dlcli("train", *SHORT, *RUNS[name], "decompose.budget=none").run_dir)
    assert dlcli("sample", run_dir, "--count", "9").code == 0
    assert dlcli("sample", run_dir, "--count", "1300", "--seed", "1").code == 0
    folder = f"{run_dir}/samples"
    few, many = (np.load(f"{folder}/seed-{seed}.npz")["samples"] for seed in (0, 1))
    assert few.shape == (9, *shape) and many.shape == (1300, *shape) and not np.allclose(few, many[:9])
    assert dlcli("sample", run_dir, "--count", "9", "--seed", "1").code == 0
    assert np.allclose(np.load(f"{folder}/seed-1.npz")["samples"], many[:9], atol=1e-5)
    with Image.open(f"{folder}/seed-1.png") as picture:
        assert picture.mode == "RGB" and min(picture.size) > 50


def test_what_cannot_be_drawn_is_refused(dlcli):
    classifier = dlcli("train", *SHORT, "dataset=digits", "decompose.budget=none")
    answer = dlcli("sample", str(classifier.run_dir))
    assert answer.code == 2 and answer.err.startswith("error: a model that predicts the targets of digits")
    assert dlcli("sample", str(classifier.run_dir), "--count", "0").err.startswith("error: --count=0 is out of range")
    vae = dlcli("train", *SHORT, *VAE, "decompose.budget=none")
    assert "is no language model" in dlcli("sample", str(vae.run_dir), "--prompt", "a").err


@pytest.mark.parametrize("name", ["vae", "points"])
def test_a_run_that_diverges_names_its_phase(dlcli, name):
    answer = dlcli("train", *RUNS[name], "optimizer=sgd", "optimizer.lr=1e30", "schedule=constant")
    assert answer.code == 5 and "of phase 'train' is not finite" in answer.err


def test_models_and_tasks_that_do_not_fit_name_each_other(dlcli):
    answer = dlcli("train", "model=vae", "task=multiclass", "dataset=digits")
    assert answer.code == 2 and answer.err.startswith("error: model=vae does not fit task=multiclass")
    answer = dlcli("train", "model=mlp", "task=density", "dataset=digits")
    assert answer.code == 2 and "use model=flow" in answer.err
