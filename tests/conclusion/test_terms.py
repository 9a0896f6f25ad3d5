"""Decompositions through the command line against truth: exact classes, traps, budgets, what other runs have found."""

import itertools
import json
import re

import numpy as np
import pytest
import safetensors.torch
import torch
from sklearn.datasets import load_digits

from dlcli.conclusion import effort
from dlcli.decomposition.least_squares import least_squares, linear_autoencoder, ridge
from dlcli.decomposition.ledger import Ledger
from dlcli.decomposition.linear_vae import linear_vae

TABLE = ("dataset=iris", "dataset.validation_fraction=0", "training.epochs=2")
DIABETES = (
    "dataset=diabetes",
    "dataset.validation_fraction=0",
    "optimizer=gd",
    "optimizer.lr=0.1",
    "checkpoint.every=1000",
)


@pytest.fixture
def part_of(summary_of):
    return lambda answer, metric="loss": summary_of(answer.run_dir)["decomposition"][metric]


def codes(part):
    return {warning["code"] for warning in part["warnings"]}


def train_set(name, seed=0):
    """Inputs and targets of a packaged data set as a run reads them."""
    from dlcli import config
    from dlcli.build import build

    run = build(config.load_checked([*name, f"seed={seed}"]))
    inputs, targets = run.data.train.batch(slice(None))
    return inputs.flatten(1).double().numpy(), targets.numpy()


@pytest.mark.parametrize(
    "model", [("model=linear",), ("model=mlp", "model.depth=0"), ("model=linear", "model.depth=2")]
)
def test_least_squares_is_closed_whatever_the_run_did(dlcli, part_of, model):
    part = part_of(dlcli("train", *DIABETES, *model, "training.steps=5"))
    inputs, targets = train_set(DIABETES)
    truth = least_squares(inputs, targets).high
    low, high = part["approx_train"]["interval"]
    assert high - low < 1e-6 and low - 1e-6 <= truth <= high + 1e-6
    assert part["approx_train"]["upper"]["kind"] == "exact"
    assert part["optimization"]["interval"][0] == pytest.approx(part["train"]["value"] - truth, abs=1e-6)


@pytest.mark.parametrize(
    "task",
    [
        ("task=one_vs_rest",),
        ("task=one_vs_rest", "task.loss=hinge"),
        ("task=multiclass", "task.loss=hinge"),
    ],
    ids=" ".join,
)
def test_every_convex_loss_of_classes_is_closed(dlcli, part_of, task):
    part = part_of(
        dlcli("train", *TABLE, *task, "dataset.label_noise=0.2", "model=linear", "decompose.budget=standard")
    )
    low, high = part["approx_train"]["interval"]
    assert low > 0 and high - low < 2e-6 and high < 0.9 * part["train"]["value"]


def test_a_bottleneck_is_no_interpolation_however_many_parameters(dlcli, part_of):
    """Trap 8: 64 x 3 x 3 x 10 weights on 60 images, rank 3."""
    squares = ("dataset=digits", "dataset.train_fraction=0.05", "dataset.validation_fraction=0", "training.steps=3")
    command = (*squares, "model=linear", "model.depth=2", "model.width=3", "task.loss=squared_error")
    part = part_of(dlcli("train", *command))
    inputs, targets = train_set(command)
    truth = least_squares(inputs, np.eye(10)[targets], rank=3).high
    assert part["approx_train"]["interval"] == pytest.approx([truth, truth], abs=1e-5) and truth > 0.1


def test_a_linear_autoencoder_is_closed_at_the_principal_components(dlcli, part_of, tmp_path):
    """The inputs as their own targets: a regression of rank 8."""
    images = load_digits().data / 16
    np.savez(tmp_path / "own.npz", x=images, y=images)
    own = ("dataset=npz", f"dataset.path={tmp_path / 'own.npz'}", "dataset.validation_fraction=0", "training.epochs=1")
    command = (*own, "dataset.standardize=none", "dataset.standardize_targets=false", "dataset.test_fraction=0.2")
    part = part_of(dlcli("train", *command, "model=linear", "model.depth=1", "model.width=8"))
    inputs, _ = train_set(command)
    truth = linear_autoencoder(inputs, 8).high / 64
    assert part["approx_train"]["interval"] == pytest.approx([truth, truth], abs=1e-7)
    assert part["optimization"]["interval"][0] > 0.01


