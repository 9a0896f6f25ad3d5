"""What several runs say together, from summaries made of plain numbers."""

import math

import pytest

from dlcli.decomposition.paired import LOWER, TOO_FEW
from dlcli.study import study


def record(train, test, low=0.0, high=None):
    high = train if high is None else high
    return {
        "loss": {"name": "loss", "unit": "nats"},
        "train": {"value": train, "unit": "nats"},
        "test": {"value": test, "unit": "nats"},
        "approx_train": {"interval": [low, high], "bounds_tried": []},
        "generalization": {"value": test - train},
        "warnings": [],
    }


def run(config, train=None, test=None, validation=None, key=("c", "d", "l"), subclasses=(), **ends):
    summary = None
    if train is not None:
        values = {"train": train, "test": test, "validation": validation}
        risks = {k: {"loss": {"value": v, "unit": "nats"}} for k, v in values.items() if v is not None}
        keys = dict(zip(("class", "data", "loss"), key, strict=True))
        part = {"loss": record(train, test, **ends)}
        declared = {"subclasses": list(subclasses)}
        summary = {"risks": risks, "keys": keys, "class": declared, "decomposition": part, "warnings": []}
    state = "failed" if summary is None else "done"
    return {
        "path": repr(config),
        "status": state,
        "reason": "" if summary else "nan",
        "config": config,
        "summary": summary,
    }


def optimizers(name, shift, seeds=8, **more):
    return [
        run({"optimizer": name, "seed": seed}, 1 + shift + 0.1 * seed, 2 + shift + 0.1 * seed, **more)
        for seed in range(seeds)
    ]


def test_runs_of_one_class_share_one_approximation_and_differ_exactly_in_optimization():
    found = study(optimizers("adam", 0.0, high=0.5) + optimizers("sgd", 0.25))
    adam, sgd = found["groups"]
    assert adam["terms"]["loss"]["approximation"] == sgd["terms"]["loss"]["approximation"] == [0.0, 0.5]
    low = [group["terms"]["loss"]["optimization"][0]["mean"] for group in (adam, sgd)]
    assert low[1] - low[0] == pytest.approx(0.25)
    (compared,) = [each for each in found["comparisons"] if each["quantity"].startswith("optimization")]
    assert compared["mean"] == pytest.approx(-0.25) and compared["ci"] == pytest.approx([-0.25, -0.25])
    assert compared["verdict"] == LOWER and compared["pairs"] == 8


def test_five_seeds_decide_nothing():
    found = study(optimizers("adam", 0.0, 5) + optimizers("sgd", 0.25, 5))
    assert {each["verdict"] for each in found["comparisons"]} == {TOO_FEW}


def test_classes_are_compared_by_intervals_and_never_in_optimization():
    wide = [run({"model": "cnn", "seed": s}, 0.2, 0.5, key=("cnn", "d", "l"), high=0.1) for s in range(8)]
    poor = [run({"model": "linear", "seed": s}, 1.6, 1.7, key=("lin", "d", "l"), low=1.5, high=1.5) for s in range(8)]
    vague = [run({"model": "mlp", "seed": s}, 0.9, 1.0, key=("mlp", "d", "l")) for s in range(8)]
    found = study(wide + poor + vague)["comparisons"]
    assert not [each for each in found if each["quantity"].startswith("optimization")]
    verdicts = {(e["first"], e["second"]): e["verdict"] for e in found if e["quantity"].startswith("approximation")}
    assert list(verdicts.values()) == [LOWER, "intervals overlap", "higher"]
    assert next(iter(verdicts)) == ("model=cnn", "model=linear")


def test_a_class_has_no_higher_minimum_than_what_it_contains_whichever_was_trained_first():
    wide = {"key": ("wide", "d", "l"), "low": 0.2, "high": 0.9}
    runs = [
        run({"model.width": 8, "seed": 0}, 1.0, 2.0, **wide),
        run({"model.width": 4, "seed": 0}, 1.0, 2.0, key=("narrow", "d", "l"), low=0.1, high=0.6),
        run({"model.width": 8, "seed": 1}, 1.0, 2.0, **wide, subclasses=["narrow"]),
    ]
    ends = {g["config"]["model.width"]: g["terms"]["loss"]["approximation"] for g in study(runs)["groups"]}
    assert ends == {4: [0.2, 0.6], 8: [0.2, 0.6]}


def test_other_training_sets_have_no_common_approximation():
    runs = [run({"dataset.seed": s, "seed": s}, 1.0, 2.0, key=("c", f"d{s}", "l"), high=s / 10) for s in (1, 2)]
    (group,) = study(runs, over=("seed", "dataset.seed"))["groups"]
    assert group["terms"]["loss"]["approximation"] == pytest.approx([0, 0.15])


