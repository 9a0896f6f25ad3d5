import math

import pytest
import torch

from dlcli.errors import UsageError

SHAPES = {"points": (3,), "signal": (1, 10), "gray": (1, 8, 8), "colour": (3, 8, 12)}
TRANSFORMS = {"affine": None, "spline": 5}


@pytest.fixture
def build_flow(build_model):
    """A flow in float64 whose last layers are no longer zero, so that it moves what passes through."""

    def build(shape, normalization="none", **settings):
        model = build_model("flow", shape, normalization=normalization, **{"couplings": 4, "width": 8, **settings})
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return model.double().eval()

    return build


@pytest.mark.parametrize("bins", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_at_first_a_flow_only_puts_numbers_elsewhere(build_model, shape, bins):
    inputs = 2 * torch.randn(4, *shape)
    latents, log_det = build_model("flow", shape, bins=bins)(inputs)
    assert torch.allclose(latents.sort(1).values, inputs.flatten(1).sort(1).values, atol=1e-5)
    assert torch.allclose(log_det, torch.zeros(4), atol=1e-3)


@pytest.mark.parametrize("bins", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_inverse_undoes_the_flow(build_flow, shape, normalization, bins):
    model, inputs = build_flow(shape, normalization, bins=bins), torch.randn(5, *shape, dtype=torch.float64)
    latents, _ = model(inputs)
    assert latents.shape == (5, math.prod(shape))
    assert not torch.allclose(latents, inputs.flatten(1), atol=0.1)
    assert torch.allclose(model.inverse(latents), inputs, atol=1e-10)


# Not splines on images: their slopes go down to 1/1000 each, and lose as many digits where many follow one another.
@pytest.mark.parametrize(("shape", "bins"), [("gray", None), ("colour", None), ("points", 5), ("signal", 5)])
def test_the_inverse_undoes_the_flow_in_single_precision(build_flow, shape, bins):
    model, inputs = build_flow(SHAPES[shape], bins=bins).float(), torch.randn(200, *SHAPES[shape])
    assert (model.inverse(model(inputs)[0]) - inputs).abs().max() < 1e-5


@pytest.mark.parametrize("bins", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_change_of_volume_is_that_of_the_jacobian(build_flow, shape, bins):
    model, inputs = build_flow(shape, bins=bins), torch.randn(2, *shape, dtype=torch.float64)
    _, log_det = model(inputs)
    for example, found in zip(inputs, log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda x: model(x[None])[0][0], example)
        exact = torch.linalg.slogdet(jacobian.reshape(math.prod(shape), -1)).logabsdet
        assert found.item() == pytest.approx(exact.item(), abs=1e-9) and abs(exact) > 0.01


@pytest.mark.parametrize("bins", TRANSFORMS.values(), ids=TRANSFORMS)
def test_a_density_over_the_plane_integrates_to_one(build_flow, bins):
    model, step = build_flow((2,), bins=bins), 0.05
    axis = torch.arange(-16, 16, step, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    assert model.log_density(points).exp().sum().item() * step**2 == pytest.approx(1, abs=1e-4)


def test_half_of_the_channels_leave_at_each_scale(build_model):
    model = build_model("flow", (1, 8, 8), couplings=2, width=4, scales=3)
    assert model.shapes == [(2, 4, 4), (4, 2, 2), (4, 2, 2)]


def test_every_number_passes_through_a_coupling_that_moves_it(build_flow):
    model, inputs = build_flow((1, 8, 8), scales=3), torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: model(x)[0], inputs).reshape(64, 64)
    assert ((jacobian != 0).sum(1) > 1).all()


def test_images_that_cannot_be_halved_are_refused(build_model):
    with pytest.raises(UsageError) as refusal:
        build_model("flow", (1, 28, 28), scales=4, dataset="mnist")
    assert refusal.value.message == "model 'flow' does not fit 'mnist': images of 28x28 cannot be halved 3 times"
    assert refusal.value.hint == "use model.scales=3"
