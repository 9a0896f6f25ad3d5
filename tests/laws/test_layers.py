"""Who may import whom (the table in CONTRIBUTING.md): a module imports only from rows below its own."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "dlcli"
ROWS = {
    "errors": 0,
    "schema": 1,
    "registry": 1,
    "protocols": 1,
    "settings": 1,
    "training": 2,
    "models": 2,
    "normalizations": 2,
    "initializations": 2,
    "datasets": 2,
    "tasks": 2,
    "optimizers": 2,
    "schedules": 2,
    "augmentations": 2,
    "metrics": 2,
    "imports": 0,
    "ahead": 3,
    "decomposition": 3,
    "report": 3,
    "config": 3,
    "build": 4,
    "study": 4,
    "trackers": 4,
    "conclusion": 5,
    "inspection": 5,
    "profiling": 5,
    "range_test": 5,
    "ranked": 5,
    "session": 6,
    "rehearsals": 7,
    "sweeps": 7,
    "trained": 7,
    "predictions": 8,
    "revisit": 8,
    "exports": 9,
    "template": 9,
    "verbs": 10,
    "cli": 11,
    "__main__": 12,
}
# Within row 1 and for these pairs an import is part of the design.
ALLOWED = {("settings", "schema"), ("tasks", "metrics"), ("report", "config")}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts != ("__init__.py",))


def room(module: str) -> str:
    return module.split(".")[1]


def imports(path: Path) -> set[str]:
    """Rooms that a file imports, wherever in the file the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "dlcli":
            found |= {alias.name for alias in node.names if alias.name in ROWS}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dlcli."):
            found.add(room(node.module))
        elif isinstance(node, ast.Import):
            found |= {room(alias.name) for alias in node.names if alias.name.startswith("dlcli.")}
    return found


def test_the_collection_is_not_empty():
    assert len(FILES) > 50


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_rows_below(path):
    here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for other in imports(path) - {here}:
        assert ROWS[other] < ROWS[here] or (here, other) in ALLOWED, f"{here} imports {other}"
