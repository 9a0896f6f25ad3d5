import pytest
import torch

from dlcli.errors import UsageError

SHAPES = {"table": (7,), "signal": (1, 40), "gray": (1, 28, 28), "odd": (3, 17, 20)}
CASES = [(kind, "mlp", 2) for kind in SHAPES]
CASES += [(kind, "convolutional", depth) for kind in ("signal", "gray", "odd") for depth in (0, 1, 3)]


def sized(build_model, shape, architecture, normalization="none", **settings):
    outputs = torch.Size(shape).numel()
    return build_model("vae", shape, outputs, normalization, **{"architecture": architecture, "width": 8, **settings})


@pytest.mark.parametrize(("kind", "architecture", "depth"), CASES)
def test_latents_are_described_and_decoded_in_the_shape_of_the_inputs(build_model, kind, architecture, depth):
    shape = SHAPES[kind]
    model = sized(build_model, shape, architecture, "batch", depth=depth, latents=5)
    mean, log_variance = model.encode(torch.randn(4, *shape))
    assert mean.shape == log_variance.shape == (4, 5)
    assert model.decode(mean).shape == (4, *shape)


@pytest.mark.parametrize("architecture", ["mlp", "convolutional"])
def test_without_blocks_both_networks_are_linear(build_model, architecture):
    model = sized(build_model, (1, 8, 8), architecture, depth=0).double()
    a, b = torch.randn(2, 1, 20, dtype=torch.float64)
    assert torch.allclose(model.decode(a + b) + model.decode(0 * a), model.decode(a) + model.decode(b))


def test_numbers_beyond_an_example_are_free_parameters(build_model):
    model = build_model("vae", (1, 8, 8), 65, width=8)
    assert model.shared.shape == (1,) and model.shared.requires_grad


def test_convolutions_over_a_table_and_too_many_blocks_are_refused(build_model):
    with pytest.raises(UsageError, match="needs signals or images, and 'wine' is a table of 13 features"):
        build_model("vae", (13,), 13, dataset="wine", architecture="convolutional")
    with pytest.raises(UsageError) as refusal:
        build_model("vae", (1, 8, 8), 64, dataset="digits", architecture="convolutional", depth=4, width=2)
    assert refusal.value.hint == "use model.depth=3"
