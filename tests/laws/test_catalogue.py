"""A name is registered exactly where a YAML describes it, and what `ast` reads is what Python sees."""

import importlib
import inspect
from pathlib import Path

import pytest
import yaml

from dlcli import registry, schema

CONF = Path(__file__).parents[2] / "conf"
ENTRIES = [entry for group in registry.FOLDERS for entry in registry.catalogue(group).values()]


def read(entry):
    return yaml.safe_load((CONF / entry.group / f"{entry.name}.yaml").read_text())


def test_every_group_has_entries():
    assert {entry.group for entry in ENTRIES} == set(registry.FOLDERS)


@pytest.mark.parametrize("group", registry.FOLDERS)
def test_registered_names_are_the_yaml_names(group):
    assert set(registry.catalogue(group)) == {path.stem for path in (CONF / group).glob("*.yaml")}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.group}={entry.name}")
def test_yaml_keys_are_the_factory_settings_and_their_values_are_legal(entry):
    values = read(entry)
    assert values.pop("name") == entry.name
    own = {key: value for key, value in values.items() if key in entry.settings}
    assert set(own) == set(entry.settings)
    overridden = set(values) - set(own)
    assert entry.group == "dataset" or not overridden
    for key, value in own.items():
        kind = schema.parse(entry.settings[key])
        assert value == "???" or schema.fits(value, kind), f"{key}: {value!r} is not {schema.describe(kind)}"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.group}={entry.name}")
def test_every_setting_has_a_comment_and_every_name_a_summary(entry):
    lines = (CONF / entry.group / f"{entry.name}.yaml").read_text().splitlines()
    assert lines[0].startswith("# ")
    for key in entry.settings:
        (line,) = [line for line in lines if line.startswith(f"{key}:")]
        assert " # " in line, f"{key} has no comment"
    assert entry.summary


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.group}={entry.name}")
def test_the_source_text_agrees_with_the_signature(entry):
    importlib.import_module(entry.module)
    parameters = inspect.signature(registry.FACTORIES[entry.group, entry.name]).parameters.values()
    settings = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}
    normal = {name: annotation.replace("'", '"') for name, annotation in settings.items()}
    assert normal == {name: text.replace("'", '"') for name, text in entry.settings.items()}
    assert tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY) == entry.supplied
    assert all(p.default is p.empty for p in parameters), "defaults live in the YAML"
