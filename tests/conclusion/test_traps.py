"""Traps that give plausible but wrong numbers, each sprung through the command line; and where the others are.

1, 2, 3, 4: training/test_evaluate.py::test_the_reported_train_risk_is_none_of_the_numbers_that_look_like_it
2: training/test_evaluate.py::test_evaluating_changes_nothing_in_the_model
3: training/test_evaluate.py::test_every_example_has_its_row
3, 4: training/test_evaluate.py::test_a_far_example_in_the_last_small_batch_weighs_as_much_as_any_other
5: training/test_evaluate.py::test_smoothing_of_the_objective_leaves_the_risk_of_a_perfect_fit_at_zero
6: conclusion/test_terms.py::test_a_tiny_learning_rate_is_optimization_and_a_good_one_is_not
7: conclusion/test_traps.py::test_what_other_runs_have_reached_counts_for_equal_keys_only
8: conclusion/test_terms.py::test_a_bottleneck_is_no_interpolation_however_many_parameters
9: conclusion/test_terms.py::test_a_linear_vae_is_closed_at_probabilistic_pca_and_has_no_floor_of_zero
9: conclusion/test_terms.py::test_separable_classes_are_not_called_optimized
10: decomposition/test_decompose.py::test_the_error_of_the_cross_entropy_minimizer_is_no_minimum_of_the_error
10: conclusion/test_terms.py::test_the_upper_end_is_a_member_that_exists
11: conclusion/test_terms.py::test_weight_decay_is_the_bias_of_the_objective_and_not_the_solvers_fault
12: decomposition/test_selftest.py::test_trap_a_heuristic_that_ends_the_interval
13: conclusion/test_traps.py::test_the_test_risk_is_told_under_the_label_noise_of_the_training_set_too
14, 19: conclusion/test_terms.py::test_circumstances_are_told
15: test_averaged_session.py::test_normalization_dropout_augmentation_smoothing_and_average_at_once
15: conclusion/test_traps.py::test_the_risks_of_a_compiled_model_are_those_of_its_saved_weights
16: conclusion/test_traps.py::test_risks_are_held_against_float64
17: decomposition/test_decompose.py::test_tiny_differences_are_below_resolution
17: conclusion/test_traps.py::test_what_the_sums_of_float64_cannot_tell_apart_is_below_resolution
18: datasets/test_prepare.py::test_statistics_depend_on_the_training_examples_in_use_alone
20: datasets/test_windows.py::test_every_token_but_the_first_is_predicted_once_from_the_tokens_before_it_in_its_window
20: test_text_session.py::test_the_test_risk_is_the_mean_over_all_tokens_of_the_end_of_the_text
21: decomposition/test_selftest.py::test_trap_the_textbook_interval_of_an_error_rate
21: decomposition/test_selftest.py::test_trap_windows_of_a_text_taken_for_independent
22: decomposition/test_selftest.py::test_trap_seeds_without_pairs_and_correction
22: decomposition/test_sweep.py::test_a_choice_at_the_end_of_its_grid_is_flagged
23: decomposition/test_paired.py::test_a_diverged_run_is_counted_and_not_averaged
24: tasks/test_reconstruction.py::test_beta_and_free_bits_change_what_is_minimized_and_not_what_is_reported
25: metrics/test_mixture.py::test_the_truth_scores_25_modes_and_the_share_within_three_deviations
26: models/test_flow.py::test_the_change_of_volume_is_that_of_the_jacobian
26: models/test_flow.py::test_a_density_over_the_plane_integrates_to_one
26: tasks/test_density.py::test_equally_likely_pixels_cost_the_log_of_their_number_exactly
26: tasks/test_energy.py::test_the_quadrature_gives_the_partition_function_of_a_gaussian
27: conclusion/test_traps.py::test_ranks_count_each_example_once_where_the_pieces_do_not_divide
27: faults/test_ranks.py::test_an_evaluation_on_ranks_is_that_of_one_process_to_the_bit
28: training/test_diagnostics.py::test_sharpness_is_the_greatest_eigenvalue_of_a_quadratic
28: conclusion/test_traps.py::test_diagnostics_are_those_of_the_function_without_dropout
29: conclusion/test_traps.py::test_a_schedule_that_was_stopped_early_has_no_terms
30: conclusion/test_traps.py::test_data_sets_of_other_seeds_spread_as_theory_says_and_other_runs_on_one_do_not
"""

import re
import signal
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from dlcli import config
from dlcli.build import build
from dlcli.conclusion import evaluation
from dlcli.conclusion.conclude import keys
from dlcli.datasets.resident import Resident
from dlcli.datasets.synthetic_regression import linear_regression
from dlcli.decomposition.cautions import Circumstances
from dlcli.decomposition.decompose import decompose
from dlcli.protocols import Bound, DataSpec
from dlcli.tasks.classification import multiclass
from dlcli.training import loop
from dlcli.training.diagnostics import diagnose
from dlcli.training.evaluate import evaluate
from dlcli.training.ranks import Ranks

