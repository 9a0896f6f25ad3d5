import pytest

from dlcli import config
from dlcli.errors import UsageError

GLOBAL = "# @package _global_\n"
REFERENCE = "a reference names another key, without a circle: ${training.epochs}"
RESOLVER = "only references to keys of the config, such as '${training.epochs}'"


def length(*overrides):
    training = config.load_checked(overrides)["training"]
    return training["epochs"], training["steps"]


def test_files_of_the_user_come_before_the_packaged_ones(here, write):
    write("name: sgd\nlr: 7.0\nweight_decay: 0.0\ndecay: all\n", "optimizer/sgd.yaml")
    write("name: adam\nlr: 8.0\nbeta1: 0.9\nbeta2: 0.9\neps: 0.1\nweight_decay: 0\ndecay: all\n", "optimizer/mine.yaml")
    assert config.load_checked(["optimizer=sgd"])["optimizer"]["lr"] == 7
    assert config.load_checked(["optimizer=mine"])["optimizer"] == {
        "name": "adam", "lr": 8.0, "beta1": 0.9, "beta2": 0.9, "eps": 0.1, "weight_decay": 0.0, "decay": "all",
    }  # fmt: skip
    assert config.load_checked(["optimizer=momentum"])["optimizer"]["name"] == "momentum"


def test_a_named_folder_replaces_conf(here, write, tmp_path):
    write("name: sgd\nlr: 7.0\nweight_decay: 0.0\ndecay: all\n", "optimizer/sgd.yaml")
    other = tmp_path / "other"
    (other / "optimizer").mkdir(parents=True)
    (other / "optimizer/sgd.yaml").write_text("name: sgd\nlr: 9.0\nweight_decay: 0.0\ndecay: all\n")
    assert config.load_checked(["optimizer=sgd"], other)["optimizer"]["lr"] == 9


def test_a_named_folder_that_is_not_there_is_refused(here):
    with pytest.raises(UsageError, match="config folder 'nowhere' is not there"):
        config.load_checked([], here.relative_to(here) / "nowhere")


def test_the_users_own_default_config_is_taken(here, write):
    packaged = (config.folders.packaged() / "config.yaml").read_text()
    write(packaged.replace("seed: 0   ", "seed: 5   ", 1), "config.yaml")
    assert config.load_checked([])["seed"] == 5


def test_an_experiment_overrides_and_the_command_line_overrides_it(here):
    paper = config.load_checked(["experiment=mnist1d_cnn"])
    assert (paper["model"]["name"], paper["optimizer"]["lr"], paper["schedule"]["name"]) == ("cnn", 0.01, "constant")
    changed = config.load_checked(["experiment=mnist1d_cnn", "optimizer.lr=0.5", "schedule=cosine"])
    assert (changed["model"]["name"], changed["optimizer"]["lr"], changed["schedule"]["name"]) == ("cnn", 0.5, "cosine")


def test_every_packaged_experiment_composes(here):
    names = config.options("experiment")
    assert names
    for name in names:
        assert config.load_checked([f"experiment={name}"])


def test_an_experiment_may_stand_in_a_folder_and_build_on_another(here, write):
    write(GLOBAL + "defaults:\n  - mnist1d_cnn\n  - _self_\nseed: 7\n", "experiment/built.yaml")
    write(GLOBAL + "defaults:\n  - override /model: kernel\nseed: 8\n", "experiment/paper/kernel.yaml")
    built = config.load_checked(["experiment=built"])
    assert (built["model"]["name"], built["seed"], built["training"]["steps"]) == ("cnn", 7, 6000)
    assert config.load_checked(["experiment=paper/kernel"])["model"]["name"] == "kernel"


def test_no_experiment_can_be_said(here):
    assert config.load_checked(["experiment=null"]) == config.load_checked([])


