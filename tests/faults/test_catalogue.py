"""Every fault of the catalogue names a test that is there, or says why there is none."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.faults.catalogue import CATALOGUE

TESTS = Path(__file__).parents[1]
SIZES = {"A": 16, "B": 19, "C": 24, "D": 19, "E": 10, "F": 6, "S": 6, "H": 9}
PLACE = re.compile(r"([a-z_0-9/]+)(?:::(test_\w+)(?:\[(.+)\])?)?")


@cache
def functions(path: Path) -> dict[str, ast.FunctionDef]:
    tree = ast.parse(path.read_text())
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


@cache
def words(path: Path) -> set[str]:
    """Whatever may be, or be a part of, the name of a case: texts and names of the file, and of those that it reads."""
    found = {"SIGKILL", "with_link"}  # of `signal`, and of tests/training/test_checkpoint.py
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


def test_the_catalogue_is_whole():
    assert list(CATALOGUE) == [f"{group}{number}" for group, size in SIZES.items() for number in range(1, size + 1)]


@pytest.mark.parametrize("fault", CATALOGUE)
def test_a_fault_is_provoked_or_it_is_said_why_not(fault):
    what, *places = CATALOGUE[fault]
    assert what and places
    for place in places:
        if place.startswith("not here: "):
            continue
        file, function, case = PLACE.fullmatch(place).groups()
        path = TESTS / (f"{file}.py" if "/" in file else f"faults/{file}.py")
        assert path.is_file(), place
        if function is None:
            continue
        assert function in functions(path), place
        decorated = [ast.unparse(decorator) for decorator in functions(path)[function].decorator_list]
        assert case is None or (any("parametrize" in each for each in decorated) and case in words(path)), place