NOISY = ("dataset=iris", "dataset.label_noise=0.3", "dataset.validation_fraction=0", "model=linear")
SPEC = DataSpec("planted", (6,), classes=("a", "b", "c"))


def keys_of(*words):
    settings = config.load_checked(words)
    return keys(build(settings), settings)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ("data", "dataset.seed=1"),  # other labels are redrawn
        ("data", "dataset.label_noise=0.2"),
        ("data", "dataset.train_fraction=0.9"),
        ("data", "dataset.standardize=none"),  # the pipeline belongs to the training set
        ("class", "model.depth=1"),
        ("loss", "task.loss=squared_error"),
        (None, "seed=1"),
        (None, "optimizer.lr=0.1"),
        (None, "training.average=0.9"),
    ],
)
def test_what_other_runs_have_reached_counts_for_equal_keys_only(changed, word):
    """Trap 7."""
    before, after = keys_of(*NOISY), keys_of(*NOISY, word)
    assert {name for name in before if before[name] != after[name]} == ({changed} if changed else set())


def test_regularizers_leave_the_class_and_normalization_and_sizes_do_not():
    """Trap 7: F is the architecture alone."""
    network = ("dataset=iris", "model=mlp")
    plain = keys_of(*network)
    assert keys_of(*network, "model.dropout=0.5") == plain
    for word in ("normalization=batch", "model.width=7", "model.activation=tanh"):
        assert keys_of(*network, word)["class"] != plain["class"]


def test_the_test_risk_is_told_under_the_label_noise_of_the_training_set_too(dlcli, summary_of):
    """Trap 13. A redrawn label is wrong by chance: (1 - noise) error + noise (C - 1) / C; the loss by the weights."""
    answer = dlcli("train", *NOISY, "training.epochs=5")
    parts = summary_of(answer.run_dir)["decomposition"]
    clean = parts["error"]["test"]["value"]
    assert parts["error"]["test"]["matched_noise_value"] == pytest.approx(0.7 * clean + 0.3 * 2 / 3, abs=1e-6)
    newest = max((answer.run_dir / "checkpoints").iterdir())
    saved = {name: part.double() for name, part in safetensors.torch.load_file(newest / "model.safetensors").items()}
    inputs, targets = build(config.load_saved(answer.run_dir / "config.yaml")).data.test.batch(slice(None))
    losses = -torch.log_softmax(inputs.double() @ saved["head.weight"].T + saved["head.bias"], 1)
    expected = 0.7 * losses[torch.arange(len(targets)), targets].mean() + 0.3 * losses.mean()
    assert parts["loss"]["test"]["matched_noise_value"] == pytest.approx(expected.item(), abs=1e-6)
    assert "label_noise_shift" in {warning["code"] for warning in parts["loss"]["warnings"]}


def test_risks_are_held_against_float64(dlcli, summary_of, monkeypatch):
    """Trap 16: an evaluation in coarse numbers is told, and the honest one is not."""
    short = ("train", "dataset=iris", "training.epochs=2")
    honest = summary_of(dlcli(*short).run_dir)
    assert 0 <= honest["run"]["float64_difference"] < 1e-6
    assert "imprecise" not in {warning["code"] for warning in honest["warnings"]}
    original = evaluation.copy_of

    def rounded(model):
        twin = original(model)
        for weights in twin.parameters():
            weights.data = (16 * weights.data).round() / 16
        exact, twin.double = original(model).double(), lambda: exact
        return twin

    monkeypatch.setattr(evaluation, "copy_of", rounded)
    found = summary_of(dlcli(*short).run_dir)
    assert found["run"]["float64_difference"] > 1e-4
    assert "imprecise" in {warning["code"] for warning in found["warnings"]}


@pytest.mark.slow  # it compiles
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # the compiler's own
def test_the_risks_of_a_compiled_model_are_those_of_its_saved_weights(dlcli, summary_of):
    """Trap 15: what was compiled, and what a reader of the checkpoint evaluates with three matrix products."""
    answer = dlcli("train", "dataset=iris", "training.compile=true", "training.epochs=5", "decompose.budget=none")
    newest = max((answer.run_dir / "checkpoints").iterdir())
    saved = {name: part.double() for name, part in safetensors.torch.load_file(newest / "model.safetensors").items()}
    for name, split in build(config.load_saved(answer.run_dir / "config.yaml")).data.splits().items():
        hidden, targets = split.batch(slice(None))
        hidden = hidden.double()
        for layer in (1, 5):
            hidden = torch.relu(hidden @ saved[f"body.{layer}.weight"].T + saved[f"body.{layer}.bias"])
        scores = hidden @ saved["head.weight"].T + saved["head.bias"]
        expected = nn.functional.cross_entropy(scores, targets).item()
        assert summary_of(answer.run_dir)["risks"][name]["loss"]["value"] == pytest.approx(expected, abs=1e-6)


