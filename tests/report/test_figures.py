from __future__ import annotations

import io

import matplotlib
import numpy as np
import pytest

from dlcli.report import charts, figures
from dlcli.report.summary import read_run
from dlcli.study import study

CLASSES = ("cat", "d$g", "owl")
TARGETS, DECISIONS = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 0])


def is_picture(figure):
    array = figures.pixels(figure)
    return array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3 and array.std() > 0


def test_a_confusion_matrix_is_a_picture_with_its_counts():
    figure = figures.confusion(TARGETS, DECISIONS, CLASSES)
    assert is_picture(figure)
    assert figure.axes[0].get_title() == "3 of 5 right"
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "1", "0", "0", "1", "0", "1", "0", "1"]


def test_many_classes_are_drawn_without_text():
    many = np.arange(100)
    assert is_picture(figures.confusion(many, many, list(map(str, many))))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (2, 8, 8), (1, 40), (2, 40), (40,), (4,), (10,)])
def test_misclassified_inputs_of_any_shape_are_drawn(shape):
    inputs = np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32)
    assert is_picture(figures.misclassified(inputs, TARGETS, DECISIONS, CLASSES))


def test_a_constant_image_is_drawn():
    assert is_picture(figures.misclassified(np.zeros((1, 1, 4, 4)), TARGETS, DECISIONS, CLASSES))


@pytest.fixture
def bars(summary, write_run, decomposition):
    """bars(change=value, ...) -> the bar of one run with such a decomposition."""

    def draw(**shape):
        run = read_run(write_run("run", {"seed": 0}, summary | {"decomposition": {"loss": decomposition(**shape)}}))
        return charts.bars(study([run])["groups"], "loss")

    return draw


@pytest.mark.parametrize(
    "shape",
    [{}, {"low": None, "high": -7.0, "train": -6.5, "test": -6.0}, {"test": 0.2}],
    ids=["usual", "open", "negative gap"],
)
def test_terms_are_drawn(bars, shape):
    assert is_picture(bars(**shape))


def test_the_undecided_part_is_hatched(bars):
    hatched = [patch for patch in bars().axes[0].patches if patch.get_hatch() and patch.get_width() > 0]
    assert [(patch.get_x(), patch.get_width()) for patch in hatched] == [(0.0, 0.125)]


@pytest.mark.parametrize("before", [lambda figure: None, figures.pixels], ids=["new", "laid out"])
def test_an_svg_is_what_savefig_writes(bars, before):
    figure, other, expected = bars(), bars(), io.BytesIO()
    before(figure), before(other)
    with matplotlib.rc_context({"svg.hashsalt": "0"}):
        picture = figures.svg(figure)
        other.savefig(expected, format="svg", metadata={"Date": None})
    assert picture.startswith(b"<?xml") and picture == expected.getvalue() and figure.dpi == other.dpi


def test_the_threshold_of_interpolation_is_found_at_either_end():
    assert charts.interpolated([0.3, 0.1, 0.0, 0.0], [1, 2, 4, 8]) == 4
    assert charts.interpolated([0.0, 0.0, 0.1], [0.1, 0.5, 1.0]) == 0.5  # few examples are fitted, all are not
    for nowhere in ([0.3, 0.2], [0.0, 0.0], [0.0, 0.1, 0.0]):
        assert charts.interpolated(nowhere, range(len(nowhere))) is None
