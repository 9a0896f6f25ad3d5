"""A search by the validation risk: what it tries, what it tells, and that it goes on where it stopped."""

import csv
import json
import statistics
import time

import pytest

from dlcli.sweeps.pruning import storage
from dlcli.training.events import event_files, tags_at

WORDS = (
    *("dataset=iris", "training.epochs=1", "decompose.budget=none", "hydra/sweeper=optuna"),
    *("hydra.sweeper.trials=2", "optimizer.lr=tag(log,interval(1e-4,0.1))", "model.width=range(8,17,8)"),
)


def test_the_best_trial_is_told_and_a_search_that_was_cut_short_goes_on(dlcli, tmp_path):
    optuna = pytest.importorskip("optuna", reason="pip install 'dlcli-train[optuna]'")
    swept = dlcli("train", "-m", *WORDS, "run_dir=swept")
    assert swept.code == 0, swept.err
    trials = [f"trial-{number:04d}" for number in range(2)]
    found = {
        name: json.loads((tmp_path / "swept" / name / "summary.json").read_text())["risks"]["validation"]["loss"][
            "value"
        ]
        for name in trials
    }
    best = min(found, key=found.get)
    (told,) = [line for line in swept.out.splitlines() if line.startswith("best ")]
    assert told.split()[1] == best and f"validation loss {found[best]:.4g}" in told
    assert told in dlcli("resume", "swept").out  # nothing is left to try, and it is told again

    (tmp_path / "swept" / "sweep.json").write_text(
        (tmp_path / "swept" / "sweep.json").read_text().replace("trials=2", "trials=3")
    )
    longer = dlcli("resume", "swept")
    assert longer.code == 0, longer.err
    assert [path.name for path in sorted((tmp_path / "swept").glob("trial-*"))] == [*trials, "trial-0002"]
    study = optuna.load_study(study_name="dlcli", storage=storage(tmp_path / "swept"))
    assert [trial.value for trial in study.trials[:2]] == [found[name] for name in trials]
    widths = {trial.params["model.width"] for trial in study.trials}
    assert len(study.trials) == 3 and widths <= {8, 16}


def test_hyperband_ends_trials_at_its_rungs_and_lets_the_best_of_each_go_on(dlcli, tmp_path):
    """Rungs of successive halving: epochs 1, 3, 9 ... of a bracket (Li et al. 2016, arXiv:1603.06560)."""
    optuna = pytest.importorskip("optuna", reason="pip install 'dlcli-train[optuna]'")
    words = ("dataset=iris", "model=linear", "training.epochs=9", "training.evaluate_every=1", "decompose.budget=none")
    search = ("hydra/sweeper=optuna", "hydra.sweeper.trials=12", "hydra.sweeper.pruner=hyperband")
    swept = dlcli("train", "-m", *words, *search, "optimizer.lr=tag(log,interval(1e-5,0.1))", "run_dir=swept")
    assert swept.code == 0, swept.err
    trials = optuna.load_study(study_name="dlcli", storage=storage(tmp_path / "swept")).trials
    pruned = [trial for trial in trials if trial.state.name == "PRUNED"]
    assert pruned and {trial.state.name for trial in trials} == {"PRUNED", "COMPLETE"} and trials[0] not in pruned
    for trial in pruned:
        rung, value = max(trial.intermediate_values.items())
        assert rung in (1, 3) and f"trial-{trial.number:04d}  PRUNED: validation loss {value:.4g}" in swept.out
        earlier = [
            each.intermediate_values[rung] for each in trials[: trial.number] if rung in each.intermediate_values
        ]
        assert value > min(earlier)
    best = min((trial for trial in trials if trial.state.name == "COMPLETE"), key=lambda trial: trial.value)
    (told,) = [line for line in swept.out.splitlines() if line.startswith("best ")]
    assert told.split()[1] == f"trial-{best.number:04d}"


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_a_trial_on_two_ranks_is_ended_early_where_one_on_one_rank_is(dlcli, tmp_path, pruner):
    pytest.importorskip("optuna", reason="pip install 'dlcli-train[optuna]'")
    words = (
        "dataset=iris",
        "model=linear,mlp",
        "training.epochs=9",
        "training.evaluate_every=1",
        "decompose.budget=none",
    )
    search = (
        "hydra/sweeper=optuna",
        "hydra.sweeper.trials=6",
        "hydra.sweeper.startup=1",
        f"hydra.sweeper.pruner={pruner}",
    )
    drawn, ended = "optimizer.lr=tag(log,interval(1e-5,0.1))", []
    for ranks in (1, 2):
        began = time.monotonic()
        swept = dlcli("train", "-m", *words, *search, drawn, f"training.devices={ranks}", f"run_dir=on-{ranks}")
        assert swept.code == 0, swept.err
        assert time.monotonic() - began < 150, "the rank that was not told waits for the other"
        trials = (tmp_path / f"on-{ranks}").glob("trial-*/status.json")
        ended.append([json.loads(path.read_text())["state"] for path in sorted(trials)])
    assert ended[0] == ended[1] and set(ended[0]) == {"done", "pruned"}


