"""The augmentations against what they say, example by example: which changes, how often, from which generator."""

from __future__ import annotations

import pytest
import torch

from dlcli.errors import UsageError
from dlcli.protocols import DataSpec, Visit
from dlcli.registry import build

SIDE, N = 8, 4000
FIRST = Visit(slice(None), 0)


def augmentation(shape=(1, SIDE, SIDE), flip=0.0, crop=0, cutout=0):
    section = {"name": "standard", "flip": flip, "crop": crop, "cutout": cutout}
    return build("augmentation", section, spec=DataSpec("toy", shape))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    """(n, 2, SIDE, SIDE): each pixel tells its row and column."""
    row, column = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return torch.stack([row + 1.0, column + 1.0]).expand(N, -1, -1, -1).contiguous()


def share(event):
    return event.double().mean().item()


def close_to(probability):
    return pytest.approx(probability, abs=4 * (probability * (1 - probability) / N) ** 0.5)


@pytest.mark.parametrize("settings", [{"flip": 0.5}, {"crop": 2}, {"cutout": 3}, {"flip": 0.5, "crop": 2, "cutout": 3}])
def test_a_draw_is_a_function_of_its_generator_and_leaves_the_inputs_alone(images, settings):
    augment, before = augmentation(**settings), images.clone()
    first, again, other = (augment(images, generator(seed), FIRST) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(images, before) and first.shape == images.shape


def test_switched_off_it_is_the_identity_and_draws_nothing(images):
    draw = generator()
    state = draw.get_state()
    assert augmentation()(images, draw, FIRST) is images
    assert build("augmentation", {"name": "none"})(images, draw, FIRST) is images
    assert torch.equal(draw.get_state(), state)


def test_a_flip_mirrors_whole_examples_with_its_probability(images):
    found = augmentation(flip=0.3)(images, generator(), FIRST)
    mirrored = (found == images.flip(3)).flatten(1).all(1)
    assert torch.equal(mirrored, ~(found == images).flatten(1).all(1))
    assert share(mirrored) == close_to(0.3)
    assert torch.equal(augmentation(flip=1.0)(images, generator(), FIRST), images.flip(3))


def test_a_crop_is_a_window_of_the_reflected_image_and_every_shift_is_as_likely(images):
    found = augmentation(crop=2)(images, generator(), FIRST)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2), mode="reflect")
    seen = torch.zeros(N, dtype=torch.int64)
    for down in range(5):
        for right in range(5):
            window = padded[:, :, down : down + SIDE, right : right + SIDE]
            same = (found == window).flatten(1).all(1)
            assert share(same) == close_to(1 / 25)
            seen += same
    assert (seen == 1).all()


def test_a_crop_may_be_as_wide_as_reflection_allows(images):
    found = augmentation(crop=SIDE - 1)(images, generator(), FIRST)
    assert found.min() >= 1 and found.max() <= SIDE


def test_a_cutout_blanks_one_square_in_all_channels_cut_off_at_the_border(images):
    found = augmentation(cutout=3)(images, generator(), FIRST)
    blank = found == 0
    assert torch.equal(blank[:, 0], blank[:, 1])
    assert torch.equal(found.masked_select(~blank), images.masked_select(~blank))
    rows, columns = blank[:, 0].any(2), blank[:, 0].any(1)
    assert torch.equal(blank[:, 0], rows[:, :, None] & columns[:, None, :])
    for sides in (rows.sum(1), columns.sum(1)):
        assert sides.min() == 2 and sides.max() == 3
        assert share(sides == 2) == close_to(2 / SIDE)  # a center on one of the two borders


def test_all_three_act_on_examples_that_are_not_square(images):
    tall = torch.randn(16, 3, 9, 5, generator=generator())
    found = augmentation((3, 9, 5), flip=0.5, crop=2, cutout=2)(tall, generator(), FIRST)
    assert found.shape == tall.shape and torch.isin(found, torch.cat([tall.flatten(), torch.zeros(1)])).all()


@pytest.mark.parametrize("shape", [(7,), (1, 40)])
def test_inputs_that_are_no_images_are_refused(shape):
    with pytest.raises(UsageError, match="augmentation=standard changes images; an input of dataset=toy") as refusal:
        augmentation(shape)
    assert refusal.value.hint == "use augmentation=none"


@pytest.mark.parametrize("setting", ["crop", "cutout"])
def test_a_setting_too_large_for_the_image_is_refused_with_its_limit(setting):
    with pytest.raises(UsageError, match=f"augmentation.{setting}=8 is too large") as refusal:
        augmentation(**{setting: 8})
    assert refusal.value.hint == "use 0 to 7"


def test_an_alternating_flip_shows_each_image_once_as_it_is_and_once_mirrored(images):
    augment, chosen = augmentation(flip="alternating"), torch.randperm(N)
    first, second, third = (augment(images, generator(epoch), Visit(chosen, epoch)) for epoch in range(3))
    assert torch.equal(second, first.flip(3)) and torch.equal(third, first)
    mirrored = (first == images.flip(3)).flatten(1).all(1)
    assert share(mirrored) == close_to(0.5)
    by_number = mirrored[chosen.argsort()]
    assert share(by_number[1:] ^ by_number[:-1]) < 0.9  # not every other image


def test_an_alternating_flip_goes_with_the_image_wherever_it_stands(images):
    augment = augmentation(flip="alternating")
    whole = augment(images, generator(), FIRST)
    some = torch.tensor([7, 3, 1000])
    assert torch.equal(augment(images[some], generator(), Visit(some, 0)), whole[some])
