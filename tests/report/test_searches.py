"""Pictures of a search: what they show, read from the axes."""

import numpy as np
import pytest

from dlcli.report import searches


@pytest.fixture
def search():
    tried = [("mlp", 0.1, "complete", 3.0), ("cnn", 0.01, "complete", 1.0), ("mlp", 0.001, "pruned", 9.0)]
    tried += [("cnn", 1.0, "complete", 2.0), ("mlp", 0.1, "fail", None)]
    trials = [
        {"run": f"trial-{i:04d}", "state": state, "loss": loss, "settings": {"model": model, "lr": lr}}
        for i, (model, lr, state, loss) in enumerate(tried)
    ]
    return {"settings": {"model": "word", "lr": "log"}, "trials": trials, "importance": {"model": 0.25, "lr": 0.75}}


def test_the_history_shows_trials_the_best_so_far_and_what_was_ended(search):
    (axes,) = searches.history(search).axes
    drawn = {line.get_label(): np.transpose(line.get_data()).tolist() for line in axes.lines}
    assert drawn["trials"] == [[0, 3], [1, 1], [3, 2]] and drawn["ended early"] == [[2, 9]]
    assert [y for _, y in drawn["best so far"]] == [3, 1, 1]


def test_lines_go_through_the_values_on_logarithmic_and_named_axes(search):
    (axes,) = searches.parallel(search).axes
    lines = [line.get_ydata().tolist() for line in axes.lines if len(line.get_xdata()) == 3]
    assert sorted(lines) == [[0, 0, 0], [0, 1, 0.5], [1, 0.5, 1]]


def test_slices_and_importance_show_one_setting_each(search):
    (axes,) = searches.against(search, "lr").axes
    assert axes.get_xscale() == "log"
    assert axes.collections[0].get_offsets().tolist() == [[0.1, 3], [0.01, 1], [1, 2]]
    (axes,) = searches.importance(search).axes
    assert [bar.get_width() for bar in axes.patches] == [0.25, 0.75]


def test_a_search_without_a_result_draws_nothing():
    empty = {"settings": {"lr": "log"}, "trials": [], "importance": {}}
    drawn = searches.history(empty), searches.parallel(empty), searches.against(empty, "lr"), searches.importance(empty)
    assert drawn == (None,) * 4
