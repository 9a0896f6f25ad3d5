import math

import torch

from dlcli.models.positions import Rotary, Sinusoidal


def test_turned_queries_and_keys_meet_by_the_difference_of_their_positions():
    query, key = torch.randn(8), torch.randn(8)
    turned = Rotary(20, 8)(torch.stack([query, key]).view(2, 1, 1, 8).expand(2, 1, 20, 8))
    products = turned[0, 0] @ turned[1, 0].T  # (position of the query, position of the key)
    for distance in (-7, 0, 3):
        diagonal = products.diagonal(distance)
        assert torch.allclose(diagonal, diagonal[0].expand_as(diagonal), atol=1e-5)
    assert not torch.allclose(products[0, 0], products[0, 3], atol=1e-2)


def test_turning_keeps_lengths_and_leaves_the_first_position_alone():
    vectors = torch.randn(2, 3, 9, 6)
    turned = Rotary(9, 6)(vectors)
    assert torch.allclose(turned.norm(dim=3), vectors.norm(dim=3), atol=1e-5)
    assert torch.equal(turned[:, :, 0], vectors[:, :, 0])


def test_sines_and_cosines_are_those_of_the_source():
    table = Sinusoidal(50, 6)(torch.zeros(1, 50, 6))[0]
    for i in range(3):
        angle = 41 / 10000 ** (2 * i / 6)
        assert math.isclose(table[41, 2 * i], math.sin(angle), abs_tol=1e-6)
        assert math.isclose(table[41, 2 * i + 1], math.cos(angle), abs_tol=1e-6)


def test_an_odd_width_has_room_for_its_last_sine():
    assert Sinusoidal(5, 7)(torch.zeros(2, 4, 7)).shape == (2, 4, 7)
