"""A run through the command line: what it leaves, that its numbers are true, and that a stop changes nothing."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml

from dlcli.datasets.bundled import digits
from dlcli.training import device, loop
from dlcli.training.tracker import read_metrics

QUICK = ("dataset=digits", "model.width=16", "training.epochs=2", "checkpoint.unit=steps", "checkpoint.every=10")


@pytest.fixture
def stop_at(monkeypatch):
    """stop_at(step, signal): the process receives the signal while that step is taken, once."""

    def arm(step, number=signal.SIGTERM):
        original = loop.take_step

        def take_step(run):
            if run.state.step == step:
                monkeypatch.setattr(loop, "take_step", original)
                signal.raise_signal(number)
            return original(run)

        monkeypatch.setattr(loop, "take_step", take_step)

    return arm


def weights(run_dir):
    newest = max((run_dir / "checkpoints").iterdir())
    return safetensors.torch.load_file(newest / "model.safetensors")


def durable_numbers(run_dir):
    """All that a run says of itself, but for times and places."""
    newest = max((run_dir / "checkpoints").iterdir())
    state = json.loads((newest / "state.json").read_text())
    state.pop("seconds")
    summary = json.loads((run_dir / "summary.json").read_text())
    summary.pop("timing")
    summary["run"].pop("path")
    bounds = [part["approx_train"] for part in summary["decomposition"].values()]
    for part in bounds:
        part.pop("ledger_version")
    for bound in [each for part in bounds for each in (part["upper"], part["lower"], *part["bounds_tried"])]:
        bound.pop("seconds")
        if bound["method"].startswith("ledger: "):  # of another run of the sweep, in another folder
            bound.pop("evidence")
    tensors = {name: (newest / f"{name}.safetensors").read_bytes() for name in ("model", "optimizer")}
    return tensors, state, summary, read_metrics(run_dir)


def test_a_run_leaves_its_files_and_says_where(dlcli):
    answer = dlcli("train", *QUICK, "name=first")
    run_dir = answer.run_dir
    assert answer.code == 0 and "first" in run_dir.name
    names = {path.name for path in run_dir.iterdir()}
    assert names >= {"config.yaml", "command.txt", "environment.json", "status.json", "metrics.jsonl", "summary.json"}
    assert names >= {"train.log", "checkpoints", "tensorboard", "losses"}
    assert json.loads((run_dir / "status.json").read_text())["state"] == "done"
    assert f"tensorboard --logdir {run_dir}" in answer.out
    assert "Why the test loss" in answer.out and "Why the test error" in answer.out


def test_the_risks_are_those_of_the_saved_weights(dlcli, summary_of):
    """Batch normalization, dropout and label smoothing at once, against an evaluation that uses none of dlcli's."""
    answer = dlcli("train", *QUICK, "normalization=batch", "model.dropout=0.3", "task.label_smoothing=0.1")
    saved = weights(answer.run_dir)
    source = digits().train
    facts = summary_of(answer.run_dir)["data"]
    pixels = torch.from_numpy(source.inputs.astype(np.float64)).flatten(1)
    pixels = (pixels - facts["standardize"]["mean"][0]) / facts["standardize"]["scale"][0]
    hidden = pixels
    layers = sorted({name.split(".")[1] for name in saved if name.startswith("body.")}, key=int)
    for layer in layers:
        part = {
            name.split(".")[2]: tensor.double() for name, tensor in saved.items() if name.startswith(f"body.{layer}.")
        }
        if "running_mean" in part:
            hidden = (hidden - part["running_mean"]) / (part["running_var"] + 1e-5).sqrt() * part["weight"] + part[
                "bias"
            ]
            hidden = hidden.relu()
        else:
            hidden = hidden @ part["weight"].T + part.get("bias", 0)
    scores = hidden @ saved["head.weight"].double().T + saved["head.bias"].double()
    rows = torch.nn.functional.cross_entropy(scores, torch.from_numpy(source.targets), reduction="none").numpy()
    kept = {
        split: np.load(answer.run_dir / "losses" / f"{split}_loss.npy") for split in ("train", "validation", "test")
    }
    assert sum(map(len, kept.values())) == len(rows) == 1797
    found = np.sort(np.concatenate(list(kept.values())))
    np.testing.assert_allclose(found, np.sort(rows), rtol=1e-4, atol=1e-5)
    for split, values in kept.items():
        assert summary_of(answer.run_dir)["risks"][split]["loss"]["value"] == pytest.approx(values.mean(), abs=1e-12)


