import pytest
import torch
from torch.nn import functional as F


def test_it_is_affine_in_the_flattened_inputs(build_model):
    model = build_model("linear", (2, 3), outputs=4)
    inputs = torch.randn(5, 2, 3)
    assert torch.equal(model(inputs), F.linear(inputs.reshape(5, 6), model.head.weight, model.head.bias))


def test_depth_multiplies_matrices_and_stays_affine(build_model):
    model = build_model("linear", (6,), outputs=4, width=5, depth=2)
    matrix = model.head.weight @ model.body[2].weight @ model.body[1].weight
    inputs = torch.randn(3, 6)
    assert torch.allclose(model(inputs), inputs @ matrix.T + model.head.bias, atol=1e-6)


def test_mnist1d_has_410_parameters(build_model, count):
    assert count(build_model("linear", (1, 40))) == 410


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_any_map_of_its_rank_can_be_put_into_it(build_model, depth):
    model = build_model("linear", (6,), outputs=4, depth=depth, width=2)
    maps, bias, inputs = torch.randn(4, 2) @ torch.randn(2, 6), torch.randn(4), torch.randn(20, 6)
    model.place(maps, bias)
    torch.testing.assert_close(model(inputs), inputs @ maps.T + bias)
