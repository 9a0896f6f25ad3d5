"""`dlcli report` over a sweep, in every format, and `-m` that ends in the same."""

import csv
import io
import json

import pytest

from dlcli.verbs.report import runs_in

SWEEP = ("dataset=iris", "model.width=4", "model.depth=1", "training.epochs=2", "optimizer=adam,sgd", "seed=0,1")


@pytest.fixture
def swept(dlcli):
    answer = dlcli("train", "-m", *SWEEP, "run_dir=sweep")
    assert answer.code == 0, answer.err
    return answer


def test_a_sweep_ends_in_its_study(dlcli, swept):
    assert "Groups: means over seed" in swept.out and "Paired differences over seed, by optimizer" in swept.out
    assert "too few" in swept.out and (swept.run_dir / "report.html").is_file()
    rows = list(csv.DictReader(io.StringIO((swept.run_dir / "results.csv").read_text())))
    assert [row["optimizer"] for row in rows] == ["adam", "adam", "sgd", "sgd"]
    markdown = dlcli("report", "sweep", "--format", "md").out
    assert markdown.startswith("# 4 runs, 0 without a result") and "| adam | 2 |" in markdown
    found = json.loads(dlcli("report", "sweep", "--format", "json").out)
    assert [group["done"] for group in found["study"]["groups"]] == [2, 2] and len(found["runs"]) == 4
    again = list(csv.DictReader(io.StringIO(dlcli("report", "sweep", "--format", "csv").out)))
    assert [row["test_loss"] for row in again] == [row["test_loss"] for row in rows]
    (swept.run_dir / "report.html").unlink()
    assert (
        "report.html" in dlcli("report", "sweep", "--format", "html").out and (swept.run_dir / "report.html").is_file()
    )
    by = dlcli("report", "sweep", "--by", "seed", "--over", "optimizer")
    assert "means over optimizer" in by.out
    wrong = dlcli("report", "sweep", "--by", "optimiser")
    assert wrong.code == 2 and "did you mean 'optimizer'?" in wrong.err


def test_runs_stand_in_the_order_of_the_numbers_in_their_names(tmp_path):
    names = ["seed=9,lr=1e-05", "seed=9,lr=0.003", "seed=9,lr=0.01", "seed=10,lr=0.01", "seed=10,model=cnn"]
    for name in reversed(names):
        (tmp_path / "day-2" / name).mkdir(parents=True)
        (tmp_path / "day-2" / name / "config.yaml").touch()
    assert [run.name for run in runs_in(tmp_path)] == names