def test_the_terms_sum_to_the_test_risk(dlcli, summary_of):
    summary = summary_of(dlcli("train", *QUICK).run_dir)
    assert set(summary["decomposition"]) == {"loss", "error"}
    for name, part in summary["decomposition"].items():
        test = summary["risks"]["test"][name]["value"]
        for low, high in zip(part["approx_train"]["interval"], reversed(part["optimization"]["interval"]), strict=True):
            assert low + high + part["generalization"]["value"] == pytest.approx(test, abs=1e-9)
        assert part["approx_train"]["interval"][1] <= summary["risks"]["train"][name]["value"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_run_goes_on_to_the_bit(dlcli, stop_at, number):
    unbroken = dlcli("train", *QUICK, "run_dir=unbroken", "normalization=batch", "model.dropout=0.2")
    assert unbroken.code == 0, unbroken.err
    stop_at(17, number)
    stopped = dlcli("train", *QUICK, "run_dir=stopped", "normalization=batch", "model.dropout=0.2")
    assert stopped.code == 128 + number
    assert "checkpoint saved" in stopped.err and "dlcli resume" in stopped.err
    resumed = dlcli("resume", "stopped")
    assert resumed.code == 0 and "resuming from step 18" in resumed.out
    assert durable_numbers(resumed.run_dir) == durable_numbers(unbroken.run_dir)


def test_a_finished_run_is_complete(dlcli):
    run_dir = dlcli("train", *QUICK).run_dir
    before = (run_dir / "summary.json").read_bytes()
    answer = dlcli("resume", str(run_dir))
    assert answer.code == 0 and "already complete" in answer.out
    assert (run_dir / "summary.json").read_bytes() == before


def test_a_finished_run_can_be_extended(dlcli, summary_of):
    run_dir = dlcli("train", *QUICK, "schedule=constant").run_dir
    answer = dlcli("resume", str(run_dir), "training.epochs=3")
    assert answer.code == 0, answer.err
    longer = dlcli("train", *QUICK, "schedule=constant", "training.epochs=3")
    assert summary_of(run_dir)["risks"] == summary_of(longer.run_dir)["risks"]


def test_a_run_is_not_resumed_as_another_one(dlcli):
    run_dir = dlcli("train", *QUICK).run_dir
    answer = dlcli("resume", str(run_dir), "seed=5", "optimizer.lr=0.1")
    assert answer.code == 4
    assert "optimizer.lr" in answer.err and "seed" in answer.err and "--from" in answer.err
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert config["seed"] == 0


def test_a_run_is_replayed_from_its_directory(dlcli, summary_of):
    first = dlcli("train", *QUICK, "seed=3")
    again = dlcli("train", "--from", str(first.run_dir))
    assert again.run_dir != first.run_dir
    assert summary_of(again.run_dir)["risks"] == summary_of(first.run_dir)["risks"]


def test_evaluating_a_checkpoint_agrees_with_the_report(dlcli):
    answer = dlcli("train", *QUICK)
    for kind in ("last", "best"):
        evaluated = dlcli("eval", str(answer.run_dir), f"checkpoint={kind}")
        assert evaluated.code == 0, evaluated.err
    last = dlcli("eval", str(answer.run_dir)).out.splitlines()
    (loss,) = [line for line in last if line.startswith("loss")]
    assert loss in dlcli("report", str(answer.run_dir)).out


def test_a_failing_job_neither_stops_nor_hides_the_others(dlcli):
    swept = dlcli("train", "-m", *QUICK, "normalization=instance,batch")
    assert swept.code == 11
    assert "1 of 2 jobs failed" in swept.err and "instance" in swept.err
    assert "normalization=batch" in swept.out
    results = (swept.run_dir / "results.csv").read_text().splitlines()
    assert len(results) == 3 and ",failed," in results[1] and ",done," in results[2]
    again = dlcli("resume", str(swept.run_dir))
    assert again.code == 11


def test_a_stopped_sweep_runs_only_what_is_missing(dlcli, stop_at):
    unbroken = dlcli("train", "-m", *QUICK, "seed=1,2,3", "run_dir=unbroken")
    assert unbroken.code == 0, unbroken.err
    stop_at(17)
    stopped = dlcli("train", "-m", *QUICK, "seed=1,2,3", "run_dir=stopped", "output_root=apart")
    assert stopped.code == 143 and "3 jobs of the sweep are left" in stopped.err
    resumed = dlcli("resume", "stopped")
    assert resumed.code == 0, resumed.err
    for seed in (1, 2, 3):
        names = (unbroken.run_dir / f"seed={seed}", resumed.run_dir / f"seed={seed}")
        first, second = map(durable_numbers, names)
        assert first == second


def test_a_bad_point_of_a_grid_is_refused_before_the_first_job(dlcli, tmp_path):
    answer = dlcli("train", "-m", *QUICK, "optimizer.lr=0.1,-1")
    assert answer.code == 2 and not list(tmp_path.iterdir())


def test_a_diverged_run_stops_in_its_step(dlcli):
    answer = dlcli("train", *QUICK, "optimizer=sgd", "optimizer.lr=1e30", "run_dir=diverged")
    assert answer.code == 5
    assert "phase 'train'" in answer.err and "in step" in answer.err


def test_the_first_step_waits_for_no_module_that_only_the_conclusion_needs(tmp_path):
    """Half of the second that dlcli itself needs before it, on two cores."""
    program = (
        "import sys\n"
        "from dlcli.training import loop\n"
        "from dlcli.cli import main\n"
        "def first(run):\n"
        "    print(sorted({'scipy', 'scipy.stats', 'matplotlib', 'torch._dynamo'} & set(sys.modules)))\n"
        "    sys.exit(3)\n"
        "loop.take_step = first\n"
        "main(['train', 'output_root=.'])\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert ended.stdout.splitlines()[-1] == "[]", ended.stderr


@pytest.mark.parametrize(("precision", "told"), [("bf16", 1), ("fp32", 0)])
def test_a_run_that_bf16_makes_slower_says_so_before_it_begins(dlcli, monkeypatch, precision, told):
    monkeypatch.setattr(device, "times_of_bf16", lambda: 9.0)
    answer = dlcli("train", *QUICK, "training.device=cpu", f"training.precision={precision}", "run_dir=run")
    warning = "warning: on this CPU an affine layer in bf16 takes 9 times as long"
    assert answer.code == 0 and answer.out.split("epoch 1 ")[0].count(warning) == told


def test_a_run_with_many_test_examples_never_loads_the_special_functions_of_scipy(tmp_path):
    """A fifth of a second, for the quantiles of Student's t at few examples."""
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "many.npz", inputs=generator.normal(size=(5000, 3)), targets=generator.integers(0, 2, 5000))
    program = (
        "import sys\n"
        "from dlcli.cli import main\n"
        "main(['train', 'dataset=npz', 'dataset.path=many.npz', 'training.steps=20', 'output_root=.'])\n"
        "print(sorted({'scipy.special', 'scipy.stats', 'matplotlib'} & set(sys.modules)))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert "(Student's t in place of the longer bootstrap, Wilson)" in ended.stdout, ended.stderr
    assert ended.stdout.splitlines()[-1] == "[]"