def test_a_failed_run_keeps_its_place_and_its_pair_is_lost():
    runs = [*optimizers("adam", 0.0), *optimizers("sgd", 0.5, 7), run({"optimizer": "sgd", "seed": 7})]
    found = study(runs)
    assert found["failed"] == 1 and found["groups"][1]["failed"] == 1
    assert {(each["pairs"], each["lost"]) for each in found["comparisons"]} == {(7, 1)}
    assert any("1 of 16 runs have no result" in note for note in found["notes"])


def test_the_choice_of_a_rate_is_made_on_validation_and_its_edge_is_told():
    """The rate that is best on test is another one, and is not taken."""
    runs = [
        run({"optimizer": name, "optimizer.lr": lr, "seed": seed}, 1.0, test, validation)
        for seed in range(6)
        for name, lr, test, validation in (
            ("adam", 0.1, 0.1, 0.9),
            ("adam", 0.2, 0.5, 0.8),
            ("adam", 0.3, 0.6, 0.7),
            ("sgd", 0.1, 0.7, 0.9),
        )
    ]
    found = study(runs)
    assert [arm["chosen"].split()[-1] for arm in found["arms"]] == ["lr=0.3", "lr=0.1"]
    assert [(e["key"], e["end"]) for e in found["arms"][0]["edges"]] == [("optimizer.lr", "highest")]
    told = " ".join(found["notes"])
    assert "unequal tuning budgets" in told and "may lie beyond" in told and "least mean validation loss" in told
    (test,) = [each for each in found["comparisons"] if each["quantity"] == "test loss"]
    assert test["mean"] == pytest.approx(0.6 - 0.7)


def test_without_validation_nothing_is_chosen():
    runs = [run({"optimizer": n, "optimizer.lr": lr, "seed": 0}, 1.0, 2.0) for n in ("adam", "sgd") for lr in (1, 2, 3)]
    found = study(runs)
    assert not found["comparisons"] and any("no validation risk to choose by" in note for note in found["notes"])


def test_everything_that_differs_beside_the_axis_is_named():
    first = [run({"optimizer": "adam", "training.epochs": 5, "seed": s}, 1.0, 2.0) for s in range(6)]
    second = [run({"optimizer": "sgd", "training.epochs": 9, "seed": s}, 1.0, 2.0) for s in range(6)]
    (note,) = study(first + second)["notes"]
    assert "differ beside optimizer in training.epochs" in note


def test_a_swept_number_makes_a_curve_per_rest_of_the_configuration():
    runs = [
        run({"model.width": width, "optimizer": name, "seed": seed}, 1 / width, 1.0)
        for width in (4, 1, 2)
        for name in ("adam", "sgd")
        for seed in (0, 1)
    ]
    found = study(runs)
    (number,) = found["numbers"]
    assert number["key"] == "model.width" and [each["values"] for each in number["series"]] == [[1, 2, 4]] * 2
    for series in number["series"]:
        trains = [found["groups"][i]["terms"]["loss"]["train"]["mean"] for i in series["groups"]]
        assert trains == [1.0, 0.5, 0.25]


def test_values_of_a_swept_number_are_compared_with_the_one_that_validation_prefers():
    """Corrected for all three pairs, of which two are told; a curve of single runs has nothing to pair."""
    risks = ((1, 3.0, 0.5), (2, 2.0, 0.4), (4, 1.0, 0.9))  # width, test, validation
    runs = [run({"model.width": w, "seed": s}, 1.0, test + 0.01 * s, v) for w, test, v in risks for s in range(7)]
    found = study(runs)
    told = [each for each in found["comparisons"] if each["quantity"] == "test loss"]
    assert [(each["first"], each["second"]) for each in told] == [
        ("width=1", "width=2"),
        ("width=4", "width=2"),
    ]
    assert [each["mean"] for each in told] == pytest.approx([1.0, -1.0])
    assert [each["adjusted_p"] for each in told] == pytest.approx([3 * 2 / 2**7] * 2)
    assert "model.width=2, the best on validation" in found["notes"][-1]
    assert len([each for each in study(runs, by="model.width")["comparisons"] if each["quantity"] == "test loss"]) == 3
    single = study([each for each in runs if each["config"]["seed"] == 0])
    assert not single["comparisons"] and not any("compared with it" in note for note in single["notes"])


def test_a_density_has_no_lower_end():
    (group,) = study([run({"seed": s}, -1.0, -0.5, low=None, high=-1.5) for s in (0, 1)])["groups"]
    terms = group["terms"]["loss"]
    assert terms["approximation"] == [None, -1.5] and terms["optimization"][1] is None
    assert math.isfinite(terms["optimization"][0]["mean"])
