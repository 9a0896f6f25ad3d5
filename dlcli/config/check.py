"""Finds every mistake of a config at once, by the signatures of the factories and before torch is imported."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any, NamedTuple, get_type_hints

from dlcli import registry, schema
from dlcli.config import comments, yaml_file
from dlcli.config.fit import Problem, misfits
from dlcli.config.names import nearest, suggestion
from dlcli.errors import UsageError
from dlcli.settings import SECTIONS, Preparation, Top

RESERVED = {"_target_", "_partial_", "_args_", "_recursive_", "_convert_", "_component_", "_instantiator", "_name_"}
RESERVED |= {"class_path", "init_args", "target"}  # the last only where it is no setting, as `dataset.target` is
NAMED = ("name", "tags")
MAX_NAME = 100  # characters
MAX_SHOWN = 20  # problems listed one by one
MAX_FOUND = 50  # after which a file is no config with mistakes but something else
MOST_KEYS = 3  # of a section, that a hint names
SECTION_NAMES = (*registry.FOLDERS, *SECTIONS)
EXPERIMENT_HEADER = "an experiment begins with the line '# @package _global_', and names groups as /model"


class Section(NamedTuple):
    """What a section of the config takes."""

    title: str  # of whom the settings are: "adam", "training"
    kinds: dict[str, Any]  # setting -> its type
    supplied: tuple[str, ...] = ()  # what dlcli passes in itself


Places = Mapping[str, str]  # dotted key -> "file:line" that sets it


def check(config: dict[str, Any], places: Places) -> list[Problem]:
    """The problems of a config, top first, `MAX_FOUND` at most; an empty list for a legal one."""
    return list(islice(_problems(config, places), MAX_FOUND))


def _problems(config: dict[str, Any], places: Places) -> Iterator[Problem]:
    sections = {name: _section(name, config) for name in SECTION_NAMES}
    top = Section("the config", _kinds(Top))
    known = {"": top, **{name: section for name, section in sections.items() if section}}
    legal = [f"{name}.{key}" if name else key for name, section in known.items() for key in section.kinds]
    yield from _check_section("", {k: v for k, v in config.items() if k not in sections}, top, places, legal)
    for name, section in sections.items():
        value = config.get(name)
        if not isinstance(value, dict):
            yield _no_section(name, value, name in config, places)
        elif section is None:
            yield _unknown_name(name, value.get("name"), places)
            yield from _reserved_inside(name, value, places)
        else:
            settings = {k: v for k, v in value.items() if k != "name" or name in SECTIONS}
            yield from _check_section(f"{name}.", settings, section, places, legal)
    yield from misfits(config)
    if yaml_file.size(config) > yaml_file.MAX_NODES:  # a run could not be read back from it
        yield Problem(f"the config has more than {yaml_file.MAX_NODES} values", "a config is small; shorten its lists")


def refuse(problems: list[Problem]) -> None:
    """UsageError for one problem as it is, for several as a list; nothing for none."""
    if len(problems) == 1:
        raise UsageError(*problems[0])
    if problems:
        lines = [f"  {problem.text}" for problem in problems[:MAX_SHOWN]]
        if len(problems) > MAX_SHOWN:
            lines.append(f"  and {len(problems) - MAX_SHOWN}{' or' * (len(problems) >= MAX_FOUND)} more")
        hints = [problem.hint for problem in problems]
        best = next((hint for hint in hints if hint.startswith("did you mean")), hints[0])
        raise UsageError("\n".join([f"{len(problems)} problems in the configuration", *lines]), best)


def checked(config: dict[str, Any], places: Places) -> dict[str, Any]:
    """The config in its one spelling; UsageError if anything is wrong with it."""
    refuse(check(config, places))
    return cast(config)


def cast(config: dict[str, Any]) -> dict[str, Any]:
    """A legal config in its one spelling: keys in the order of their declaration, `1` as `1.0` where numbers are."""
    result: dict[str, Any] = {key: config[key] for key in Top._fields}
    for name in SECTION_NAMES:
        section, kinds = config[name], _section(name, config).kinds
        first = {} if name in SECTIONS else {"name": section["name"]}
        result[name] = first | {key: schema.cast(section[key], kind) for key, kind in kinds.items()}
    return result


@cache
def _kinds(settings: type) -> dict[str, Any]:
    return get_type_hints(settings, include_extras=True)


def _section(name: str, config: dict[str, Any]) -> Section | None:
    """What the section takes; None if it names no component."""
    if name in SECTIONS:
        return Section(name, _kinds(SECTIONS[name]))
    value = config.get(name)
    chosen = value.get("name") if isinstance(value, dict) else None
    entry = registry.find(name, chosen) if isinstance(chosen, str) else None
    return entry and _component(entry)


def _component(entry: registry.Entry) -> Section:
    own = {setting: schema.parse(annotation) for setting, annotation in entry.settings.items()}
    return Section(entry.name, own | (_kinds(Preparation) if entry.group == "dataset" else {}), entry.supplied)


def _check_section(
    prefix: str, settings: dict[str, Any], section: Section, places: Places, legal: list[str]
) -> Iterator[Problem]:
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if key in section.kinds:
            yield from _check_value(name, key, value, section, places)
            yield from _reserved_inside(name, value, places)
        elif _is_reserved(key):
            yield _reserved(name, places)
        elif key in section.supplied:
            yield Problem(f"{name!r} is supplied by dlcli itself{_at(name, places)}", f"remove it; {_takes(section)}")
        elif prefix:
            elsewhere = next((other for other in legal if other.rpartition(".")[2] == key), None)
            meant = nearest(str(key), section.kinds)
            hint = suggestion(f"{prefix}{meant}" if meant else elsewhere, _takes(section))
            yield Problem(f"unknown setting {name!r} of {section.title}{_at(name, places)}", hint)
            yield from _reserved_inside(name, value, places)
        else:
            yield from _unknown_keys(name, value, places, legal)
    for key, kind in section.kinds.items():
        if key not in settings:
            name = f"{prefix}{key}"
            yield Problem(f"missing setting {name!r} of {section.title}", _meaning(name, section, kind))


def _unknown_keys(name: str, value: Any, places: Places, legal: list[str]) -> Iterator[Problem]:
    """Keys outside every section: a section misspelled, a setting without its section, or a file in the wrong place."""
    for leaf in _leaves(name, value):
        if _is_reserved(leaf.rpartition(".")[2]):
            yield _reserved(leaf, places)
            continue
        meant = nearest(leaf, legal if "." in leaf else [*legal, *SECTION_NAMES])
        listing = f"sections: {', '.join(SECTION_NAMES)}; beside them {', '.join(Top._fields)}"
        hint = EXPERIMENT_HEADER if leaf.startswith("experiment.") else suggestion(meant, listing)
        yield Problem(f"unknown key {leaf!r}{_at(leaf, places)}", hint)


def _check_value(name: str, key: str, value: Any, section: Section, places: Places) -> Iterator[Problem]:
    kind = section.kinds[key]
    if value == "???":
        yield Problem(f"{name!r} has to be given: {section.title} has no default", _meaning(name, section, kind))
    elif not schema.fits(value, kind):
        hint = _meaning(name, section, kind)
        if isinstance(value, str) and (meant := nearest(value, schema.words(kind))):
            hint = suggestion(f"{name}={meant}", hint)
        yield Problem(f"{name}: got {shown(value)}, wanted {schema.describe(kind)}{_at(name, places)}", hint)
    else:
        for word in value if isinstance(value, list) else [value]:
            if isinstance(word, str) and (fault := _fault_of_word(word, name)):
                yield Problem(f"{name}: {shown(word)} {fault}{_at(name, places)}", _word_rule(name))


def _fault_of_word(word: str, name: str) -> str:
    """What is wrong with a text: a name of a run becomes part of a path and of a log line."""
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for letter in word):
        return "holds an invisible or control character"
    if name in NAMED:
        if not word.strip() or word != word.strip():
            return "is empty or has spaces around it"
        if len(word) > MAX_NAME or len(word.encode()) > 2 * MAX_NAME:
            return f"has {len(word)} characters, {MAX_NAME} are legal"
    if name == "name" and ("/" in word or "\\" in word or word.startswith((".", "-", "~"))):
        return "would leave its folder or hide in it"
    if name in ("output_root", "run_dir") and not word.strip():
        return "is empty"
    return ""


def _word_rule(name: str) -> str:
    if name == "name":
        return f"a name is 1 to {MAX_NAME} letters, digits, spaces and signs, without / and \\, not starting with . - ~"
    return "write visible characters only"


def _no_section(name: str, value: Any, there: bool, places: Places) -> Problem:
    if name in registry.FOLDERS:
        hint = f"choose with {name}=NAME"
    else:
        keys = SECTIONS[name]._fields if len(SECTIONS[name]._fields) <= MOST_KEYS else ("KEY",)
        hint = f"set {' or '.join(f'{name}.{key}=VALUE' for key in keys)}"
    if not there or value is None:
        return Problem(f"section {name!r} is missing", hint)
    return Problem(f"{name}: got {shown(value)}, wanted a section of settings{_at(name, places)}", hint)


def _unknown_name(group: str, name: Any, places: Places) -> Problem:
    place = _at(f"{group}.name", places)
    names = registry.names(group)
    listing = f"{group} is one of {', '.join(names)}"
    if name in (None, "???"):
        return Problem(f"section {group!r} has no name{place}", f"choose with {group}=NAME; {listing}")
    return Problem(f"unknown {group} {shown(name)}{place}", suggestion(nearest(str(name), names), listing))


def _is_reserved(key: Any) -> bool:
    return str(key) in RESERVED


def _reserved(name: str, places: Places) -> Problem:
    return Problem(f"reserved key {name!r}{_at(name, places)}", "a config names no code; choose with GROUP=NAME")


def _reserved_inside(name: str, value: Any, places: Places) -> Iterator[Problem]:
    for leaf in _leaves(name, value):
        if leaf != name and _is_reserved(leaf.rpartition(".")[2]):
            yield _reserved(leaf, places)


def _leaves(name: str, value: Any) -> list[str]:
    """Dotted keys below a value, or its own if there are none; a reserved key is a leaf whatever it holds."""
    if isinstance(value, dict):
        below = [
            leaf
            for key, item in value.items()
            for leaf in ([f"{name}.{key}"] if _is_reserved(key) else _leaves(f"{name}.{key}", item))
        ]
    elif isinstance(value, list):
        inside = (leaf for item in value if isinstance(item, dict | list) for leaf in _leaves(name, item))
        below = sorted({leaf for leaf in inside if leaf != name})
    else:
        below = []
    return below or [name]


def _takes(section: Section) -> str:
    return f"{section.title} takes {', '.join(section.kinds) or 'no settings'}"


def _meaning(name: str, section: Section, kind: Any) -> str:
    """What a setting is, in the words of the YAML that comes with it."""
    return comments.of(name, section.title) or f"{name} is {schema.describe(kind)}"


def _at(name: str, places: Places) -> str:
    return f" ({places[name]})" if name in places else ""


def shown(value: Any) -> str:
    """A value as an error message shows it, cut to a length that leaves room for the rest."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:50]}..."
