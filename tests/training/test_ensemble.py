"""A run among others takes the steps that it takes alone, in every family, with its own numbers and its own noise."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.func import vmap
from torch.nn import functional

from dlcli import config as configs
from dlcli.build import build
from dlcli.training.ensemble import Stack, agrees, can_stack, shape
from dlcli.training.loop import gather
from dlcli.training.member_noise import MemberNoise
from dlcli.training.room import MOST_WORK, footprint, room
from dlcli.training.signals import Stop
from dlcli.training.standing_in import places, standing_in
from dlcli.training.step import take_step

DIGITS = "dataset=digits"
TEXT = ("dataset=copy_memory", "dataset.examples=100", "dataset.test_examples=10", "dataset.delay=5")
FAMILIES = {
    "linear": ("model=linear",),
    "deep_linear": ("model=linear", "model.depth=2", "model.width=7"),
    "mlp": ("model=mlp", "model.width=9"),
    "dropout": ("model=mlp", "model.width=9", "model.dropout=0.3"),
    "batch": ("model=mlp", "model.width=9", "normalization=batch"),
    "weight": ("model=mlp", "model.width=9", "normalization=weight"),
    "cnn": ("model=cnn", "model.width=4", "model.dropout=0.2", "normalization=batch"),
    "lenet": ("model=lenet", DIGITS, "augmentation=standard"),
    "resnet": ("model=resnet", "model.depth=8", "model.width=4", DIGITS),
    "transformer": (
        "model=transformer",
        "model.width=8",
        "model.heads=2",
        "model.depth=1",
        "model.dropout=0.1",
        DIGITS,
    ),
    "vit": ("model=vit", "model.width=8", "model.heads=2", "model.depth=1", "model.dropout=0.1", DIGITS),
    "rnn": ("model=rnn", "model.width=5", "model.depth=2", "normalization=layer", DIGITS),
    "rnn_relu": ("model=rnn", "model.width=5", "model.activation=relu", DIGITS),
    "gru": ("model=gru", "model.width=5", "model.readout=mean", "model.dropout=0.1", DIGITS),
    "gru_both": ("model=gru", "model.width=5", "model.bidirectional=true", DIGITS),
    "gru_text": ("model=gru", "model.width=5", *TEXT),
    "vae": ("model=vae", "model.width=9", DIGITS),
    "flow": ("model=flow", "dataset=two_moons"),
    "full_batch": ("model=mlp", "model.width=9", "training.batch_size=full", "dataset.train_fraction=0.1"),
}
RULES = {
    "adam": ("optimizer=adam",),
    "muon": ("optimizer=muon",),
    "sam": ("optimizer=sam",),
    "lbfgs": ("optimizer=lbfgs", "dataset.train_fraction=0.05"),
    "clipped": ("optimizer=adamw", "optimizer.weight_decay=0.1", "training.clip_norm=0.1"),
}


def members(*words, rates=(0.02, 0.05, 0.01)):
    base = ("optimizer=momentum", "training.batch_size=16", "training.threads=1", "training.steps=20", *words)
    runs = [
        build(configs.load_checked([*base, f"seed={seed}", f"optimizer.lr={rate}"], None))
        for seed, rate in enumerate(rates)
    ]
    for run in runs:
        run.model.train()
    return runs


def apart(found, expected):
    return float((found - expected).norm() / expected.norm().clamp(min=1e-12))


def assert_equal(together, alone):
    for found, expected in zip(together, alone, strict=True):
        assert found.state.step == expected.state.step
        for stem, named in expected.tensors().items():
            for name, tensor in named.items():
                there = found.tensors()[stem][name]
                assert apart(there.double(), tensor.double()) <= 1e-5, f"{stem}/{name}"
        for name, total in expected.state.window.items():
            assert found.state.window[name] == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("words", [*FAMILIES.values(), *RULES.values()], ids=[*FAMILIES, *RULES])
def test_every_member_takes_the_steps_that_it_takes_alone(words):
    together, alone = members(*words), members(*words)
    stack = Stack(together)
    assert agrees(stack)
    for _ in range(3):
        assert stack.advance(1, Stop()) == {}
        for run in alone:
            gather(run, take_step(run))
        assert_equal(together, alone)


@pytest.mark.parametrize(
    "words",
    [
        ("optimizer=adam",),
        ("optimizer=adamw", "optimizer.weight_decay=0.1", "optimizer.decay=matrices"),
        ("optimizer=rmsprop",),
        ("optimizer=lion",),
        ("training.average=0.9",),
    ],
    ids=lambda words: words[0],
)
def test_one_update_moves_the_rows_of_one_rule(words):
    words, rates = ("model=mlp", *words), (0.002, 0.002, 0.001, 0.001, 0.003)
    together, alone = members(*words, rates=rates), members(*words, rates=rates)
    stack = Stack(together)
    assert [joint.rows for joint in stack.joints] == [range(2), range(2, 4)]
    for follower in (together[1], together[3]):  # moved by the rule of the first of their rows, or not at all
        follower.learners[0].optimizer.update = None
    for _ in range(3):
        assert stack.advance(1, Stop()) == {}
        for run in alone:
            gather(run, take_step(run))
        assert_equal(together, alone)


def test_captured_gradients_are_those_of_the_eager_stack():
    """A CPU records no graphs: what was recorded is done again, on the tensors that it was recorded with."""
    words = ("model=mlp", "normalization=batch", "training.clip_norm=0.1")
    together, alone = members(*words), members(*words)
    stack, replays = Stack(together), []

    def record(work):
        work()  # warms up
        return lambda: replays.append(work())

    stack.capture(record)
    assert len(replays) == 1 and all(map(torch.equal, buffers_of(together), buffers_of(alone)))
    for _ in range(3):
        assert stack.advance(1, Stop()) == {}
        for run in alone:
            gather(run, take_step(run))
        assert_equal(together, alone)
    assert len(replays) == 4


def test_a_stack_that_draws_numbers_or_cannot_be_recorded_stays_eager():
    def refuse(work):
        raise RuntimeError("operation not permitted when stream is capturing")

    for words, record in ((("model.dropout=0.3",), lambda work: pytest.fail("recorded")), ((), refuse)):
        together, alone = members("model=mlp", *words), members("model=mlp", *words)
        stack = Stack(together)
        stack.capture(record)
        assert stack.advance(1, Stop()) == {}
        for run in alone:
            gather(run, take_step(run))
        assert_equal(together, alone)


def buffers_of(runs):
    return [buffer for run in runs for buffer in run.model.buffers()]


def test_rows_of_one_rule_move_alone_where_their_counts_differ():
    words, rates = ("model=mlp", "optimizer=adam", "training.on_nonfinite=skip"), (0.02, 0.02, 0.02)
    together, alone = members(*words, rates=rates), members(*words, rates=rates)
    stack = Stack(together)
    for step in range(4):
        spoilt = [run.model.head.weight.data for run in (together[1], alone[1])] if step == 1 else []
        before = [float(weight[0, 0]) for weight in spoilt]
        for weight in spoilt:
            weight[0, 0] = math.nan
        assert stack.advance(1, Stop()) == {}
        for run in alone:
            gather(run, take_step(run))
        for weight, value in zip(spoilt, before, strict=True):
            weight[0, 0] = value
    assert [run.state.skipped for run in together] == [0, 1, 0] and not stack.joints[0].update()
    assert [float(run.learners[0].memory["step"]) for run in together] == [4, 3, 4]
    assert_equal(together, alone)


def test_a_member_that_diverges_costs_the_others_nothing():
    together, alone = members("model=mlp", rates=(0.02, 1e30, 0.01)), members("model=mlp", rates=(0.02, 0.02, 0.01))
    stack, faults = Stack(together), {}
    while not faults:
        faults = stack.advance(1, Stop())
        for run in alone:
            gather(run, take_step(run))
    assert list(faults) == [1] and "is not finite in step" in faults[1].message
    assert_equal([together[0], together[2]], [alone[0], alone[2]])
    assert together[1].state.step < together[0].state.step


def test_a_skipped_turn_is_skipped_by_one_member_alone():
    words = ("model=mlp", "normalization=batch", "training.on_nonfinite=skip")
    together, alone = members(*words), members(*words)
    stack = Stack(together)
    for run in (together[1], alone[1]):
        run.model.head.weight.data[0, 0] = math.nan
    stack.advance(1, Stop())
    for run in alone:
        gather(run, take_step(run))
    assert [run.state.skipped for run in together] == [0, 1, 0]
    assert_equal([together[0], together[2]], [alone[0], alone[2]])
    for found, expected in zip(together[1].model.buffers(), alone[1].model.buffers(), strict=True):
        torch.testing.assert_close(found, expected)


def test_what_cannot_be_done_for_many_is_found_out_and_changes_nothing():
    runs = members("model=mlp", "model.width=4", "model.activation=gelu")
    for run in runs:  # what depends on a number has no number for many
        run.model.head.register_forward_hook(lambda head, inputs, scores: scores * (1 + abs(scores.sum().item())))
    before = [run.learners[0].parameters.weights.clone() for run in runs]
    assert not agrees(Stack(runs))
    for run, weights in zip(runs, before, strict=True):
        assert torch.equal(run.learners[0].parameters.weights, weights)
        take_step(run)


def test_a_difference_that_no_shape_shows_is_found_out():
    runs = [*members("model=mlp", rates=(0.1,)), *members("model=mlp", "task.label_smoothing=0.2", rates=(0.1,))]
    assert shape(runs[0]) == shape(runs[1])
    assert not agrees(Stack(runs))


def test_looking_whether_a_stack_agrees_moves_no_running_statistics():
    runs = members("model=mlp", "normalization=batch")
    before = [buffer.clone() for run in runs for buffer in run.model.buffers()]
    assert agrees(Stack(runs))
    assert all(map(torch.equal, before, (buffer for run in runs for buffer in run.model.buffers())))


def test_a_run_of_several_players_or_micro_batches_is_left_alone():
    (game,) = members("model=gan", "dataset=gaussian_grid", rates=(0.1,))
    (parts,) = members("model=mlp", "training.accumulate=2", rates=(0.1,))
    assert not can_stack(game) and not can_stack(parts) and room(game) == 1


def test_the_work_of_a_step_is_that_of_its_matrices():
    (run,) = members("model=mlp", "model.width=100", "model.depth=2", rates=(0.1,))
    assert footprint(run).operations == 6 * 16 * (40 * 100 + 100 * 100 + 100 * 10) < MOST_WORK
    assert room(run) > 1
    (large,) = members("model=mlp", "model.width=1000", "training.batch_size=100", rates=(0.1,))
    assert footprint(large).operations > MOST_WORK and room(large) == 1


@pytest.mark.parametrize("words", [{}, {"reduction": "sum"}, {"reduction": "none", "label_smoothing": 0.1}], ids=str)
@pytest.mark.parametrize("form", ["classes", "probabilities", "sequences"])
def test_cross_entropy_in_steps_is_that_of_torch(words, form):
    shape = (3, 5, 4, 2) if form == "sequences" else (3, 5, 4)  # members, examples, classes, positions
    scores = 30 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    targets = scores.softmax(2) if form == "probabilities" else scores.argmin(2)
    with MemberNoise([0, 1, 2], scores.device):
        found = vmap(lambda *own: functional.cross_entropy(*own, **words))(scores, targets)
    expected = torch.stack([functional.cross_entropy(*own, **words) for own in zip(scores, targets, strict=True)])
    torch.testing.assert_close(found, expected)


def layers(kind, bidirectional, dtype=torch.float64, **words):
    torch.manual_seed(0)
    made = [kind(3, 4, batch_first=True, bidirectional=bidirectional, dtype=dtype, **words) for _ in range(3)]
    names = [name for name, _ in made[0].named_parameters()]
    stacked = [torch.stack([layer.get_parameter(name).detach() for layer in made]).requires_grad_() for name in names]
    inputs = torch.randn(3, 5, 7, 3, dtype=dtype, requires_grad=True)  # members, examples, steps, features
    state = torch.randn(3, 2 if bidirectional else 1, 5, 4, dtype=dtype, requires_grad=True)
    return made, names, stacked, inputs, state


def of_all(made, names, stacked, inputs, state):
    """What the layers give, as one."""

    def one(inputs, state, *weights):
        with standing_in(places(made[0], names), weights):
            return made[0](inputs, state)

    with MemberNoise([0, 1, 2], inputs.device):
        return vmap(one)(inputs, state, *stacked)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize(
    ("kind", "words"), [(nn.RNN, {}), (nn.RNN, {"nonlinearity": "relu"}), (nn.GRU, {})], ids=["tanh", "relu", "gru"]
)
def test_recurrences_of_many_are_those_of_torch(kind, words, bidirectional):
    made, names, stacked, inputs, state = layers(kind, bidirectional, **words)
    found = of_all(made, names, stacked, inputs, state)
    alone = [layer(inputs[row], state[row]) for row, layer in enumerate(made)]
    expected = tuple(map(torch.stack, zip(*alone, strict=True)))
    torch.testing.assert_close(found, expected)
    weighted = [torch.randn_like(part) for part in expected]
    gradients = torch.autograd.grad(found, [inputs, state, *stacked], weighted)
    reference = [layer.get_parameter(name) for name in names for layer in made]
    theirs = torch.autograd.grad(expected, [inputs, state, *reference], weighted)
    torch.testing.assert_close(gradients[:2], theirs[:2])
    for place, gradient in enumerate(gradients[2:]):
        torch.testing.assert_close(gradient, torch.stack(theirs[2 + 3 * place : 5 + 3 * place]))
        assert gradient.is_contiguous()


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU])
def test_recurrences_of_many_have_the_types_of_torch(kind):
    made, names, stacked, inputs, state = layers(kind, True, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = of_all(made, names, stacked, inputs, state)
        output, last = made[0](inputs[0], state[0])
    assert [part.dtype for part in found] == [output.dtype, last.dtype]
    torch.testing.assert_close(found[0][0], output, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("words", [{"num_layers": 2}, {"bias": False}], ids=str)
def test_other_recurrences_are_refused_as_torch_does(words):
    made, names, stacked, inputs, state = layers(nn.GRU, False, **words)
    with pytest.raises(RuntimeError, match="Batching rule not implemented"):
        of_all(made, names, stacked, inputs, state.expand(-1, words.get("num_layers", 1), -1, -1))


def test_an_lstm_is_left_alone():
    assert not agrees(Stack(members("model=lstm", "model.width=4", DIGITS)))


def test_the_work_of_a_recurrence_is_that_of_all_its_steps():
    (run,) = members("model=lstm", "model.width=6", "model.bidirectional=true", DIGITS, rates=(0.1,))
    assert footprint(run).operations == 6 * 16 * (8 * 2 * (24 * 8 + 24 * 6) + 12 * 10)


def test_a_stack_imports_no_computer_algebra():
    """Half a second, which the decompositions of torch take for it."""
    code = "from tests.training.test_ensemble import *\nassert Stack(members('model=mlp')).advance(1, Stop()) == {}\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "print('sympy' in sys.modules)"], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.splitlines()[-1] == "False", done.stderr
