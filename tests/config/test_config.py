"""What the rest of dlcli calls: loading, saving, and what it costs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dlcli import config
from dlcli.config import yaml_file
from dlcli.errors import UsageError


@pytest.fixture
def saved(here):
    path = Path("config.yaml")
    path.write_text(config.text(config.load_checked(["optimizer.lr=0.5", "model.width=33", "seed=4", "name='012'"])))
    return path


def test_a_saved_config_is_read_back_unchanged(saved):
    assert config.load_saved(saved) == config.load_checked(
        ["optimizer.lr=0.5", "model.width=33", "seed=4", "name='012'"]
    )


def test_a_config_is_as_large_as_one_that_can_be_read_back(tmp_path):
    size = yaml_file.size(config.load_checked([]))
    tags = [str(number) for number in range(yaml_file.MAX_NODES - size)]
    (tmp_path / "config.yaml").write_text(config.text(config.load_checked([f"tags={tags}"])))
    assert config.load_saved(tmp_path / "config.yaml")["tags"] == tags
    with pytest.raises(UsageError, match="the config has more than 2000 values"):
        config.load_checked([f"tags={[*tags, 'one']}"])


def test_a_config_has_one_spelling(here, write):
    write("# @package _global_\noptimizer: {beta2: 0.999, lr: 1}\n")
    one, other = config.load_checked(["experiment=exp"]), config.load_checked(["optimizer.lr=1.0"])
    assert config.text(one) == config.text(other)
    assert [next(iter(one[group])) for group in ("model", "optimizer", "dataset")] == ["name"] * 3


def test_values_are_set_on_top_of_a_saved_config(saved):
    replay = config.load_saved(saved, ["seed=5", "training.steps=7"])
    assert (replay["seed"], replay["optimizer"]["lr"], replay["model"]["width"]) == (5, 0.5, 33)
    assert (replay["training"]["epochs"], replay["training"]["steps"]) == (None, 7)


def test_another_choice_on_top_takes_its_own_defaults_and_leaves_the_rest(saved):
    replay = config.load_saved(saved, ["optimizer=sgd", "optimizer.weight_decay=0.25"])
    fresh = config.load_checked(["optimizer=sgd"])["optimizer"]
    assert replay["optimizer"] == {**fresh, "weight_decay": 0.25}
    assert (replay["model"]["width"], replay["seed"], replay["name"]) == (33, 4, "012")


def test_a_saved_config_can_be_swept_over(saved):
    sweep = config.open_sweep(["seed=1,2", "optimizer=sgd,adam"], saved=config.load_saved(saved))
    assert [(job.config["seed"], job.config["optimizer"]["name"]) for job in sweep.jobs] == [
        (1, "sgd"), (1, "adam"), (2, "sgd"), (2, "adam"),
    ]  # fmt: skip
    assert {job.config["model"]["width"] for job in sweep.jobs} == {33}


def test_an_experiment_on_top_of_a_saved_config_is_refused(saved):
    with pytest.raises(UsageError, match="'experiment=mnist1d_cnn' would replace the saved config"):
        config.load_saved(saved, ["experiment=mnist1d_cnn"])


@pytest.mark.parametrize(
    "before, after, message",
    [
        ("seed: 4", "seed: 4.5", "seed: got 4.5, wanted a whole number in [0, 4294967295] (config.yaml:1)"),
        ("  lr: 0.5", "  _target_: os.system\n  lr: 0.5", "reserved key 'optimizer._target_' (config.yaml:35)"),
        ("  lr: 0.5", "", "missing setting 'optimizer.lr' of adam"),
        ("name: adam", "name: ../adam", "unknown optimizer '../adam' (config.yaml:34)"),
        (
            "seed: 4",
            "seed: !!python/name:os.system",
            "config.yaml:1:7: YAML tag 'tag:yaml.org,2002:python/name:os.system'",
        ),
        ("seed: 4", "seed: 4\nhydra: {callbacks: {a: 1}}", "unknown key 'hydra.callbacks.a' (config.yaml:2)"),
    ],
)
def test_a_saved_config_that_was_changed_by_hand_is_checked_like_any_other(saved, before, after, message):
    text = saved.read_text()
    assert before in text
    saved.write_text(text.replace(before, after, 1))
    for overrides in ([], ["seed=1"]):
        with pytest.raises(UsageError) as caught:
            config.load_saved(saved, overrides)
        assert caught.value.message.partition(" (config.yaml")[0] == message.partition(" (config.yaml")[0]
        assert ("(config.yaml:" in message) == ("(config.yaml:" in caught.value.message)


def python(code, cwd):
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True).stdout


def test_a_config_is_loaded_and_refused_without_torch(here):
    code = """
import json, sys
from dlcli import config
from dlcli.errors import UsageError
before = "hydra" in sys.modules
config.load_checked(["model=cnn"])
try:
    config.load_checked(["optimizer.lr=abc"])
except UsageError as fault:
    assert "lr" in fault.message
heavy = {"torch", "numpy", "scipy", "sklearn", "matplotlib", "tensorboard", "pyarrow"}
print(json.dumps([before, sorted(heavy & set(sys.modules))]))
"""
    assert json.loads(python(code, here)) == [False, []]


def test_what_can_be_chosen_is_listed_without_hydra(here):
    code = """
import sys
from dlcli import config
assert "mlp" in config.options("model") and config.experiments() and config.defaults("optimizer", "adam")
print(sorted({"hydra", "omegaconf", "torch"} & set(sys.modules)))
"""
    assert python(code, here) == "[]\n"
