import pytest
import torch

from dlcli.errors import UsageError


def test_a_patch_is_the_linear_map_of_its_pixels(build_model):
    model = build_model("vit", (3, 8, 12), patch=4, width=16)
    reader, images = model.body[0], torch.randn(2, 3, 8, 12)
    second_row_first_column = images[:, :, 4:8, 0:4].flatten(1)
    expected = second_row_first_column @ reader.project.weight.flatten(1).T + reader.project.bias
    assert reader(images).shape == (2, 6, 16)
    assert torch.allclose(reader(images)[:, 3], expected, atol=1e-6)


def test_features_are_the_mean_over_the_patches_so_without_positions_their_order_does_not_matter(build_model):
    model = build_model("vit", (1, 8, 8), normalization="layer", positions="none")
    images = torch.randn(2, 1, 8, 8)
    assert torch.allclose(model(images), model(torch.cat([images[:, :, 4:], images[:, :, :4]], 2)), atol=1e-5)


def test_patches_that_do_not_tile_the_image_are_refused_with_those_that_do(build_model):
    with pytest.raises(UsageError) as refusal:
        build_model("vit", (1, 28, 28), patch=5, dataset="mnist")
    assert refusal.value.message == "model 'vit': patches of model.patch=5 do not tile 'mnist' (28x28)"
    assert refusal.value.hint == "use model.patch=1 or 2 or 4 or 7 or 14 or 28"
