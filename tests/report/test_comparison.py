from __future__ import annotations

import copy
import io

import pytest
from rich.console import Console

from dlcli.report.comparison import best_train_losses, labels, print_comparison
from dlcli.report.summary import read_run


def printed(runs, width=100):
    stream = io.StringIO()
    print_comparison(runs, Console(file=stream, width=width))
    return stream.getvalue()


def run(write_run, name, config, summary, train=None, **more):
    summary = copy.deepcopy(summary)
    if train is not None:
        summary["risks"]["train"]["loss"]["value"] = train
    summary.update(more)
    return read_run(write_run(name, config, summary))


def test_only_what_differs_names_a_row(write_run, summary):
    runs = [run(write_run, str(lr), {"seed": 0, "optimizer": {"name": "sgd", "lr": lr}}, summary) for lr in (0.1, 0.2)]
    assert labels(runs) == ["lr=0.1", "lr=0.2"]


def test_numbers_have_the_digits_that_tell_them_apart(write_run, summary):
    rates = (0.02576638574613589, 0.025766999, 0.5)
    runs = [run(write_run, str(lr), {"optimizer": {"name": "sgd", "lr": lr}}, summary) for lr in rates]
    assert labels(runs) == ["lr=0.025766", "lr=0.025767", "lr=0.5"]


def test_a_component_is_named_by_its_name_and_by_what_varies_with_it(write_run, summary):
    configs = [{"model": {"name": "mlp", "width": w}} for w in (8, 16)] + [{"model": {"name": "cnn", "blocks": 2}}]
    runs = [run(write_run, str(i), config, summary) for i, config in enumerate(configs)]
    assert labels(runs) == ["mlp width=8", "mlp width=16", "cnn"]


def test_settings_of_the_same_name_keep_their_group(write_run, summary):
    configs = [{"model": {"name": "mlp", "seed": i}, "seed": i} for i in range(2)]
    assert (
        labels([run(write_run, str(i), config, summary) for i, config in enumerate(configs)])[1]
        == "model.seed=1 seed=1"
    )


def test_equal_runs_are_named_by_their_directory(write_run, summary):
    runs = [run(write_run, name, {"seed": 0}, summary) for name in "ab"]
    assert labels(runs) == [run["path"] for run in runs]


def test_the_difference_of_optimization_terms_is_exact(write_run, summary):
    runs = [run(write_run, str(t), {"seed": i}, summary, train=t) for i, t in enumerate((0.25, 0.4375))]
    assert "0.1875" in printed(runs)


@pytest.mark.parametrize("part", ["class", "data", "loss"])
def test_runs_with_another_key_are_not_compared(write_run, summary, part):
    other = {"keys": {**summary["keys"], part: "another"}}
    runs = [run(write_run, "a", {"seed": 0}, summary), run(write_run, "b", {"seed": 1}, summary, 0.5, **other)]
    assert sorted(best_train_losses(runs).values()) == [(0.25, 1), (0.5, 1)]


def test_a_failed_run_keeps_its_row(write_run, summary):
    failed = read_run(write_run("c", {"seed": 2}, status={"state": "failed", "reason": "loss is nan at step 3"}))
    text = printed([run(write_run, "a", {"seed": 0}, summary), failed])
    assert "failed: seed=2: loss is nan at step 3" in text


def test_it_reads_at_eighty_columns(write_run, summary):
    runs = [run(write_run, str(i), {"seed": i, "model": {"name": "mlp", "width": i}}, summary) for i in range(3)]
    assert max(map(len, printed(runs, 80).splitlines())) <= 80
