import pytest

from dlcli import config, registry
from dlcli.config import catalogue


@pytest.mark.parametrize("group", registry.FOLDERS)
def test_names_found_in_the_text_are_the_names_found_by_parsing(group):
    parsed = registry.catalogue(group)
    assert parsed and registry.names(group) == list(parsed)
    assert {name: registry.find(group, name) for name in parsed} == parsed
    assert registry.find(group, "nope") is None


def test_defaults_are_those_of_the_packaged_file():
    assert list(catalogue.defaults("optimizer", "sgd")) == ["lr", "weight_decay", "decay"]
    assert catalogue.defaults("normalization", "none") == {} == catalogue.defaults("optimizer", "theirs")


@pytest.mark.parametrize(
    "value, text",
    [(None, "null"), (True, "true"), (1e-8, "1e-08"), (0.5, "0.5"), (3, "3"), ([1, "a"], "[1,a]"), ("???", "???")],
)
def test_a_value_is_spelled_as_an_override(value, text):
    assert config.spelled(value) == text


def test_experiments_are_listed_with_what_they_are(here, write):
    write("# @package _global_\n# What: mine\n", "experiment/paper/mine.yaml")
    found = config.experiments()
    assert found["paper/mine"] == "mine" and found["mnist1d_cnn"].startswith("cnn on MNIST-1D")
    assert list(found) == sorted(found)


def test_completion_knows_groups_options_and_the_settings_of_what_was_chosen(here, write):
    write("name: sgd\n", "optimizer/mine.yaml")
    complete = catalogue.completions
    assert complete("optimizer=m", []) == ["optimizer=mine", "optimizer=momentum", "optimizer=muon"]
    assert complete("optimizer.", ["optimizer=sgd"]) == ["optimizer.decay=", "optimizer.lr=", "optimizer.weight_decay="]
    assert "optimizer.beta1=" in complete("optimizer.", [])
    assert complete("training.b", []) == ["training.batch_size="]
    assert complete("nope", []) == []