@pytest.mark.parametrize("latents", [1, 8])
def test_a_linear_vae_is_closed_at_probabilistic_pca_and_has_no_floor_of_zero(dlcli, part_of, summary_of, latents):
    """Trap 9: the density of nearly flat numbers is large, and its negative logarithm below zero."""
    vae = ("model=vae", "model.depth=0", f"model.latents={latents}", "task=reconstruction", "task.likelihood=gaussian")
    command = ("dataset=digits", "dataset.standardize=none", "dataset.validation_fraction=0", "training.epochs=1")
    answer = dlcli("train", *command, *vae)
    part, (inputs, _) = part_of(answer), train_set(command)
    truth = linear_vae(inputs, latents).high
    assert part["approx_train"]["interval"] == pytest.approx([truth, truth], abs=1e-5)
    assert part["approx_train"]["lower"]["kind"] == "exact" and (truth < 0) == (latents == 8)
    assert "noise_se" not in summary_of(answer.run_dir)["risks"]["train"]["loss"]


@pytest.mark.parametrize("model, why", [("linear", "exact"), ("mlp", "margins are positive")])
def test_separable_classes_are_not_called_optimized(dlcli, part_of, model, why):
    """Trap 9: on the classes of wine, which a plane parts, so that a solver proves it; and a network that parts them
    proves it by itself. The infimum 0 is approached, never reached.
    """
    answer = dlcli("train", "dataset=wine", "dataset.standardize=feature", f"model={model}", "training.epochs=30")
    part = part_of(answer)
    upper = part["approx_train"]["upper"]
    assert part["approx_train"]["interval"] == [0, 0] and upper["attained"] is False
    assert why in f"{upper['kind']}: {upper['method']}"
    assert part["optimization"]["infimum_not_attained"] and "infimum_not_attained" in codes(part)


def test_a_kernel_is_solved_over_its_features(dlcli, part_of):
    command = ("model=kernel", "model.width=20", "dataset=two_moons", "dataset.noise=0.6", "training.epochs=1")
    part = part_of(dlcli("train", *command, "decompose.budget=standard"))
    low, high = part["approx_train"]["interval"]
    assert 0 < high - low + 1e-9 < 1e-5 and 0 < high < part["train"]["value"]


TEACHER = (
    "dataset=teacher_student",
    "dataset.examples=200",
    "dataset.test_examples=100",
    "dataset.width=4",
    "training.epochs=2",
)


@pytest.mark.parametrize(
    "words, closed",
    [
        (("dataset.noise=0", "dataset.standardize=feature", "dataset.standardize_targets=true", "model.depth=1"), True),
        (("dataset.noise=0", "dataset.outputs=3", "model.depth=3"), True),  # an added layer passes the units on
        (("dataset.noise=0", "dataset.activation=tanh", "model.activation=tanh", "model.depth=1"), True),
        (("dataset.noise=0", "dataset.kind=classification", "dataset.outputs=3", "model.depth=1"), True),
        (("dataset.noise=0", "model.depth=1", "model.width=3"), False),
        (("dataset.noise=0", "model.depth=1", "dataset.depth=2"), False),
        (("dataset.noise=0", "dataset.activation=tanh", "model.depth=1"), False),
    ],
)
def test_the_teacher_is_a_member_of_every_class_that_holds_it(dlcli, part_of, words, closed):
    approximation = part_of(dlcli("train", *TEACHER, *words))["approx_train"]
    tried = {bound["method"]: bound["value"] for bound in approximation["bounds_tried"]}
    assert ("the teacher itself" in tried) == closed
    assert (approximation["interval"][1] < 1e-9) == closed


def test_a_teacher_of_noisy_targets_reaches_their_noise(dlcli, part_of):
    tried = part_of(dlcli("train", *TEACHER, "dataset.noise=0.3"))["approx_train"]["bounds_tried"]
    (teacher,) = [bound["value"] for bound in tried if bound["method"] == "the teacher itself"]
    assert teacher == pytest.approx(0.09, rel=4 * (2 / 180) ** 0.5)


