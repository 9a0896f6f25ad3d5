"""Names and the factories behind them: the allow-list that no config file can widen.

`@register("model", "mlp")` above a factory is all that a component needs, beside its YAML. The catalogue of a
group is read from source by `ast`, so that names, settings and one-line summaries are known without importing
torch; a factory's module is imported only when it is built.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dlcli.errors import UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

PACKAGE = Path(__file__).parent
FOLDERS = {
    "model": "models",
    "dataset": "datasets",
    "task": "tasks",
    "normalization": "normalizations",
    "initialization": "initializations",
    "optimizer": "optimizers",
    "schedule": "schedules",
    "augmentation": "augmentations",
}
DECORATOR = re.compile(r"^@(?:registry\.)?register\(\"(\w+)\", \"(\w+)\"[,)]", re.MULTILINE)
Factory = Callable[..., Any]
FACTORIES: dict[tuple[str, str], Factory] = {}
PLUGINS: list[Entry] = []


class Entry(NamedTuple):
    """One registered name, as its source text declares it."""

    group: str
    name: str
    summary: str  # first line of the factory's docstring
    meant_for: dict[str, Any]  # as `register` was given it
    supplied: tuple[str, ...]  # positional parameters: what dlcli passes in
    settings: dict[str, str]  # keyword-only parameters: setting -> annotation, as source text
    module: str
    path: Path
    line: int


def register(group: str, name: str, **meant_for: bool | str | tuple[str, ...]) -> Callable[[Factory], Factory]:
    """Make the decorated factory buildable as `group=name`; its keyword-only parameters are the settings.

    meant_for: literals that say what a model goes with: `normalization` is what normalization=auto gives it, `tasks`
    are the ones it is made for, the usual one first; a model without `tasks` predicts targets. Of an optimizer
    `gradient="exact"` says that it cannot work with clipped ones, and `elementwise=True` that each weight moves by
    its own gradients alone.
    """
    assert group in FOLDERS, f"unknown group {group!r}; groups: {', '.join(FOLDERS)}"

    def add(factory: Factory) -> Factory:
        assert (group, name) not in FACTORIES, f"{group}={name} is registered twice"
        FACTORIES[group, name] = factory
        return factory

    return add


@cache
def entries(path: Path, module: str) -> list[Entry]:
    """Every factory that a source file registers, without importing it."""
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).split(".")[-1] == "register":
                group, name = (ast.literal_eval(argument) for argument in decorator.args)
                meant_for = {word.arg: ast.literal_eval(word.value) for word in decorator.keywords}
                found.append(_entry(node, group, name, meant_for, module, path))
    return found


def _entry(
    node: ast.FunctionDef | ast.ClassDef, group: str, name: str, meant_for: dict[str, Any], module: str, path: Path
) -> Entry:
    function: Any = node
    supplied_from = 0
    if isinstance(node, ast.ClassDef):
        function = next(part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__")
        supplied_from = 1  # self
    arguments = function.args
    summary = (ast.get_docstring(node) or "").split("\n")[0]
    return Entry(
        group=group,
        name=name,
        meant_for=meant_for,
        summary=summary,
        supplied=tuple(argument.arg for argument in arguments.args[supplied_from:]),
        settings={argument.arg: ast.unparse(argument.annotation) for argument in arguments.kwonlyargs},
        module=module,
        path=path,
        line=node.lineno,
    )


@cache
def _shipped(group: str) -> dict[str, Entry]:
    folder = PACKAGE / FOLDERS[group]
    found = {}
    for path in sorted(folder.glob("*.py")):
        for entry in entries(path, f"dlcli.{FOLDERS[group]}.{path.stem}"):
            assert entry.group == group and entry.name not in found, f"{path}: {entry.group}={entry.name}"
            found[entry.name] = entry
    return found


def catalogue(group: str) -> dict[str, Entry]:
    """Every name of a group, plugins included, in the order in which a reader would look for it."""
    return dict(sorted({**_shipped(group), **{e.name: e for e in PLUGINS if e.group == group}}.items()))


@cache
def _homes(group: str) -> dict[str, Path]:
    """Which file registers a name. Searching the text is ten times cheaper than parsing it."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted((PACKAGE / FOLDERS[group]).glob("*.py"))}
    return {name: path for path, text in texts.items() for _, name in DECORATOR.findall(text)}