def test_the_length_that_is_said_later_counts(here, write):
    assert length() == (40, None)
    assert length("training.steps=9") == (None, 9)
    assert length("experiment=mnist1d_mlp") == (None, 6000)
    assert length("experiment=mnist1d_mlp", "training.epochs=2") == (2, None)
    assert length("training={steps: 9}") == (None, 9)
    write(GLOBAL + "training:\n  steps: 11\n")
    assert length("experiment=exp") == (None, 11)
    assert length("experiment=exp", "training.epochs=2") == (2, None)


def test_two_lengths_said_together_are_refused(refusal):
    both = ("training.epochs and training.steps are both set", "keep one, set the other to null")
    assert refusal("training.epochs=1", "training.steps=1") == both


@pytest.mark.parametrize(
    "override, message, hint",
    [
        # A11 references
        ("name=${oc.env:HOME}", "override name: interpolation with a resolver", RESOLVER),
        ("name='${now:%Y}'", "override name: interpolation with a resolver", RESOLVER),
        ("name=${nope}", "name: Interpolation key 'nope' not found", REFERENCE),
        ("training.steps=${nope}", "training.steps: Interpolation key 'nope' not found", REFERENCE),
        ("name=${name}", "name: Recursive interpolation detected", REFERENCE),
        ("name=${hydra.runtime.cwd}", "name: Interpolation key 'hydra.runtime.cwd' not found", REFERENCE),
        # A12 names
        ("schedule=cosin", "unknown schedule 'cosin'", "did you mean 'cosine'? schedule is one of "),
        ("schedule=Cosine", "unknown schedule 'Cosine'", "did you mean 'cosine'? schedule is one of "),
        ("schedule=../config", "unknown schedule '../config'", "schedule is one of "),
        ("schedule=/etc/passwd", "unknown schedule '/etc/passwd'", "schedule is one of "),
        ("schedule=os.system", "unknown schedule 'os.system'", "schedule is one of "),
        ("schedule='a.b:c'", "unknown schedule 'a.b:c'", "schedule is one of "),
        ("schedule.name=os.system", "schedule.name cannot be set alone", "choose with schedule=NAME"),
        (
            "experiment=mnist1d_cn",
            "unknown experiment 'mnist1d_cn'",
            "did you mean 'mnist1d_cnn'? experiment is one of ",
        ),
        # what only a sweep can take, and what nobody can read
        ("seed=1,2", "'seed=1,2' names several values", "add -m to run them all; for a list write seed=[1,2]"),
        ("model@x=cnn", "override 'model@x=cnn' moves a group with @", "write model=... without @x"),
        ("~nope.x", "cannot apply '~nope.x': nope has no such place", "see `dlcli config`"),
    ],
)
def test_an_override_is_refused(refusal, override, message, hint):
    found, cure = refusal(override)
    assert found == message and cure.startswith(hint)


def test_a_reference_to_another_key_is_followed(here):
    assert config.load_checked(["seed=3", "dataset.seed=${seed}"])["dataset"]["seed"] == 3


@pytest.mark.parametrize(
    "text, message, hint",
    [
        (
            GLOBAL + "defaults:\n  - override /schedule: cosin\n",
            "cannot compose the config: In 'config': Could not find 'schedule/cosin'",
            "did you mean 'cosine'? schedule is one of ",
        ),
        (
            "defaults:\n  - override /schedule: cosine\n",
            "cannot compose the config: ",
            "an experiment begins with the line '# @package _global_'",
        ),
        (
            "seed: 1\n",
            "unknown key 'experiment.seed' (conf/experiment/exp.yaml:1)",
            "an experiment begins with the line '# @package _global_'",
        ),
    ],
)
def test_a_file_that_does_not_compose_is_refused(refusal, write, text, message, hint):
    write(text)
    found, cure = refusal("experiment=exp")
    assert found.startswith(message) and cure.startswith(hint)


def test_the_name_in_a_file_has_to_be_registered(refusal, write):
    write("name: os.system\n", "model/evil.yaml")
    message, hint = refusal("model=evil")
    assert message == "unknown model 'os.system' (conf/model/evil.yaml:1)" and hint.startswith("model is one of ")
