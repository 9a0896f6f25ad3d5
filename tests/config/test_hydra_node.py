"""A10 of the catalogue: nothing that a file or an override says to Hydra itself is acted on."""

from pathlib import Path

import pytest

from dlcli import config
from dlcli.errors import UsageError

GLOBAL = "# @package _global_\n"
ONLY = "of Hydra's own settings only hydra.launcher, hydra.sweeper, hydra.verbose can be set"
WRITE = "{_target_: builtins.open, _args_: [touched, w]}"
CHOOSE = "choose with hydra/launcher=NAME, see --info plugins"


@pytest.fixture(autouse=True)
def nothing_is_written(here):
    yield
    assert not Path("touched").exists()


@pytest.mark.parametrize(
    "text, message, hint",
    [
        (f"callbacks: {{a: {WRITE}}}", "'hydra.callbacks' is not yours to set (conf/experiment/exp.yaml:2)", ONLY),
        (
            "job_logging: {'()': os.getcwd}",
            "'hydra.job_logging' is not yours to set (conf/experiment/exp.yaml:2)",
            ONLY,
        ),
        (
            "searchpath: [file:///tmp]",
            "'hydra.searchpath' is not yours to set (conf/experiment/exp.yaml:2)",
            "--config-dir DIR",
        ),
        ("run: {dir: up}", "'hydra.run' is not yours to set (conf/experiment/exp.yaml:2)", "run_dir=DIR"),
        ("sweep: {dir: up}", "'hydra.sweep' is not yours to set (conf/experiment/exp.yaml:2)", "run_dir=DIR"),
        ("job: {env_copy: [HOME]}", "'hydra.job' is not yours to set (conf/experiment/exp.yaml:2)", "name=WORD"),
        (f"launcher: {WRITE}", "hydra.launcher is none that dlcli knows", CHOOSE),
        (
            "sweeper: {params: {_target_: x}}",
            "reserved key in hydra.sweeper.params",
            "hydra.sweeper takes plain values only",
        ),
    ],
)
def test_a_file_that_reaches_into_hydra_is_refused(refusal, write, text, message, hint):
    write(f"{GLOBAL}hydra: {{{text}}}\n")
    found, cure = refusal("experiment=exp")
    assert found == message and cure.startswith(hint)


@pytest.mark.parametrize(
    "name, text, override",
    [
        ("hydra/launcher/evil.yaml", WRITE, "hydra/launcher=evil"),
        ("hydra/callbacks/evil.yaml", f"a: {WRITE}", "+hydra/callbacks=evil"),
        ("hydra/config.yaml", f"callbacks: {{a: {WRITE}}}", "seed=1"),
        ("model/evil.yaml", f"# @package hydra.callbacks.a\n{WRITE}", "model=evil"),
        ("model/evil.yaml", f"# @package hydra\ncallbacks: {{a: {WRITE}}}", "model=evil"),
        ("experiment/evil.yaml", GLOBAL + "defaults:\n  - /optimizer@hydra.callbacks.a: adam", "experiment=evil"),
        ("experiment/evil.yaml", GLOBAL + "hydra: 3", "experiment=evil"),
    ],
)
def test_no_way_round_leads_into_hydra(refusal, write, name, text, override):
    write(text + "\n", name)
    message, hint = refusal(override)
    assert message and hint


@pytest.mark.parametrize(
    "override, hint",
    [
        ("hydra.callbacks.a._target_=os.getcwd", ONLY),
        ("hydra.run.dir=up", "run_dir=DIR or output_root=DIR sets where a run goes"),
        ("hydra.sweep.dir=up", "run_dir=DIR or output_root=DIR sets where a sweep goes"),
        ("hydra.searchpath=[file:///tmp]", "--config-dir DIR adds a folder of configs"),
        ("hydra.job.env_set.A=1", "name=WORD names a run"),
        ("hydra.job_logging.version=1", ONLY),
        ("hydra.mode=MULTIRUN", "-m starts a sweep"),
        ("hydra/job_logging=none", ONLY),
        ("hydra={launcher: {_target_: x}}", ONLY),
    ],
)
def test_an_override_of_hydras_own_settings_is_refused(refusal, override, hint):
    key = override.partition("=")[0]
    assert refusal(override) == (f"{key!r} is not yours to set", hint)


def test_another_launcher_is_refused(refusal):
    assert refusal("hydra.launcher._target_=os.getcwd") == ("hydra.launcher is none that dlcli knows", CHOOSE)
    message, hint = refusal("hydra/launcher=serail")
    assert message == "unknown hydra/launcher 'serail'"
    assert hint.startswith("did you mean 'serial'? hydra/launcher is one of basic, ")


@pytest.mark.parametrize(
    ("launcher", "setting", "legal"),
    [
        ("ensemble", "slots=0", "auto, or an integer from 1 on"),
        ("process", "slots=-1", "auto, or an integer from 1 on"),
        ("process", "slots=many", "auto, or an integer from 1 on"),
        ("process", "per_gpu=0.5", "an integer from 1 on"),
        ("ray", "slots=auto", "an integer from 1 on"),
    ],
)
def test_a_launcher_of_no_jobs_at_once_is_refused(refusal, launcher, setting, legal):
    """It would wait for them for ever."""
    name = setting.partition("=")[0]
    message, hint = refusal(f"hydra/launcher={launcher}", f"hydra.launcher.{setting}")
    assert (message, hint) == (f"hydra.launcher.{setting} is not usable", f"hydra.launcher.{name} is {legal}")


@pytest.mark.parametrize(
    ("words", "key", "hint"),
    [
        (
            ["hydra/launcher=process", "hydra.launcher.slot=2"],
            "hydra.launcher.slot",
            "did you mean 'slots'? this launch",
        ),
        (["hydra/launcher=ensemble", "+hydra.launcher.gpus=2"], "hydra.launcher.gpus", "this launcher takes slots"),
        (["hydra.launcher.slots=2"], "hydra.launcher.slots", "this launcher takes no settings"),
        (
            ["hydra/sweeper=optuna", "hydra.sweeper.trial=2"],
            "hydra.sweeper.trial",
            "did you mean 'trials'? this sweeper",
        ),
    ],
)
def test_a_setting_that_no_launcher_or_sweeper_takes_is_refused_before_a_sweep(words, key, hint):
    with pytest.raises(UsageError) as caught:
        config.open_sweep([*words, "seed=1,2"], None)
    assert caught.value.message == f"unknown setting '{key}'" and caught.value.hint.startswith(hint)


def test_a_share_of_a_core_is_legal_where_cores_are_shared():
    sweep = config.open_sweep(["hydra/launcher=ray", "hydra.launcher.cpus=0.5", "seed=1,2"], None)
    assert sweep.master.hydra.launcher.cpus == 0.5


def test_a_launcher_that_dlcli_knows_can_be_chosen_and_set(here, write):
    write(GLOBAL + "defaults:\n  - override /hydra/launcher: basic\nhydra:\n  sweeper:\n    max_batch_size: 2\n")
    assert config.load_checked(["hydra/launcher=basic", "hydra.sweeper.max_batch_size=3"])["seed"] == 0
    text = config.composed_text(["experiment=exp"], None, "hydra")
    assert "basic_launcher.BasicLauncher" in text and "max_batch_size: 2" in text
