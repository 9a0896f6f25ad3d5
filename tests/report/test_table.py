from __future__ import annotations

import io

import pytest
from rich.console import Console

from dlcli.report.table import print_report


def printed(summary, **options):
    stream = io.StringIO()
    print_report(summary, Console(file=stream, width=80, **options))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


GOLDEN = """\
Risks, evaluated on whole splits
             train   test
loss (nats)  0.2500  0.7500 [0.5000, 1.000]
error        6.25 %  25.00 % [17.55, 34.30]
examples     400     100
[a, b]: 95 % intervals for the sampling of the examples, this model given (BCa
bootstrap, Wilson).

Why the test loss (nats) is 0.7500
term                                     value                     share
approximation   min_F L_train            in [0, 0.1250]            0 to 17 %
optimization    L_train - min_F L_train  in [0.1250, 0.2500]       17 to 33 %
generalization  L_test - L_train         0.5000 [0.2500, 0.7500]   67 %
sum             L_test                   0.7500
  min_F L_train is at least 0: nonnegativity (certified)
  min_F L_train is at most 0.1250: training continued (certified, weights
  3fa9c012)

note (loss): approximation and optimization are not separable

Generalization dominates the test loss."""


def test_a_plain_pipe_gets_plain_text(summary):
    text = printed(summary)
    assert [line.split() for line in text.splitlines()] == [line.split() for line in GOLDEN.splitlines()]


def test_a_pipe_gets_neither_colours_nor_rules(summary):
    assert printed(summary).isascii() and "\x1b" not in printed(summary)


@pytest.mark.parametrize("terminal", [True, False])
def test_it_fits_eighty_columns(summary, terminal):
    lines = printed(summary, force_terminal=terminal, color_system=None).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("generalization" in line and "67 %" in line for line in lines)  # no row was broken


def test_a_terminal_gets_rules(summary):
    assert "───" in printed(summary, force_terminal=True, color_system=None)


def test_a_loss_that_can_be_negative_has_an_open_end(summary, decomposition):
    summary["decomposition"] = {"loss": decomposition(low=None, high=-7.0, train=-6.5, test=-6.0)}
    text = printed(summary)
    assert "at most -7.000" in text and "at least 0.5000" in text and "has no lower bound" in text


def test_an_exact_approximation_is_a_point_with_one_origin(summary, decomposition, bound):
    record = decomposition(low=0.125)
    record["approx_train"]["lower"] = bound("lower", 0.125, "least squares", "exact")
    record["approx_train"]["upper"] = bound("upper", 0.125, "least squares", "exact")
    summary["decomposition"] = {"loss": record}
    assert printed(summary).count("min_F L_train is 0.1250: least squares (exact)") == 1


def test_a_heuristic_stands_beside_the_interval(summary, bound):
    hint = bound("lower", 0.1, "extrapolation", "heuristic")
    summary["decomposition"]["loss"]["approx_train"]["heuristics"] = [hint]
    assert "a heuristic suggests at least 0.1000: extrapolation" in printed(summary)


def test_a_note_that_both_losses_share_is_printed_once(summary, decomposition):
    summary["decomposition"]["error"] = decomposition("fraction")
    assert printed(summary).count("not separable") == 1


def test_a_regression_shows_the_share_of_the_variance(summary, estimate):
    for split in summary["risks"]:
        summary["risks"][split] = {"loss": estimate(1.0, 9, "squared units", constant=4.0)}
    assert "R^2" in printed(summary) and "0.7500" in printed(summary)


def test_markup_in_a_name_is_text(summary):
    summary["warnings"] = [{"code": "x", "text": "class [bold]a[/nothing] is rare"}]
    assert "[bold]a[/nothing]" in printed(summary)
