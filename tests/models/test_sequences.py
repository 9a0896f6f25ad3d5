import torch

from dlcli import registry
from dlcli.models.sequences import EachPosition, ReadOut, Steps

IMAGES = torch.arange(2 * 3 * 4 * 5).float().view(2, 3, 4, 5)  # (batch, channels, height, width)


def test_an_image_by_rows_is_one_step_per_row_with_all_its_channels():
    steps = Steps((3, 4, 5), "rows")
    read = steps(IMAGES)
    assert (steps.length, steps.features) == (4, 15) and read.shape == (2, 4, 15)
    assert torch.equal(read[1, 2], IMAGES[1, :, 2].flatten())


def test_an_image_by_pixels_is_one_step_per_pixel_in_reading_order():
    steps = Steps((3, 4, 5), "pixels")
    read = steps(IMAGES)
    assert (steps.length, steps.features) == (20, 3) and read.shape == (2, 20, 3)
    assert torch.equal(read[1, 7], IMAGES[1, :, 1, 2])


def test_a_signal_is_one_step_per_sample_and_a_table_one_per_feature():
    signals, table = torch.randn(2, 3, 40), torch.randn(2, 13)
    for read in ("rows", "pixels"):
        assert torch.equal(Steps((3, 40), read)(signals), signals.transpose(1, 2))
        assert torch.equal(Steps((13,), read)(table), table[..., None])


def test_the_last_step_of_two_directions_is_what_each_saw_last():
    features = torch.randn(2, 5, 6)
    assert torch.equal(ReadOut("last", True)(features), torch.cat([features[:, 4, :3], features[:, 0, 3:]], 1))
    assert torch.equal(ReadOut("last")(features), features[:, 4])


def test_what_a_recurrence_lays_step_by_step_is_read_without_a_copy():
    outputs = torch.randn(5, 2, 6, requires_grad=True)  # (length, batch, width), as its kernel leaves them
    features = outputs.transpose(0, 1)
    assert EachPosition(registry.build("normalization", {"name": "none"}), 6)(features) is features
    (gradient,) = torch.autograd.grad(ReadOut("last")(features).sum(), outputs)
    assert gradient.is_contiguous() and gradient.sum() == 12
