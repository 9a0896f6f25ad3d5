from __future__ import annotations

import math
from itertools import product

from dlcli.decomposition.sweep import Edge, arms, confounders, differing, grouped, unequal_budgets


def config(optimizer, lr, seed, **more):
    return {"model": "mlp", "optimizer": optimizer, "optimizer.lr": lr, "seed": seed, "run_dir": f"{seed}", **more}


SWEEP = [config(*each) for each in product(("sgd", "adam"), (0.01, 0.1, 1.0), range(2))]


def scored(table):
    """table: (optimizer, lr) -> validation loss of both seeds."""
    return [table[run["optimizer"], run["optimizer.lr"]] for run in SWEEP]


SCORES = scored(
    {
        ("sgd", 0.01): 3.0,
        ("sgd", 0.1): 2.0,
        ("sgd", 1.0): 1.0,
        ("adam", 0.01): 2.0,
        ("adam", 0.1): 1.5,
        ("adam", 1.0): None,
    }
)


def test_runs_that_differ_in_the_seed_alone_are_one_group():
    groups = grouped(SWEEP)
    assert len(groups) == 6
    assert groups[0].members == (0, 1) and groups[0].repeats == (0, 1)
    assert "seed" not in groups[0].config and "run_dir" not in groups[0].config


def test_runs_can_be_repeated_over_several_keys():
    groups = grouped(SWEEP, over=("seed", "optimizer.lr"))
    assert len(groups) == 2 and groups[0].repeats[:3] == ((0, 0.01), (1, 0.01), (0, 0.1))


def test_one_and_true_are_different_settings():
    assert len(grouped([{"a": 1, "seed": 0}, {"a": True, "seed": 0}])) == 2


def test_lists_can_be_settings():
    assert len(grouped([{"a": [1], "seed": 0}, {"a": [1], "seed": 1}])) == 1


def test_a_missing_key_differs():
    assert differing([{"a": None}, {}]) == ["a"]


def test_what_differs_besides_the_axis_is_named():
    first = config("sgd", 0.1, 0, batch_size=100, **{"optimizer.momentum": 0.9})
    second = config("adam", 0.01, 0, batch_size=50)
    found = confounders(first, second, "optimizer")
    assert found.own == ("optimizer.lr", "optimizer.momentum")
    assert found.others == ("batch_size",)


def test_a_clean_comparison_has_no_confounders():
    assert confounders(config("sgd", 0.1, 0), config("adam", 0.1, 0), "optimizer") == ((), ())


def test_each_arm_is_chosen_on_validation():
    sgd, adam = arms(grouped(SWEEP), "optimizer", SCORES)
    assert (sgd.value, sgd.chosen.config["optimizer.lr"]) == ("sgd", 1.0)
    assert (adam.value, adam.chosen.config["optimizer.lr"]) == ("adam", 0.1)


def test_a_choice_at_the_end_of_its_grid_is_flagged():
    sgd, adam = arms(grouped(SWEEP), "optimizer", SCORES)
    assert sgd.edges == (Edge("optimizer.lr", 1.0, "highest", (0.01, 0.1, 1.0)),)
    assert adam.edges == ()


def test_the_rate_of_another_optimizer_is_no_value_of_the_grid():
    """Two models, each with two optimizers at their own rates: nothing was tuned."""
    rates = {"sgd": 0.1, "adam": 0.003}
    swept = [config(name, lr, 0, model=model) for model in ("mlp", "cnn") for name, lr in rates.items()]
    assert [arm.edges for arm in arms(grouped(swept), "model", [2.0, 1.0, 2.0, 1.0])] == [(), ()]


def test_failed_runs_stay_in_the_budget():
    sgd, adam = arms(grouped(SWEEP), "optimizer", SCORES)
    assert (sgd.runs, sgd.failed) == (6, 0) and (adam.runs, adam.failed) == (6, 2)


def test_the_survivors_of_a_diverging_setting_do_not_win():
    scores = list(SCORES)
    scores[4:6] = [0.1, math.nan]  # sgd at lr 1: one seed excellent, one diverged
    sgd = arms(grouped(SWEEP), "optimizer", scores)[0]
    assert sgd.chosen.config["optimizer.lr"] == 0.1


def test_an_arm_without_a_result_chooses_nothing():
    (only,) = arms(grouped([config("sgd", 0.1, 0)]), "optimizer", [math.inf])
    assert only.chosen is None and only.failed == 1


def test_unequal_tuning_is_seen():
    assert not unequal_budgets(arms(grouped(SWEEP), "optimizer", SCORES))
    assert unequal_budgets(arms(grouped(SWEEP[:-2]), "optimizer", SCORES[:-2]))