@pytest.mark.parametrize("readout, floor", [("mean", (0.5770, 0.3125)), ("last", (0, 0))])
def test_what_a_class_does_not_see_is_a_floor_of_its_risk(dlcli, part_of, tmp_path, readout, floor):
    """A transformer without positions that has to name the first of five bits, over all 32 inputs."""
    bits = np.array(list(itertools.product((0.0, 1.0), repeat=5)))
    np.savez(tmp_path / "bits.npz", x=bits, y=bits[:, 0].astype(int), x_test=bits, y_test=bits[:, 0].astype(int))
    words = ("dataset=npz", "dataset.path=bits.npz", "dataset.validation_fraction=0", "model=transformer")
    small = ("model.width=8", "model.positions=none", f"model.readout={readout}", "training.epochs=1")
    answer = dlcli("train", *words, *small)
    for metric, least in zip(("loss", "error"), floor, strict=True):
        lower = part_of(answer, metric)["approx_train"]["lower"]
        assert lower["value"] == pytest.approx(least, abs=5e-5)
        assert ("permutations of the steps" in lower["method"]) == (readout == "mean")


def test_weight_decay_is_the_bias_of_the_objective_and_not_the_solvers_fault(dlcli, part_of):
    """Trap 11: at the minimizer of ridge regression the solver's error is 0, and the bias is known."""
    penalty = 0.4
    decay = (f"optimizer.weight_decay={penalty}", "optimizer.decay=matrices", "training.steps=3000")
    part = part_of(dlcli("train", *DIABETES, "model=linear", *decay, "decompose.budget=standard"))
    inputs, targets = train_set(DIABETES)
    known = ridge(inputs, targets, penalty / 2)
    bias = known.evidence["train_risk"] - least_squares(inputs, targets).high
    least = part["optimization"]["surrogate"]["least"]
    assert least["kind"] == "exact" and least["value"] == pytest.approx(known.high, abs=1e-6)
    assert part["optimization"]["surrogate"]["after"] == pytest.approx(least["value"], abs=1e-6)
    assert part["optimization"]["solver_error"] == pytest.approx(0, abs=1e-5)
    assert part["optimization"]["surrogate_bias"] == pytest.approx([bias, bias], abs=1e-5) and bias > 0.003


@pytest.mark.slow
@pytest.mark.parametrize("width, kind", [(2, "certified"), (12, "exact")])
def test_the_objective_of_a_network_under_weight_decay_has_its_convex_dual(dlcli, part_of, monkeypatch, width, kind):
    monkeypatch.setattr(effort, "LEAST", 1e9)  # a short search
    sine = ("dataset=noisy_sine", "dataset.examples=40", "dataset.validation_fraction=0", "training.epochs=40")
    decay = ("optimizer.weight_decay=0.02", "decompose.budget=standard", "model.depth=1", f"model.width={width}")
    found = part_of(dlcli("train", *sine, *decay))["optimization"]["surrogate"]
    assert found["least"]["kind"] == kind and "convex dual" in found["least"]["method"]
    assert found["least"]["value"] <= found["after"] + 1e-7 < found["before"]
    if kind == "exact":
        assert found["after"] == pytest.approx(found["least"]["value"], rel=0.02)


@pytest.mark.slow
def test_smoothed_labels_are_the_bias_of_the_objective(dlcli, part_of):
    smoothed = ("dataset=digits", "model.width=16", "training.epochs=20", "task.label_smoothing=0.2")
    part = part_of(dlcli("train", *smoothed, "decompose.budget=standard"))
    low, high = part["optimization"]["surrogate_bias"]
    total = part["optimization"]["interval"]
    assert low > 0.01
    assert [low, high] == pytest.approx([end - part["optimization"]["solver_error"] for end in total], abs=1e-9)
    assert part["approx_train"]["interval"][1] < 0.01  # trap 5: the plain loss goes to 0


def test_the_network_of_one_input_is_not_separable_and_its_floor_is_proven(dlcli, part_of):
    part = part_of(dlcli("train", "dataset=noisy_sine", "model.width=8", "model.depth=1", "training.epochs=20"))
    low, high = part["approx_train"]["interval"]
    assert 0 < low < high <= part["train"]["value"]
    assert "9 linear pieces" in part["approx_train"]["lower"]["method"]
    assert "approx_opt_not_separable" in codes(part) and not part["approx_train"]["separable"]


def test_a_tiny_learning_rate_is_optimization_and_a_good_one_is_not(dlcli, part_of):
    """Trap 6."""
    digits = ("dataset=digits", "training.epochs=15")
    tiny = part_of(dlcli("train", *digits, "optimizer.lr=1e-6"))
    assert tiny["optimization"]["interval"][0] > 0.9 * tiny["train"]["value"] > 2
    good = part_of(dlcli("train", *digits, "optimizer.lr=0.005"))
    assert good["optimization"]["interval"][1] < 0.1


