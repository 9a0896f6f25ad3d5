"""A study on a terminal."""

import pytest
from rich.console import Console

from dlcli.report.studies import comparison_rows, print_study

GROUP = {"done": 2, "failed": 0, "risks": {}, "terms": {}}
NAMES = ("batch adam", "normalization=none adam")
PAIR = {"first": NAMES[0], "second": NAMES[1], "verdict": "too few seeds to tell", "pairs": 2, "lost": 0}
STUDY = {
    "over": ["seed"],
    "axis": "normalization",
    "groups": [GROUP | {"label": name} for name in NAMES],
    "comparisons": [
        PAIR | {"quantity": "test error", "mean": -0.145, "ci": [-0.2721, -0.0179], "adjusted_p": 0.5},
        PAIR | {"quantity": "generalization (loss)", "mean": -0.01, "ci": [-0.009668, -0.009527], "adjusted_p": 0.5},
        {
            **{"quantity": "approximation (loss)", "first": NAMES[0], "second": NAMES[1]},
            **{"intervals": [[0.0, 1.071], [0.0, 0.0]], "verdict": "intervals overlap"},
        },
    ],
    "notes": [],
}


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("width", [80, 100, 200])
def test_eighty_columns_hold_every_word(capsys, terminal, width):
    print_study(STUDY, Console(width=width, force_terminal=terminal, color_system=None))
    told = capsys.readouterr().out
    assert all(len(line) <= width for line in told.splitlines())
    words = told.split()
    for row in comparison_rows(STUDY):
        assert [word for cell in row for word in cell.split() if len(word) < 15 and word not in words] == []
    if width == 200:
        assert sum("generalization (loss)  batch adam" in line for line in told.splitlines()) == 1, "a row is one line"