def names(group: str) -> list[str]:
    """Every registered name of a group, plugins included."""
    return sorted({*_homes(group), *(entry.name for entry in PLUGINS if entry.group == group)})


def find(group: str, name: str) -> Entry | None:
    """One entry of the catalogue, at the cost of parsing one file; None for an unknown name."""
    home = _homes(group).get(name)
    shipped = entries(home, f"dlcli.{FOLDERS[group]}.{home.stem}") if home else []
    return next((entry for entry in [*PLUGINS, *shipped] if (entry.group, entry.name) == (group, name)), None)


def entry(group: str, name: str) -> Entry:
    """The same for a name that is known."""
    found = find(group, name)
    assert found is not None, f"unknown {group} {name!r}"
    return found


def load_plugins(modules: Sequence[str]) -> None:
    """Add what plugins register: installed ones, and those that the user named, `my_module` or a path `my_module.py`.

    Modules are found where Python finds them, the current folder included. An installed plugin is read here, and
    imported when something of it is built. Raises UsageError.
    """
    load_installed()
    if modules and "" not in sys.path:
        sys.path.insert(0, "")
    for name in modules:
        path = Path(name)
        if path.suffix == ".py":
            sys.path.insert(0, str(path.parent.absolute()))
        module = path.stem if path.suffix == ".py" else name
        file = _imported(name, module)
        if path.suffix == ".py" and file != path.resolve():
            raise UsageError(f"the plugin {name} is hidden by {file}", "give the file a name that no other module has")
        _add(file, module)


def load_installed() -> None:
    """Add what installed plugins register, as far as their text tells; they are imported when something is built."""
    from importlib.metadata import entry_points  # a parser of mail comes with it, thirty milliseconds

    for point in entry_points(group="dlcli.plugins"):
        _add(_installed(point), point.value)


def glance(name: str) -> None:
    """Add what the module or the file `name` registers as far as its text tells, without running any of it."""
    path = Path(name)
    if path.suffix != ".py":
        path = Path(f"{name.replace('.', '/')}.py")
    with suppress(OSError, SyntaxError, ValueError):
        _add(path.resolve(), path.stem)


def _imported(name: str, module: str) -> Path:
    try:
        file = importlib.import_module(module).__file__
    except Exception as error:  # it is the user's code, and may fail in any way
        message = f"the plugin {name!r} cannot be imported: {type(error).__name__}: {error}"
        hint = "name a module in this folder or on the Python path, or a file: --plugin DIR/my_module.py"
        raise UsageError(message, hint) from error
    if file is None:
        raise UsageError(f"the plugin {name!r} is a folder without __init__.py", "name a module in it: FOLDER.MODULE")
    return Path(file).resolve()


def _installed(point: EntryPoint) -> Path:
    with suppress(ImportError, ValueError):
        spec = find_spec(point.value)
        if spec is not None and spec.has_location:
            return Path(spec.origin).resolve()
    raise UsageError(
        f"the installed plugin {point.name!r} names a module {point.value!r} that is not there",
        f"install {point.dist.name if point.dist else 'it'} again, or uninstall it",
    )


def _add(file: Path, module: str) -> None:
    found = entries(file, module)
    PLUGINS.extend(entry for entry in found if entry not in PLUGINS)


def plugin_configs() -> list[Path]:
    """The folders `conf` beside the modules of plugins, which describe what they register."""
    return [folder for folder in dict.fromkeys(entry.path.parent / "conf" for entry in PLUGINS) if folder.is_dir()]


def build(group: str, section: dict[str, Any], **supplied: Any) -> Any:
    """The object that a checked config section describes; `supplied` offers what dlcli knows itself."""
    settings = {key: value for key, value in section.items() if key != "name"}
    chosen = entry(group, section["name"])
    importlib.import_module(chosen.module)
    return FACTORIES[group, chosen.name](**{name: supplied[name] for name in chosen.supplied}, **settings)
