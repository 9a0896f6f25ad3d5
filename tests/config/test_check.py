"""Group A of the catalogue of faults: what a user reads, word for word."""

import pytest

from dlcli import config, registry
from dlcli.config import check, comments, composition

GLOBAL = "# @package _global_\n"
LR = "optimizer.lr: learning rate, above 0; between the paper's 0.001 and the 0.01 of MNIST-1D's authors"
SEED = "seed: initial weights, batch order, dropout and augmentation; 0 to 4294967295"
NO_CODE = "a config names no code; choose with GROUP=NAME"
ADAM = "adam takes lr, beta1, beta2, eps, weight_decay, decay"
SECTIONS = (
    "sections: model, dataset, task, normalization, initialization, optimizer, schedule, augmentation, "
    "training, checkpoint, decompose, tracking; beside them seed, name, tags, output_root, run_dir, pictures"
)
NAME_RULE = "a name is 1 to 100 letters, digits, spaces and signs, without / and \\, not starting with . - ~"


@pytest.mark.parametrize(
    "override, message, hint",
    [
        # A1 a typo
        ("optimizer.lrr=1", "unknown setting 'optimizer.lrr' of adam", f"did you mean 'optimizer.lr'? {ADAM}"),
        ("+optimizer.lrr=1", "unknown setting 'optimizer.lrr' of adam", f"did you mean 'optimizer.lr'? {ADAM}"),
        ("++optim.lr=1", "unknown key 'optim.lr'", f"did you mean 'optimizer.lr'? {SECTIONS}"),
        ("lr=1", "unknown key 'lr'", f"did you mean 'optimizer.lr'? {SECTIONS}"),
        ("modle=cnn", "unknown key 'modle'", f"did you mean 'model'? {SECTIONS}"),
        # A2 a wrong type
        ("optimizer.lr=abc", "optimizer.lr: got 'abc', wanted a number > 0", LR),
        ("optimizer.lr=", "optimizer.lr: got '', wanted a number > 0", LR),
        ("optimizer.lr=null", "optimizer.lr: got null, wanted a number > 0", LR),
        ("optimizer.lr=true", "optimizer.lr: got true, wanted a number > 0", LR),
        ("optimizer.lr=[1]", "optimizer.lr: got [1], wanted a number > 0", LR),
        ("optimizer.lr={a: 1}", "optimizer.lr: got {'a': 1}, wanted a number > 0", LR),
        ("seed=1.5", "seed: got 1.5, wanted a whole number in [0, 4294967295]", SEED),
        ("seed=1e1", "seed: got 10.0, wanted a whole number in [0, 4294967295]", SEED),
        ("seed=true", "seed: got true, wanted a whole number in [0, 4294967295]", SEED),
        ("tags=a", "tags: got 'a', wanted a list of text", "tags: free words, kept in summary.json"),
        (
            "training.compile=1",
            "training.compile: got 1, wanted true or false or auto",
            "training.compile: true | false | auto; steps as one compiled program, auto: where it pays",
        ),
        (
            "training.precision=bf61",
            "training.precision: got 'bf61', wanted fp32 | tf32 | bf16",
            "did you mean 'training.precision=bf16'? training.precision: fp32 | tf32 (products on a GPU) | bf16 "
            "(autocast); risks are always those of fp32",
        ),
        ("decompose=off", "decompose: got 'off', wanted a section of settings", "set decompose.budget=VALUE"),
        ("training=5", "training: got 5, wanted a section of settings", "set training.KEY=VALUE"),
        ("model=null", "section 'model' is missing", "choose with model=NAME"),
        (
            "optimizer.batch_size=3",
            "unknown setting 'optimizer.batch_size' of adam",
            f"did you mean 'training.batch_size'? {ADAM}",
        ),
        ("~optimizer", "section 'optimizer' is missing", "choose with optimizer=NAME"),
        ("~optimizer.lr", "missing setting 'optimizer.lr' of adam", LR),
        # A3 out of range
        ("optimizer.lr=0", "optimizer.lr: got 0, wanted a number > 0", LR),
        ("optimizer.lr=-0.1", "optimizer.lr: got -0.1, wanted a number > 0", LR),
        ("optimizer.lr=nan", "optimizer.lr: got nan, wanted a number > 0", LR),
        ("optimizer.lr=inf", "optimizer.lr: got inf, wanted a number > 0", LR),
        ("optimizer.lr=1e400", "optimizer.lr: got inf, wanted a number > 0", LR),
        (
            "model.dropout=1.5",
            "model.dropout: got 1.5, wanted a number in [0, 1)",
            comments.of("model.dropout", "mlp"),
        ),
        (
            "training.epochs=-1",
            "training.epochs: got -1, wanted a whole number >= 1 or null",
            "training.epochs: passes over the training set; steps given by an experiment or on the command line "
            "replace it",
        ),
        ("seed=4294967296", "seed: got 4294967296, wanted a whole number in [0, 4294967295]", SEED),
        # A4 numbers that are none
        ("seed=012", "seed: got '012', wanted a whole number in [0, 4294967295]", SEED),
        ("seed=12:30", "seed: got '12:30', wanted a whole number in [0, 4294967295]", SEED),
        (
            "training.compile=no",
            "training.compile: got 'no', wanted true or false or auto",
            "training.compile: true | false | auto; steps as one compiled program, auto: where it pays",
        ),
        # A9 keys that name code
        ("optimizer._target_=os.system", "reserved key 'optimizer._target_'", NO_CODE),
        ("+model._partial_=true", "reserved key 'model._partial_'", NO_CODE),
        ("model.class_path=os.system", "reserved key 'model.class_path'", NO_CODE),
        ("training={_component_: os.system}", "reserved key 'training._component_'", NO_CODE),
        ("x.y._instantiator.z=1", "reserved key 'x.y._instantiator'", NO_CODE),
        ("_args_=[1]", "reserved key '_args_'", NO_CODE),
        ("target=os.system", "reserved key 'target'", NO_CODE),
        ("model.target=os.system", "reserved key 'model.target'", NO_CODE),
        # A16 names of runs
        ("name=../up", "name: '../up' would leave its folder or hide in it", NAME_RULE),
        ("name=..", "name: '..' would leave its folder or hide in it", NAME_RULE),
        ("name=/etc/passwd", "name: '/etc/passwd' would leave its folder or hide in it", NAME_RULE),
        ("name='a\nb'", "name: 'a\\nb' holds an invisible or control character", NAME_RULE),
        ("name='a\x1b[31m'", "name: 'a\\x1b[31m' holds an invisible or control character", NAME_RULE),
        ("name='a\u202eb'", "name: 'a\\u202eb' holds an invisible or control character", NAME_RULE),
        ("name=''", "name: '' is empty or has spaces around it", NAME_RULE),
        ("name=" + "x" * 5000, f"name: '{'x' * 49}... has 5000 characters, 100 are legal", NAME_RULE),
        ("tags=['a\nb']", "tags: 'a\\nb' holds an invisible or control character", "write visible characters only"),
        ("run_dir='a\nb'", "run_dir: 'a\\nb' holds an invisible or control character", "write visible characters only"),
        # A15 settings that do not go together
        (
            "training.epochs=null",
            "neither training.epochs nor training.steps is set",
            "training.epochs=40, for example",
        ),
        (
            "training={batch_size: 4, accumulate: 8}",
            "training.accumulate=8 cuts a batch of 4 into more parts than it has",
            "training.accumulate is at most training.batch_size, 4",
        ),
        (
            "training={sharded: true, average: 0.9}",
            "training.average needs the weights in one piece, and training.sharded leaves each rank a part",
            "training.average=null, or training.sharded=false",
        ),
    ],
)
def test_a_wrong_override_is_named_with_its_cure(refusal, override, message, hint):
    assert refusal(override) == (message, hint)