@pytest.mark.parametrize(
    "launcher", ["serial", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ensemble", "process"))]
)
def test_a_trial_that_does_worse_than_others_did_is_ended_and_keeps_its_row(dlcli, tmp_path, launcher):
    optuna = pytest.importorskip("optuna", reason="pip install 'dlcli-train[optuna]'")
    words = (
        "dataset=iris",
        "training.epochs=4",
        "training.evaluate_every=1",
        "decompose.budget=none",
        "model=linear,mlp",
        "pictures=always",
    )
    search = ("hydra/sweeper=optuna", "hydra.sweeper.trials=6", "hydra.sweeper.startup=1", f"hydra/launcher={launcher}")
    swept = dlcli("train", "-m", *words, *search, "optimizer.lr=tag(log,interval(1e-5,0.1))", "run_dir=swept")
    assert swept.code == 0, swept.err
    root = tmp_path / "swept"
    trials = optuna.load_study(study_name="dlcli", storage=storage(root)).trials
    pruned = [trial for trial in trials if trial.state.name == "PRUNED"]
    assert pruned and {trial.state.name for trial in trials} == {"PRUNED", "COMPLETE"}
    with (root / "results.csv").open() as file:
        status = {row["run"].rpartition("/")[2]: row["status"] for row in csv.DictReader(file)}
    assert len(status) == 6
    for trial in pruned:
        name = f"trial-{trial.number:04d}"
        rows = [json.loads(line) for line in (root / name / "metrics.jsonl").read_text().splitlines()]
        told = [row["risk/validation/loss"] for row in rows if "risk/validation/loss" in row]
        assert status[name] == "pruned" and f"{name}  PRUNED: validation loss {told[-1]:.4g}" in swept.out
        assert list(trial.intermediate_values) == list(range(1, len(told) + 1)) and len(told) < 4
        assert list(trial.intermediate_values.values()) == told
        earlier = [each for each in trials[: trial.number] if each.state.name == "COMPLETE"]
        if launcher == "serial":  # nobody else has ended in between: the rule in its own words
            assert min(told) > statistics.median(each.intermediate_values[len(told)] for each in earlier)
    search = json.loads((root / "search.json").read_text())
    assert search["settings"] == {"model": "word", "optimizer.lr": "log"}
    assert [each["loss"] for each in search["trials"]] == [trial.value for trial in trials]
    page = (root / "report.html").read_text()
    assert "<h2>The search</h2>" in page and all(
        name in page for name in ("best so far", "ended early", "optimizer.lr")
    )
    shown = set().union(*(tags_at(path.read_bytes(), 0) for path in event_files(root / "tensorboard")))
    assert {f"report/search/{name}" for name in ("history", "parallel", "optimizer.lr", "importance")} <= shown
    again = dlcli("resume", "swept")
    assert again.code == 0 and "resuming" not in again.out
