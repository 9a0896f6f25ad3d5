import math

import pytest
import torch
from torch import nn

from dlcli.tasks.games import GAMES, real_penalty, slope_penalty

SCORES = torch.tensor([0.7, -1.3, 2.0], dtype=torch.float64)
FAKE = torch.tensor([-0.4, 0.9, 1.5], dtype=torch.float64)
P, Q = torch.sigmoid(SCORES), torch.sigmoid(FAKE)
EXPECTED = {
    "minimax": (-(P.log() + (1 - Q).log()).mean(), (1 - Q).log().mean()),
    "non_saturating": (-(P.log() + (1 - Q).log()).mean(), -Q.log().mean()),
    "least_squares": (((SCORES - 1) ** 2 + FAKE**2).mean() / 2, ((FAKE - 1) ** 2).mean() / 2),
    "wasserstein": ((FAKE - SCORES).mean(), -FAKE.mean()),
    "hinge": (((1 - SCORES).clamp(min=0) + (1 + FAKE).clamp(min=0)).mean(), -FAKE.mean()),
}


@pytest.mark.parametrize("name", GAMES)
def test_both_losses_are_those_of_the_source(name):
    of_discriminator, of_generator = EXPECTED[name]
    assert GAMES[name].discriminator(SCORES, FAKE).item() == pytest.approx(of_discriminator.item())
    assert GAMES[name].generator(FAKE).item() == pytest.approx(of_generator.item())


def test_a_blind_discriminator_loses_two_bits_of_nats():
    assert GAMES["minimax"].discriminator(torch.zeros(3), torch.zeros(3)).item() == pytest.approx(2 * math.log(2))


def test_the_slope_penalty_of_a_linear_score_is_exact():
    def judge(inputs):
        return inputs @ torch.tensor([3.0, 4.0])

    real, drawn = torch.randn(6, 2), torch.randn(6, 2)
    assert slope_penalty(judge, real, drawn, torch.rand(6), pack=1).item() == pytest.approx(16)
    assert real_penalty(judge, real, pack=1).item() == pytest.approx(12.5)


def test_the_slope_penalty_looks_between_real_and_drawn_examples():
    seen = []

    def judge(inputs):
        seen.append(inputs.detach())
        return inputs.sum(1)

    real, drawn, mix = torch.zeros(4, 2), torch.ones(4, 2), torch.tensor([0.1, 0.6, 0.9, 0.9])
    slope_penalty(judge, real, drawn, mix, pack=2)
    assert torch.allclose(seen[0][:, 0], torch.tensor([0.1, 0.1, 0.6, 0.6]))  # a pack shares its place


def test_the_penalty_of_a_pack_counts_its_slope_as_a_whole():
    def judge(inputs):
        return inputs.reshape(-1, 4) @ torch.tensor([1.0, 1.0, 1.0, 1.0])

    assert real_penalty(judge, torch.randn(6, 2), pack=2).item() == pytest.approx(2.0)


def test_the_penalty_reaches_the_weights_and_is_finite_for_a_flat_score():
    flat = nn.Linear(2, 1)
    with torch.no_grad():
        flat.weight.zero_()
    loss = slope_penalty(lambda x: flat(x).squeeze(1), torch.randn(4, 2), torch.randn(4, 2), torch.rand(4), pack=1)
    (gradient,) = torch.autograd.grad(loss, flat.weight)
    assert loss.item() == pytest.approx(1, abs=1e-5) and gradient.isfinite().all()
