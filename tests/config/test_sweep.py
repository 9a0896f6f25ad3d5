"""Sweeps as Hydra's own sweeper and launchers run them."""

import copy

import pytest
from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext

from dlcli import config
from dlcli.config import composition
from dlcli.errors import UsageError


def run(sweep, directory):
    """What the jobs of a sweep are given when Hydra's plugins run it: (folder, plain config) each."""
    given = []

    def task(job):
        given.append((HydraConfig.get().runtime.output_dir, composition.plain(job)))

    sweep.into(directory)
    context = HydraContext(config_loader=sweep.loader, callbacks=Callbacks())
    sweeper = Plugins.instance().instantiate_sweeper(config=sweep.master, hydra_context=context, task_function=task)
    sweeper.sweep(arguments=sweep.arguments)
    return given


def refused(*overrides):
    with pytest.raises(UsageError) as caught:
        config.open_sweep(overrides)
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize("launcher", ["serial", "basic"])
def test_every_job_gets_the_config_that_was_checked_in_the_folder_that_was_named(here, launcher):
    sweep = config.open_sweep(
        [f"hydra/launcher={launcher}", "model=mlp,cnn", "optimizer.lr=1e-3,0.1", "training.steps=5", "name='a b'"]
    )
    given = run(sweep, here / "sweep")
    assert len(given) == 4
    for (folder, job), expected in zip(given, sweep.jobs, strict=True):
        assert folder == str(here / "sweep" / expected.folder)
        assert config.checks.checked(job, {}) == expected.config
    assert [job.folder for job in sweep.jobs] == [
        f"model={model},optimizer.lr={lr}" for model in ("mlp", "cnn") for lr in ("0.001", "0.1")
    ]
    assert {job.config["training"]["steps"] for job in sweep.jobs} == {5}
    assert {job.config["training"]["epochs"] for job in sweep.jobs} == {None}


def test_a_launcher_of_another_process_can_carry_the_loader(here):
    sweep = config.open_sweep(["seed=range(3)"])
    sweep.into(here / "sweep")
    loader = copy.deepcopy(sweep.loader)  # as a pickle would
    job = loader.load_sweep_config(sweep.master, ["seed=2"])
    assert (job.seed, job.hydra.sweep.subdir, job.hydra.output_subdir) == (2, "seed=2", None)


def test_every_way_to_name_values_makes_jobs(here):
    def jobs(*overrides):
        return [job.overrides for job in config.open_sweep(overrides).jobs]

    assert jobs("seed=range(2)") == [("seed=0",), ("seed=1",)]
    assert jobs("seed=choice(4,5)") == [("seed=4",), ("seed=5",)]
    assert len(jobs("schedule=glob(*)")) == len(config.options("schedule"))
    assert len(jobs("experiment=mnist1d_cnn,mnist1d_mlp", "seed=1,2")) == 4
    assert jobs("seed=7") == [("seed=7",)]


def test_a_reference_is_followed_in_each_job(here):
    sweep = config.open_sweep(["seed=3,4", "dataset.seed=${seed}"])
    assert [job.config["dataset"]["seed"] for job in sweep.jobs] == [3, 4]
    assert [job["dataset"]["seed"] for _, job in run(sweep, here / "sweep")] == [3, 4]


def test_a_sweep_may_be_described_in_a_file(here, write):
    write("# @package _global_\nhydra:\n  sweeper:\n    params:\n      seed: 3,4\n")
    sweep = config.open_sweep(["experiment=exp"])
    assert [job.config["seed"] for job in sweep.jobs] == [3, 4]
    assert [job["seed"] for _, job in run(sweep, here / "sweep")] == [3, 4]


@pytest.mark.parametrize(
    "overrides, message, hint",
    [
        (["seed=1,1"], "two jobs of the sweep are the same run: seed=1", "name each value once"),
        (["optimizer.lr=1,1.0"], "two jobs of the sweep are the same run: optimizer.lr=1.0", "name each value once"),
        (["seed=range(0)"], "'seed=range(0)' names no value at all", "an empty range or list makes no jobs"),
        (["seed=range(1000000)"], "the sweep has more than 10000 jobs", "shorten its lists of values"),
        (
            ["seed=range(101)", "model.width=range(1,101)"],
            "the sweep has more than 10000 jobs",
            "shorten its lists of values",
        ),
        (["model=mlp,cn"], "unknown model 'cn'", "did you mean 'cnn'? model is one of "),
        (
            ["optimizer.lr=0.1,abc"],
            "optimizer.lr: got 'abc', wanted a number > 0",
            "optimizer.lr: learning rate, above 0",
        ),
        (
            ["optimizer.lr=interval(0,1)"],
            "cannot list the values of 'optimizer.lr=interval(0,1)'",
            "give them: key=0.1,0.2 or key=range(1,5)",
        ),
        (
            ["model=interval(0,1)"],
            "cannot list the values of 'model=interval(0,1)'",
            "give them: key=0.1,0.2 or key=range(1,5)",
        ),
        (["seed=1,2", "name=${name}"], "name: Recursive interpolation detected", "a reference names another key"),
        (
            ["hydra.launcher.n=1,2"],
            "'hydra.launcher.n=1,2' sweeps over Hydra itself",
            "sweep over settings of the run",
        ),
    ],
)
def test_a_bad_grid_is_refused_before_the_first_job(here, overrides, message, hint):
    found, cure = refused(*overrides)
    assert found == message and cure.startswith(hint)


def test_the_problems_of_all_jobs_are_told_once(here):
    message, _ = refused("seed=0,-1", "optimizer.lrr=1", "model=mlp,cnn")
    assert message == (
        "2 problems in the configuration\n"
        "  unknown setting 'optimizer.lrr' of adam\n"
        "  seed: got -1, wanted a whole number in [0, 4294967295]"
    )


def test_folders_are_legal_and_unlike_each_other(here):
    names = [job.folder for job in config.open_sweep(["name='a b','a_b','A_b','ö','" + "x" * 100 + "'"]).jobs]
    assert names[:4] == ["name=a_b", "name=a_b-2", "name=A_b-3", "name=_"]
    assert len({name.lower() for name in names}) == 5 and max(map(len, names)) <= 100


def test_jobs_that_differ_in_values_are_composed_once(here, monkeypatch):
    composed = []
    load = composition.Loader.load_configuration
    monkeypatch.setattr(composition.Loader, "load_configuration", lambda self, *a: composed.append(a) or load(self, *a))
    config.open_sweep(["seed=range(20)", "model=mlp,cnn"])
    assert len(composed) == 3  # the sweep itself and each model
