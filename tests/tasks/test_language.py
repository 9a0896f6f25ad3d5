from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dlcli.datasets.vocabularies import Characters
from dlcli.datasets.windows import windows
from dlcli.decomposition.floors import context_floor
from dlcli.errors import UsageError
from dlcli.protocols import Batch, DataSpec
from dlcli.tasks.auto import auto
from dlcli.tasks.language import generate, language

SPEC = DataSpec("play", (8,), vocabulary=Characters("abcd"))


class Bigram(nn.Module):
    """Scores that depend on the last token alone."""

    def __init__(self, table):
        super().__init__()
        self.table = table  # (vocabulary, vocabulary)

    def forward(self, tokens):
        return self.table[tokens]


class Longest(nn.Module):
    """Notes how much of the text it is shown."""

    seen = 0

    def forward(self, tokens):
        self.seen = max(self.seen, tokens.shape[1])
        return torch.zeros(*tokens.shape, 4)


def drawn(prompt, count, table, temperature=1.0, top_k=None, seed=0):
    draws = torch.rand(len(prompt), count, generator=torch.Generator().manual_seed(seed))
    return generate(Bigram(table), torch.tensor(prompt), draws, 8, temperature, top_k)


def test_it_asks_for_a_score_per_token_at_every_position():
    spec = language(SPEC, label_smoothing=0.0).spec
    assert spec.causal and spec.outputs == 4


def test_the_training_loss_is_the_cross_entropy_over_all_positions():
    table, batch = torch.randn(4, 4), Batch(torch.randint(4, (3, 8)), torch.randint(4, (3, 8)))
    for smoothing in (0.0, 0.1):
        task = language(SPEC, label_smoothing=smoothing)
        expected = F.cross_entropy(
            table[batch.inputs].flatten(0, 1), batch.targets.flatten(), label_smoothing=smoothing
        )
        assert torch.isclose(task.phases[0].loss(Bigram(table), batch, None), expected)


def test_tokens_without_classes_are_a_language_for_the_automatic_choice():
    assert auto(SPEC, loss="auto", label_smoothing=0.0).spec.causal
    with pytest.raises(UsageError, match=r"task.loss=hinge does not fit the tokens of data set play"):
        auto(SPEC, loss="hinge", label_smoothing=0.0)


def test_numbers_are_refused():
    with pytest.raises(UsageError, match="needs a sequence of tokens to continue, and data set wine has numbers"):
        language(DataSpec("wine", (13,)), label_smoothing=0.0)


def test_at_temperature_zero_the_likeliest_token_follows():
    table = torch.eye(4).roll(1, dims=1)  # a b c d a ...
    assert drawn([[0], [2]], 5, table, temperature=0.0).tolist() == [[0, 1, 2, 3, 0, 1], [2, 3, 0, 1, 2, 3]]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_with_the_probabilities_of_the_scaled_scores(temperature):
    scores = torch.tensor([0.3, -1.0, 1.2, 0.0])
    tokens = drawn([[0]] * 20000, 1, scores.expand(4, 4), temperature)[:, 1]
    shares = torch.bincount(tokens, minlength=4) / len(tokens)
    assert torch.allclose(shares, (scores / temperature).softmax(0), atol=4 * math.sqrt(0.25 / 20000))


def test_only_the_likeliest_so_many_are_drawn_and_one_of_them_is_the_greedy_choice():
    table = torch.tensor([0.3, -1.0, 1.2, 0.0]).expand(4, 4)
    assert set(drawn([[0]] * 200, 3, table, top_k=2)[:, 1:].unique().tolist()) == {0, 2}
    assert set(drawn([[0]] * 200, 3, table, top_k=1)[:, 1:].unique().tolist()) == {2}
    assert set(drawn([[0]] * 200, 3, table, top_k=9)[:, 1:].unique().tolist()) == {0, 1, 2, 3}


def test_the_same_draws_write_the_same_text():
    table = torch.randn(4, 4)
    assert torch.equal(drawn([[1]], 30, table, seed=5), drawn([[1]], 30, table, seed=5))
    assert not torch.equal(drawn([[1]], 30, table, seed=5), drawn([[1]], 30, table, seed=6))


def test_the_model_never_sees_more_than_a_window():
    model = Longest()
    text = generate(model, torch.zeros(1, 5).long(), torch.rand(1, 20), 8, 1.0, None)
    assert text.shape == (1, 25) and model.seen == 8


class Uniform:
    """The noise of so many examples."""

    def __init__(self, count):
        self.count = count

    def uniform(self, *shape):
        return torch.rand(self.count, *shape, generator=torch.Generator().manual_seed(0))


def test_a_sample_is_as_long_as_an_example_and_starts_anywhere():
    text = language(SPEC, label_smoothing=0.0).sample(Bigram(torch.randn(4, 4)), 50, Uniform(50))
    assert text.shape == (50, 8) and set(text[:, 0].tolist()) == {0, 1, 2, 3}


class Fixed:
    def __init__(self, inputs, targets):
        self.whole = Batch(inputs, targets)

    def batch(self, indices):
        return Batch(*(part[indices] for part in self.whole))


def test_the_floor_of_equal_beginnings_is_reached_by_a_table_of_all_beginnings():
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(2, (40, 6), generator=generator)
    inputs, targets = text[:, :5], text[:, 1:]
    (bound,) = language(SPEC, label_smoothing=0.0).bounds(None, Fixed(inputs, targets))
    losses = []
    for row in range(40):
        for position in range(5):
            alike = (inputs[:, : position + 1] == inputs[row, : position + 1]).all(1)
            share = (targets[alike, position] == targets[row, position]).double().mean()
            losses.append(-math.log(share))
    assert bound.side == "lower" and bound.value == pytest.approx(sum(losses) / len(losses)) and bound.value > 0.4


def test_on_a_text_the_floor_is_that_of_the_chain_rule_over_whole_windows():
    text = torch.randint(3, (5 * 200 + 1,), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    (bound,) = language(SPEC, label_smoothing=0.0).bounds(None, windows(text, 5))
    assert bound.value == pytest.approx(context_floor(text.numpy(), 5, stride=5).value, rel=1e-9)


def test_texts_that_all_begin_differently_have_no_floor():
    inputs = torch.tensor([[0, 1, 1], [1, 1, 1], [2, 1, 1]])
    (bound,) = language(SPEC, label_smoothing=0.0).bounds(None, Fixed(inputs, inputs))
    assert bound.value == 0 and bound.evidence == {"first_position_without_equal_beginnings": 0}