@pytest.mark.slow
def test_every_budget_is_a_valid_interval_and_more_is_never_worse(dlcli, part_of, summary_of):
    moons = ("dataset=two_moons", "dataset.examples=60", "model.width=2", "model.depth=1", "training.epochs=3")
    answer = dlcli("train", *moons, "decompose.budget=none")
    none = part_of(answer)
    assert "one_run_pool" not in codes(none)  # the best constant was evaluated
    ends = [none["approx_train"]["interval"][1]]
    for budget in ("quick", "standard"):
        again = dlcli("decompose", str(answer.run_dir), f"budget={budget}")
        assert again.code == 0, again.err
        ends.append(part_of(answer)["approx_train"]["interval"][1])
    assert ends == sorted(ends, reverse=True) and ends[-1] < ends[0]
    methods = [bound["method"] for bound in part_of(answer)["approx_train"]["bounds_tried"]]
    assert any(method.startswith("restart 20") for method in methods) and any(
        "embedded" in method for method in methods
    )
    assert "best so far" in again.out


def test_exhaustive_goes_on_until_a_doubling_of_the_work_moves_nothing(dlcli, part_of, monkeypatch):
    """A network of one hidden unit on one input: nothing is left to find after the first doubling, and that is told."""
    monkeypatch.setattr(effort, "LEAST", 3e8)  # a short search
    sine = ("dataset=noisy_sine", "dataset.examples=40", "dataset.test_examples=50", "dataset.validation_fraction=0")
    command = (*sine, "model.width=1", "model.depth=1", "training.epochs=2", "decompose.budget=exhaustive")
    part = part_of(dlcli("train", *command))
    tried = [bound for bound in part["approx_train"]["bounds_tried"] if bound["side"] == "upper"]
    last = int(re.search(r"restart (\d+)", tried[-1]["method"]).group(1))
    assert last in (40, 50, 60)  # 20 of standard, 20 at twice the work, 10 in each doubling that follows
    values = [bound["value"] for bound in tried]
    assert min(values) >= 0.99 * min(values[: -(20 if last == 40 else 10)])
    assert sum(value < 1.001 * min(values) for value in values) > 3  # several starts end there


def test_the_best_checkpoint_and_its_mean_with_the_last_are_rungs(dlcli, part_of, summary_of):
    answer = dlcli("train", "dataset=iris", "optimizer.lr=0.1", "training.epochs=40")
    tried = {bound["method"]: bound["value"] for bound in part_of(answer)["approx_train"]["bounds_tried"]}
    mean = "mean of the weights of the checkpoints 'best on validation' and 'last'"
    run = summary_of(answer.run_dir)["run"]
    assert run["best"]["step"] < run["step"]
    folders = [answer.run_dir / "checkpoints" / f"step-{step:09d}" for step in (run["best"]["step"], run["step"])]
    kept = [safetensors.torch.load_file(folder / "model.safetensors") for folder in folders]
    inputs, targets = train_set(("dataset=iris",))
    hidden = torch.from_numpy(inputs)
    weights = {name: sum(each[name].double() for each in kept) / len(kept) for name in kept[0]}
    for layer in (1, 5):
        hidden = torch.relu(hidden @ weights[f"body.{layer}.weight"].T + weights[f"body.{layer}.bias"])
    scores = hidden @ weights["head.weight"].T + weights["head.bias"]
    risk = torch.nn.functional.cross_entropy(scores, torch.from_numpy(targets)).item()
    assert tried[mean] == pytest.approx(risk, abs=1e-6)