@pytest.mark.parametrize(
    "text, message, hint",
    [
        (
            "optim:\n  lrr: 1\n",
            "unknown key 'optim.lrr' (conf/experiment/exp.yaml:3)",
            f"did you mean 'optimizer.lr'? {SECTIONS}",
        ),
        ("optimizer:\n  lr:\n", "optimizer.lr: got null, wanted a number > 0 (conf/experiment/exp.yaml:3)", LR),
        ("optimizer: {lr: .nan}\n", "optimizer.lr: got nan, wanted a number > 0 (conf/experiment/exp.yaml:2)", LR),
        (
            "optimizer: {_target_: os.system}\n",
            "reserved key 'optimizer._target_' (conf/experiment/exp.yaml:2)",
            NO_CODE,
        ),
        (
            "seed: 0x" + "f" * 5000,
            "seed: got a number of thousands of digits, wanted a whole number in [0, 4294967295] "
            "(conf/experiment/exp.yaml:2)",
            SEED,
        ),
        (
            "training: {epochs: 1, steps: 1}\n",
            "training.epochs and training.steps are both set",
            "keep one, set the other to null",
        ),
    ],
)
def test_a_wrong_file_is_named_with_its_line(refusal, write, text, message, hint):
    write(GLOBAL + text)
    assert refusal("experiment=exp") == (message, hint)


