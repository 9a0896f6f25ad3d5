import pytest
import torch

from dlcli.errors import UsageError
from dlcli.models.mirrored import Mirrored
from dlcli.models.whitening import LEAST, whitening


@pytest.fixture
def images():
    """Images whose neighbouring pixels are alike, as those of nature are."""
    torch.manual_seed(0)
    return torch.nn.functional.avg_pool2d(3 * torch.randn(400, 3, 22, 22), 3, 1)


def test_whitened_patches_have_the_identity_as_second_moment(images):
    layer = whitening(images, 2)
    found = layer(images)[:, :12].detach().double().transpose(0, 1).flatten(1)  # (12, patches)
    patches = images.double().unfold(2, 2, 1).unfold(3, 2, 1).permute(1, 4, 5, 0, 2, 3).flatten(3).flatten(0, 2)
    variances = torch.linalg.eigvalsh(patches @ patches.T / patches.shape[1])
    expected = torch.diag(variances / (variances + LEAST))
    assert torch.allclose(found @ found.T / found.shape[1], expected, atol=1e-4)


def test_each_direction_comes_with_both_signs_and_is_not_trained(images):
    layer = whitening(images, 2)
    assert torch.equal(layer.weight[:12], -layer.weight[12:])
    assert not layer.weight.requires_grad and layer.bias.requires_grad


def test_an_image_and_its_mirror_image_are_predicted_alike_in_evaluation_only(build_model, images):
    model = build_model("airbench", (3, 20, 20), normalization="batch", examples=images, width=8)
    assert not torch.allclose(model(images), model(images.flip(-1)), atol=1e-3)
    model.eval()
    assert torch.allclose(model(images), model(images.flip(-1)), atol=1e-5)
    body = model.body.body
    assert torch.allclose(model(images), (model.head(body(images)) + model.head(body(images.flip(-1)))) / 2, atol=1e-5)


def test_mirror_false_evaluates_what_is_trained(build_model, images):
    model = build_model("airbench", (3, 20, 20), examples=images, width=8, mirror=False)
    assert not any(isinstance(part, Mirrored) for part in model.modules())
    assert torch.equal(model(images), model.eval()(images))


def test_on_cifar10_it_has_the_size_of_its_source(build_model, count):
    """Jordan 2024: 1,972,792 parameters; the bias of the head is 10 more."""
    model = build_model("airbench", (3, 32, 32), normalization="batch")
    assert count(model) == 1_972_792 + 10


def test_images_that_pool_away_are_refused(build_model):
    with pytest.raises(UsageError, match="needs images of 17 pixels a side or more, and 'digits' has inputs of 8x8"):
        build_model("airbench", (1, 8, 8), dataset="digits")
