"""A search by the validation risk: what it tries, what it tells, and that it goes on where it stopped."""

import json

import pytest

WORDS = (
    *("dataset=digits", "training.epochs=1", "decompose.budget=none", "hydra/sweeper=optuna"),
    *("hydra.sweeper.trials=3", "optimizer.lr=tag(log,interval(1e-4,0.1))", "model.width=range(8,17,8)"),
)


def test_the_best_trial_is_told_and_a_search_that_was_cut_short_goes_on(dlcli, tmp_path):
    optuna = pytest.importorskip("optuna", reason="pip install 'dlcli-train[optuna]'")
    swept = dlcli("train", "-m", *WORDS, "run_dir=swept")
    assert swept.code == 0, swept.err
    trials = [f"trial-{number:04d}" for number in range(3)]
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
        (tmp_path / "swept" / "sweep.json").read_text().replace("trials=3", "trials=4")
    )
    longer = dlcli("resume", "swept")
    assert longer.code == 0, longer.err
    assert [path.name for path in sorted((tmp_path / "swept").glob("trial-*"))] == [*trials, "trial-0003"]
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(tmp_path / "swept" / "optuna.journal")))
    study = optuna.load_study(study_name="dlcli", storage=storage)
    assert [trial.value for trial in study.trials[:3]] == [found[name] for name in trials]
    widths = {trial.params["model.width"] for trial in study.trials}
    assert len(study.trials) == 4 and widths <= {8, 16}
