"""The risk is that of one fixed function: the traps of any decomposition that look right, each sprung on purpose."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from dlcli.conclusion import evaluation
from dlcli.conclusion.evaluation import evaluate_splits
from dlcli.datasets.resident import Resident
from dlcli.protocols import DataSpec
from dlcli.tasks.classification import multiclass
from dlcli.training.evaluate import Cut, chunk_of, evaluate, evaluate_real
from dlcli.training.loop import fit
from dlcli.training.signals import Stop
from dlcli.training.step import take_step
from tests.training.conftest import risks

SPEC = DataSpec("planted", (6,), classes=("a", "b", "c"))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


@pytest.fixture
def split():
    """101 examples, sorted by class; the last one is far off, so a mean of batch means would show."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(101, 6, generator=generator)
    inputs[-1] *= 1000
    return Resident(inputs, torch.arange(101) * 3 // 101)


TASK = multiclass(SPEC, loss="cross_entropy", label_smoothing=0.0)


@pytest.mark.parametrize("training", [True, False])
def test_a_model_is_given_back_as_it_came_by_an_evaluation_that_is_cut_short_too(model, split, training):
    model.train(training)
    with pytest.raises(Cut):
        evaluate(model, TASK, split, chunk=10, stopped=iter([False, True]).__next__)
    assert {part.training for part in model.modules()} == {training}


def test_the_risk_does_not_depend_on_the_evaluation_batch_size(model, split):
    """To the last bits of float32: a matrix product may sum in another order for another number of rows. In float64
    the same holds to its last bits, so nothing but rounding depends on the batching."""
    for net, data, precision in (
        (model, split, 1e-6),
        (copy.deepcopy(model).double(), Resident(split.inputs.double(), split.targets), 1e-14),
    ):
        whole = risks(net, TASK, data, chunk=1000)
        for chunk in (1, 7, 100):
            assert risks(net, TASK, data, chunk=chunk) == pytest.approx(whole, rel=precision)


def test_the_risk_is_the_mean_over_all_examples_in_evaluation_mode(model, split):
    everything = split.batch(slice(None))
    with torch.no_grad():
        logits = model.eval()(everything.inputs)
    expected = nn.functional.cross_entropy(logits.double(), everything.targets).item()
    assert risks(model.train(), TASK, split, chunk=10)["loss"] == pytest.approx(expected, rel=1e-6)


def test_evaluating_changes_nothing_in_the_model(model, split):
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, second = evaluate(model, TASK, split), evaluate(model, TASK, split)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_every_example_has_its_row(model, split):
    """The last of them too, which stands in a chunk of its own (trap 3)."""
    with torch.no_grad():
        logits = model.eval()(split.inputs)
    split.targets[-1] = logits[-1].argmin()
    expected = nn.functional.cross_entropy(logits, split.targets, reduction="none")
    assert expected[-1] > 1
    rows = evaluate(model, TASK, split, chunk=100)
    assert {name: values.shape for name, values in rows.items()} == {"loss": (101,), "error": (101,)}
    assert rows["loss"].dtype == np.float64
    assert rows["loss"] == pytest.approx(expected.double().numpy(), rel=1e-5)


@pytest.mark.parametrize(
    ("shape", "causal", "device", "size"),
    [
        ((1, 28, 28), False, "cpu", 510),
        ((3, 32, 32), False, "cpu", 130),
        ((3, 224, 224), False, "cpu", 2),
        ((3, 224, 224), False, "cuda", 111),
        ((64,), True, "cpu", 15),
        ((5000,), True, "cuda", 1),
    ],
)
def test_few_large_examples_go_forward_together_and_many_small_ones(shape, causal, device, size):
    assert chunk_of(DataSpec("planted", shape, causal=causal), torch.device(device)) == size


def test_what_the_last_evaluation_measured_is_not_evaluated_again(make_run, notebook, tmp_path, monkeypatch):
    run, asked = make_run(steps=4, evaluate_every=2), []
    fit(run, tmp_path, {}, notebook, notebook, Stop())

    def counted(model, task, split, **named):
        asked.append(split)
        return evaluate(model, task, split, **named)

    monkeypatch.setattr(evaluation, "evaluate", counted)
    known = evaluate_splits(run).rows
    assert [split is run.data.test for split in asked] == [True]
    run.state.step += 1  # then it is of other weights
    anew = evaluate_splits(run).rows
    assert len(asked) == 1 + len(run.data.splits())
    assert all(np.array_equal(known[split][name], anew[split][name]) for split in anew for name in anew[split])


def test_the_order_of_the_examples_does_not_matter(model, split):
    order = torch.randperm(101, generator=torch.Generator().manual_seed(2))
    shuffled = Resident(*(tensor[order] for tensor in split.batch(slice(None))))
    assert risks(model, TASK, shuffled) == pytest.approx(risks(model, TASK, split), rel=1e-6)


def test_a_far_example_in_the_last_small_batch_weighs_as_much_as_any_other(split):
    """A mean of batch means (100, then 1) would count it a hundred times."""
    model = nn.Linear(6, 3)
    nn.init.zeros_(model.weight)
    model.bias.data = torch.tensor([0.0, -100.0, -100.0])
    targets = torch.zeros(101, dtype=torch.int64)
    targets[-1] = 1
    found = risks(model, TASK, Resident(split.inputs, targets), chunk=100)
    assert found == pytest.approx({"loss": 100 / 101, "error": 1 / 101}, rel=1e-6)


def test_the_risk_is_computed_in_float32_inside_bfloat16_autocast_of_training(make_run):
    run = make_run(precision="bf16")
    take_step(run)
    single = copy.deepcopy(run.model).eval()
    everything = run.data.train.batch(slice(None))
    with torch.no_grad():
        expected = nn.functional.cross_entropy(single(everything.inputs).double(), everything.targets).item()
    assert risks(run.model, run.task, run.data.train)["loss"] == pytest.approx(expected, rel=1e-6)


def test_the_reported_train_risk_is_none_of_the_numbers_that_look_like_it(make_run, notebook, tmp_path):
    """With everything on that changes a training loss, the row of the train risk is the plain one, and far from both
    the running mean and the loss in training mode; and reporting twice reports the same."""
    run = make_run(
        model=("mlp", {"width": 16, "depth": 2, "dropout": 0.3}),
        normalization="batch",
        augmentation=("standard", {"flip": 0.0, "crop": 1}),
        label_smoothing=0.2,
        optimizer=("adam", {"lr": 0.01, "weight_decay": 0.01}),
        steps=300,
        log_every=5,
        evaluate_every=300,
    )
    fit(run, tmp_path, {}, notebook, notebook, Stop())
    rows = {name: value for _, _, values in notebook.rows for name, value in values.items()}
    reported, running = rows["risk/train/loss"], rows["train/running_loss"]
    everything = run.data.train.batch(slice(None))
    with torch.no_grad():
        in_training = nn.functional.cross_entropy(copy.deepcopy(run.model)(everything.inputs), everything.targets)
        plain = copy.deepcopy(run.model).eval()(everything.inputs).double()
    assert reported == pytest.approx(nn.functional.cross_entropy(plain, everything.targets).item(), rel=1e-6)
    assert abs(running - reported) > 0.05 and abs(in_training.item() - reported) > 0.05
    assert [risks(run.model, run.task, run.data.train)["loss"] for _ in range(2)] == [reported, reported]


def test_smoothing_of_the_objective_leaves_the_risk_of_a_perfect_fit_at_zero(make_run):
    """Trap 5: the smoothed loss has a floor near 0.5; the risk must not."""
    run = make_run(label_smoothing=0.1)
    confident = nn.Linear(3, 3, bias=False)
    confident.weight.data = 100 * torch.eye(3)
    data = Resident(torch.eye(3), torch.arange(3))
    assert risks(confident, run.task, data) == {"loss": 0.0, "error": 0.0}
    assert run.task.phases[0].loss(confident, data.batch(slice(None)), None).item() > 0.3


class Echo:
    """A task that draws: its prediction is numbered noise, its row the prediction beside the given example."""

    spec, random, unit, drawn = SPEC, True, "", 40

    @property
    def metrics(self):
        return {"echo": self}

    def predict(self, model, batch, noise):
        return noise.normal(6)

    def rows(self, prediction, batch):
        return torch.cat([prediction, batch.inputs], 1)


def test_a_task_that_draws_is_held_against_examples_from_all_over_the_split(split):
    given = split.inputs[torch.arange(40) * 101 // 40].numpy()
    for chunk in (7, 1000):
        rows = evaluate(nn.Identity(), Echo(), split, chunk=chunk)["echo"]
        assert rows.shape == (40, 12) and np.array_equal(rows[:, 6:], given.astype(np.float64))
        assert np.array_equal(rows, evaluate(nn.Identity(), Echo(), split)["echo"])


def test_real_examples_take_the_place_of_drawn_ones_as_many_as_both_splits_have(split):
    smaller = Resident(split.inputs[:30], split.targets[:30])
    rows = evaluate_real(Echo(), split, smaller)["echo"]
    assert np.array_equal(rows[:, :6], split.inputs[torch.arange(30) * 101 // 30].double().numpy())
    assert np.array_equal(rows[:, 6:], smaller.inputs.double().numpy())
