import pytest
import torch
from torch import nn

from dlcli.models.averaged import RAMP, Averaged


@pytest.fixture
def followed():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def set_weights(module, value):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)


def test_it_has_buffers_only_and_computes_what_the_followed_module_does(followed):
    average, inputs = Averaged(followed, 0.9), torch.randn(5, 3)
    assert not list(average.parameters())
    assert torch.equal(average.eval()(inputs), followed.eval()(inputs))


def test_the_first_update_copies_and_the_window_grows_to_that_of_the_decay(followed):
    average = Averaged(followed, 0.9)
    expected = 5.0
    for update in range(300):
        value = 5.0 if update == 0 else float(update % 7)
        set_weights(followed, value)
        average.follow(followed)
        expected += max(0.1, 1 / (1 + update / RAMP)) * (value - expected)
        assert average.module[0].weight.flatten()[0].item() == pytest.approx(expected, rel=1e-4)


def test_without_decay_it_is_the_followed_module(followed):
    average, inputs = Averaged(followed, 0.0), torch.randn(5, 3)
    for value in (1.0, 2.0):
        set_weights(followed, value)
        followed.train()(inputs)
        average.follow(followed)
    assert torch.equal(average.eval()(inputs), followed.eval()(inputs))


def test_running_statistics_are_copied(followed):
    average = Averaged(followed, 0.9)
    for _ in range(30):
        followed(torch.randn(5, 3) + 4)
        average.follow(followed)
    assert torch.equal(average.module[1].running_mean, followed[1].running_mean)


def test_a_saved_average_goes_on_as_the_unbroken_one(followed):
    average = Averaged(followed, 0.9)
    average.follow(followed)
    resumed = Averaged(followed, 0.9)
    resumed.load_state_dict(average.state_dict())
    set_weights(followed, 3.0)
    for twin in (average, resumed):
        twin.follow(followed)
    assert all(map(torch.equal, average.state_dict().values(), resumed.state_dict().values()))