def test_all_problems_are_told_at_once_and_the_best_hint_is_chosen(refusal):
    message, hint = refusal("seed=-1", "optimizer.lrr=1", "training.epochs=1.5", "model.dropout=2")
    assert message == (
        "4 problems in the configuration\n"
        "  seed: got -1, wanted a whole number in [0, 4294967295]\n"
        "  model.dropout: got 2, wanted a number in [0, 1)\n"
        "  unknown setting 'optimizer.lrr' of adam\n"
        "  training.epochs: got 1.5, wanted a whole number >= 1 or null"
    )
    assert hint == f"did you mean 'optimizer.lr'? {ADAM}"


def test_a_setting_of_another_component_names_the_file_that_sets_it(refusal, write):
    write(GLOBAL + "optimizer:\n  beta1: 0.9\n  eps: 0.1\n")
    message, hint = refusal("experiment=exp", "optimizer=sgd")
    assert message.splitlines()[1:] == [
        "  unknown setting 'optimizer.beta1' of sgd (conf/experiment/exp.yaml:3)",
        "  unknown setting 'optimizer.eps' of sgd (conf/experiment/exp.yaml:4)",
    ]
    assert hint == "sgd takes lr, weight_decay, decay"


def test_a_comment_of_the_packaged_file_explains_a_setting():
    assert comments.of("optimizer.lr", "adam") == LR
    assert comments.of("dataset.label_noise", "mnist1d").startswith("dataset.label_noise: share of training labels")
    assert comments.of("optimizer.lr", "theirs") == ""


def test_what_dlcli_supplies_itself_is_refused(refusal):
    name = next(name for name in registry.names("dataset") if "seed" in registry.find("dataset", name).supplied)
    supplied = config.load_checked([f"dataset={name}"])
    supplied["model"]["spec"] = 1
    (problem,) = check.check(supplied, {})
    assert problem.text == "'model.spec' is supplied by dlcli itself"


def test_a_file_with_hundreds_of_problems_is_cut(refusal, write):
    write(GLOBAL + "".join(f"key_{i}: 1\n" for i in range(300)))
    message, _ = refusal("experiment=exp")
    assert message.startswith("50 problems in the configuration\n  unknown key 'key_0' (conf/experiment/exp.yaml:2)\n")
    assert message.endswith("  and 30 or more") and message.count("\n") == 21


@pytest.mark.parametrize("override, value", [("1e-4", 1e-4), ("1E-4", 1e-4), ("1", 1.0), (".5", 0.5)])
def test_numbers_as_people_type_them(here, override, value):
    lr = config.load_checked([f"optimizer.lr={override}"])["optimizer"]["lr"]
    assert lr == value and isinstance(lr, float)


def test_target_is_a_setting_where_a_data_set_has_one(here):
    table = config.load_checked(["dataset=csv", "dataset.path=my.csv", "dataset.target=label"])["dataset"]
    assert (table["path"], table["target"]) == ("my.csv", "label")


@pytest.mark.parametrize("name", ["run 1", "größe", "a.b-c_d", "実験", "x" * 100])
def test_names_as_people_choose_them(here, name):
    assert config.load_checked([f"name='{name}'"])["name"] == name


@pytest.mark.parametrize("group", registry.FOLDERS)
def test_every_component_has_legal_defaults(here, group):
    """All but the paths and columns that only the user can know."""
    names = config.options(group)
    assert names
    for name in names:
        composed = composition.Loader().compose([f"{group}={name}"])
        problems = check.check(composition.plain(composed.config), composed.places)
        assert all("has to be given" in problem.text for problem in problems)
        assert all(len(line) <= 200 for problem in problems for line in problem)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            "optimizer=muon",
            "optimizer=muon looks at many weights at once, and training.sharded leaves each rank a part",
        ),
        ("model=vae", "model=vae is no chain of layers, which training.sharded gathers one after the other"),
    ],
)
def test_parts_of_weights_are_refused_to_what_needs_them_whole(refusal, chosen, message):
    told, hint = refusal("training.sharded=true", chosen)
    assert told == message and "training.sharded=false" in hint