@pytest.mark.parametrize("epochs", [2, 20])  # of two, rescaled scores are the best member; of twenty, a refit
@pytest.mark.parametrize("metric", ["loss", "error"])
def test_the_upper_end_is_a_member_that_exists(dlcli, part_of, metric, epochs):
    """Each loss has its own (trap 10: the error of the minimizer of the cross-entropy is no minimum of the error)."""
    settings = (*TABLE, "model.width=5", "model.depth=1", f"training.epochs={epochs}")
    answer = dlcli("train", *settings)
    tried = part_of(answer, metric)["approx_train"]["bounds_tried"]
    rungs = {bound["witness"][:16] for bound in tried if bound["side"] == "upper" and bound["witness"]}
    assert len(rungs) > 1 and rungs == {path.stem for path in (answer.run_dir / "witnesses").iterdir()}
    upper = part_of(answer, metric)["approx_train"]["upper"]
    (path,) = [p for p in (answer.run_dir / "witnesses").iterdir() if p.name.startswith(upper["witness"][:16])]
    saved = {name: tensor.double() for name, tensor in safetensors.torch.load_file(path).items()}
    inputs, targets = (torch.from_numpy(part) for part in train_set(settings))
    hidden = torch.relu(inputs @ saved["body.1.weight"].T + saved["body.1.bias"])
    scores = hidden @ saved["head.weight"].T + saved["head.bias"]
    risks = {
        "loss": torch.nn.functional.cross_entropy(scores, targets).item(),
        "error": (scores.argmax(1) != targets).double().mean().item(),
    }
    assert risks[metric] == pytest.approx(upper["value"], abs=1e-6)


def test_what_one_run_found_bounds_the_next_and_nothing_of_other_data(dlcli, part_of):
    """Trap 7, and nested classes: a wider network of one epoch takes what the narrower one has reached."""
    network = ("dataset=digits", "model.depth=1")
    narrow = part_of(dlcli("train", *network, "model.width=8", "training.epochs=25"))["approx_train"]
    wide = part_of(dlcli("train", *network, "model.width=12", "training.epochs=1"))["approx_train"]
    assert wide["upper"]["method"].startswith("ledger: ") and "narrower" in wide["upper"]["method"]
    assert wide["interval"][1] == narrow["interval"][1]
    other = part_of(dlcli("train", *network, "model.width=12", "training.epochs=1", "dataset.label_noise=0.5"))
    assert not other["approx_train"]["upper"]["method"].startswith("ledger: ")


def test_a_damaged_ledger_costs_a_warning_and_can_be_rebuilt(dlcli, summary_of, tmp_path):
    first = dlcli("train", *TABLE)
    (tmp_path / "outputs" / "ledger.sqlite3").write_bytes(b"no database")
    answer = dlcli("train", *TABLE)
    assert answer.code == 0
    assert "ledger" in {warning["code"] for warning in summary_of(answer.run_dir)["warnings"]}
    assert dlcli("ledger", "--rebuild").code == 0
    keys = summary_of(first.run_dir)["keys"]
    assert Ledger(tmp_path / "outputs").best(keys["class"], keys["data"], keys["loss"]) is not None
    shown = dlcli("ledger")
    assert keys["class"] in shown.out and "cross_entropy" in shown.out


def test_circumstances_are_told(dlcli, part_of, tmp_path):
    """One pass, duplicates across splits (trap 19), and a validation split that holds test examples (trap 14)."""
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(200, 3)), generator.integers(2, size=200)
    again = np.r_[140:200, 0:5]  # five examples of the training set
    splits = {
        "x": x[:100],
        "y": y[:100],
        "x_val": x[90:150],
        "y_val": y[90:150],
        "x_test": x[again],
        "y_test": y[again],
    }
    np.savez(tmp_path / "own.npz", **splits)
    own = ("dataset=npz", f"dataset.path={tmp_path / 'own.npz'}", "training.epochs=1")
    found = part_of(dlcli("train", *own, "schedule=plateau"))
    assert {"one_pass", "selection_contaminated", "duplicates_across_splits"} <= codes(found)
    assert "5 test inputs stand in the training set too" in json.dumps(found["warnings"])
    assert "10 test inputs stand in the validation split, which chose" in json.dumps(found["warnings"])
    assert "one_pass" not in codes(part_of(dlcli("train", *own, "training.epochs=2")))


def test_the_population_side_is_there_where_the_generator_is_known(dlcli, part_of):
    """y = x . beta + noise: R* is the noise, F holds the truth, and the fit's excess is all estimation."""
    linear = ("dataset=linear_regression", "dataset.features=5", "dataset.validation_fraction=0", "model=linear")
    part = part_of(dlcli("train", *linear, "optimizer=gd", "optimizer.lr=0.3", "training.steps=200"))
    population = part["population"]
    assert population["bayes"]["value"] == pytest.approx(0.25)
    low, high = population["excess"]["estimation"]
    assert low <= 0.25 * 5 / 200 <= high and population["excess"]["approximation"][0] == 0
    best = part_of(dlcli("train", *TABLE), "error")["population"]["best_in_class"]
    assert best["interval"][0] == 0 and best["level"] == 0.95
