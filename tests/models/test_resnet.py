import pytest
import torch
from torch.nn import functional as F

from dlcli import registry
from dlcli.models.resnet import Block, GlobalAverage, Subsample
from dlcli.protocols import Normalization
from dlcli.schema import fits, parse


def parameters_of(build_model, count, **settings):
    return count(build_model("resnet", (3, 32, 32), normalization="batch", **settings))


def test_depth_20_has_the_269722_parameters_of_option_a(build_model, count):
    assert parameters_of(build_model, count, depth=20) == 269_722


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85)])
def test_parameters_are_those_of_the_paper(build_model, count, depth, millions):
    """He et al. 2016, table 6."""
    assert round(parameters_of(build_model, count, depth=depth) / 1e6, 2) == millions


def test_depth_18_has_the_published_parameters_but_for_stem_and_classes(build_model, count):
    imagenet = 11_689_512  # torchvision's resnet18: 7x7 stem, 1000 classes
    stem, classes = 64 * 3 * (49 - 9), (1000 - 10) * 513
    assert parameters_of(build_model, count, depth=18) == imagenet - stem - classes


@pytest.mark.parametrize("depth", [8, 14, 18, 20, 56])
def test_depth_counts_convolutions_on_the_path_and_the_head(build_model, depth):
    model = build_model("resnet", (1, 8, 8), depth=depth, width=1)
    path = [name for name, p in model.named_parameters() if p.dim() == 4 and "shortcut" not in name]
    assert len(path) + 1 == depth


def test_width_is_the_channels_of_the_first_stage(build_model):
    model = build_model("resnet", (3, 16, 16), depth=8, width=5)
    assert model.body[0].out_channels == 5 and model.head.in_features == 20


def test_the_legal_depths_are_checked_with_the_configuration():
    legal = parse(registry.catalogue("model")["resnet"].settings["depth"])
    assert [depth for depth in range(60) if fits(depth, legal)] == [8, 14, 18, 20, 26, 32, 38, 44, 50, 56]


def test_subsampling_keeps_every_other_position_and_adds_channels_of_zeros():
    maps = torch.arange(2 * 3 * 4 * 4.0).view(2, 3, 4, 4)
    small = Subsample(2, 3)(maps)
    assert torch.equal(small[:, :3], maps[:, :, ::2, ::2]) and not small[:, 3:].any()


@pytest.mark.parametrize("outputs", [4, 8])
def test_a_block_is_two_convolutions_beside_a_shortcut(outputs):
    none = Normalization(lambda layer: layer, lambda channels, dims: torch.nn.Identity())
    block = Block(2, 4, outputs, False, none)
    maps = torch.randn(2, 4, 8, 8)
    first, second = block.residual[0], block.residual[3]
    stride = outputs // 4
    hidden = F.relu(F.conv2d(maps, first.weight, first.bias, stride, 1))
    shortcut = F.pad(maps[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, outputs - 4))
    assert torch.equal(block(maps), F.relu(shortcut + F.conv2d(hidden, second.weight, second.bias, 1, 1)))


def test_the_global_average_is_that_of_torch():
    maps = torch.randn(2, 3, 5, 4)
    assert torch.allclose(GlobalAverage()(maps), F.adaptive_avg_pool2d(maps, 1).flatten(1))


@pytest.mark.parametrize("depth", [8, 18])
def test_signals_are_welcome(build_model, depth):
    assert build_model("resnet", (1, 40), depth=depth, width=4)(torch.randn(2, 1, 40)).shape == (2, 10)