def test_a_schedule_that_was_stopped_early_has_no_terms(dlcli, monkeypatch):
    """Trap 29: its learning rate has not come down; whoever wants them must let it end."""
    original = loop.take_step

    def take_step(run):
        if run.state.step == 5:
            signal.raise_signal(signal.SIGTERM)
        return original(run)

    monkeypatch.setattr(loop, "take_step", take_step)
    stopped = dlcli("train", "dataset=iris", "training.epochs=2")
    assert stopped.code == 143 and not (stopped.run_dir / "summary.json").exists()
    again = dlcli("decompose", str(stopped.run_dir))
    assert again.code == 2 and "there is no final model yet" in again.err


def test_every_number_of_the_terms_can_be_had_from_the_rows_again(dlcli, summary_of):
    """Traps 3, 4 and 21: n, means and intervals, from losses/*.npy alone."""
    answer = dlcli("train", "dataset=iris", "training.epochs=5", "training.batch_size=32", "decompose.budget=standard")
    part = summary_of(answer.run_dir)["decomposition"]["loss"]
    rows = {split: np.load(answer.run_dir / "losses" / f"{split}_loss.npy") for split in ("train", "test")}
    assert {split: len(values) for split, values in rows.items()} == {"train": 108, "test": 30}
    assert part["generalization"]["value"] == pytest.approx(rows["test"].mean() - rows["train"].mean(), abs=1e-12)
    assert part["test"]["method"] == "BCa bootstrap"
    low, high = part["approx_train"]["interval"]
    ends = [rows["train"].mean() - high, rows["train"].mean() - low]
    assert part["optimization"]["interval"] == pytest.approx(ends, abs=1e-12)


@pytest.mark.parametrize(("difference", "told"), [(5e-11, True), (5e-10, False)])
def test_what_the_sums_of_float64_cannot_tell_apart_is_below_resolution(difference, told):
    """Trap 17: far above the rounding of one number, below that of a sum of many."""
    rows = np.full(10, difference)
    floor = Bound("lower", 0.0, "certified", "nonnegativity")
    parts = decompose(rows, rows, [floor], loss="loss", unit="nats", circumstances=Circumstances(), rounding=2.0**-52)
    assert parts.below_resolution == told
    assert ("below_resolution" in {warning.code for warning in parts.warnings}) == told


class Apart(Ranks):
    """A rank whose sums stay its own."""

    def add(self, *tensors):
        pass


@pytest.mark.parametrize("size", [2, 3, 4])
def test_ranks_count_each_example_once_where_the_pieces_do_not_divide(size):
    """Trap 27: 101 examples in pieces of 10, the last of one; nothing is padded and nothing counts twice."""
    generator = torch.Generator().manual_seed(0)
    split = Resident(torch.randn(101, 6, generator=generator), torch.arange(101) % 3)
    torch.manual_seed(0)
    model, task = nn.Linear(6, 3), multiclass(SPEC, loss="cross_entropy", label_smoothing=0.0)
    alone = evaluate(model, task, split, chunk=10)["loss"]
    found = np.stack([evaluate(model, task, split, chunk=10, ranks=Apart(r, size))["loss"] for r in range(size)])
    assert found.shape == (size, 101)
    assert ((found != 0).sum(0) == 1).all()
    assert np.array_equal(found.sum(0), alone)


def test_diagnostics_are_those_of_the_function_without_dropout():
    """Trap 28: in training mode the sharpness would be that of another function at each product."""
    found = []
    for dropout in (0.5, 0):
        run = build(config.load_checked(("dataset=iris", "model=mlp", f"model.dropout={dropout}")))
        run.model.train()
        found.append({tag: value for tag, value in diagnose(run).items() if tag.endswith("sharpness")})
        assert run.model.training
    assert found[0] == found[1] and all(found[0].values()) and len(found[0]) == 1


def test_data_sets_of_other_seeds_spread_as_theory_says_and_other_runs_on_one_do_not():
    """Trap 30: n L_tr / noise^2 at the least squares is chi-squared with n - p degrees of freedom, over data sets."""
    n, p, noise, sets = 50, 5, 0.5, 400
    minima = []
    for seed in range(sets):
        made = linear_regression(seed, examples=n, test_examples=1, features=p, decay=0.0, noise=noise)
        inputs, targets = made.train.inputs, made.train.targets
        minima.append(np.linalg.lstsq(inputs, targets)[1].item() / n)
    freedom, unit = n - p, noise**2 / n
    variance = 2 * freedom * unit**2
    assert abs(np.mean(minima) - freedom * unit) < 3 * np.sqrt(variance / sets)
    assert np.var(minima, ddof=1) == pytest.approx(variance, rel=3 * np.sqrt((2 + 12 / freedom) / sets))
    words = ("dataset=linear_regression", "model=linear")
    one, same, other = (
        build(config.load_checked((*words, *word))).data for word in ((), ("seed=1",), ("dataset.seed=1",))
    )
    for split in ("train", "test"):
        first, again, redrawn = (getattr(data, split).batch(slice(None)).targets for data in (one, same, other))
        assert torch.equal(first, again) and not torch.equal(first, redrawn)


def test_the_table_above_names_tests_that_exist():
    named = re.findall(r"(\S+\.py)::(\w+)", __doc__)
    tests = Path(__file__).parents[1]
    assert len(named) > 20
    assert not [test for file, test in named if f"def {test}(" not in (tests / file).read_text()]
