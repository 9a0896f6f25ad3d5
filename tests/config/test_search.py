"""The space of a search, in the words of a sweep."""

import pytest

from dlcli import config
from dlcli.config.search import Axis, space
from dlcli.errors import UsageError


def test_choices_ranges_and_intervals_are_axes_and_the_rest_is_fixed(here):
    axes, fixed = space(
        [
            *("model=mlp,cnn", "model.width=range(8,33,8)", "optimizer.lr=tag(log,interval(1e-4,1.0))", "seed=3"),
            "training.epochs=int(interval(1,9))",
        ]
    )
    assert fixed == ["seed=3"]
    assert axes == [
        Axis("model", ("mlp", "cnn")),
        Axis("model.width", (), 8, 32, 8, whole=True),
        Axis("optimizer.lr", (), 1e-4, 1.0, log=True),
        Axis("training.epochs", (), 1, 9, 1, whole=True),
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=1", "the search has nothing to vary"),
        ("optimizer.lr=interval(1.0,0.1)", "'optimizer.lr=interval(1.0,0.1)' names no value"),
        ("optimizer.lr=tag(log,interval(0.0,0.1))", "'optimizer.lr=tag(log,interval(0.0,0.1))' names no value"),
        ("seed=range(0)", "'seed=range(0)' names no value"),
    ],
)
def test_a_space_of_nothing_is_refused(here, override, message):
    with pytest.raises(UsageError) as caught:
        space([override])
    assert caught.value.message == message


def test_the_ends_of_the_space_are_checked_before_the_first_trial(here):
    with pytest.raises(UsageError) as caught:
        config.open_sweep(["hydra/sweeper=optuna", "model=mlp,cn", "optimizer.lr=interval(0.1,1.0)"])
    assert caught.value.message == "unknown model 'cn'"
    with pytest.raises(UsageError) as caught:
        config.open_sweep(["hydra/sweeper=optuna", "model.dropout=interval(0.0,2.0)"])
    assert "model.dropout: got 2.0" in caught.value.message
    assert config.open_sweep(["hydra/sweeper=optuna", "optimizer.lr=interval(0.1,1.0)"]).total == 20
