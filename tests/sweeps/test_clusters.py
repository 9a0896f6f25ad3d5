"""Sweeps on the engines of clusters, run for real on this machine: submitit's local executor and a local Ray."""

import json

import pytest

from dlcli import config
from dlcli.sweeps import Job
from dlcli.sweeps.clusters import in_a_fork
from tests.sweeps.faulty import FAULTY

QUICK = ("dataset=digits", "model.width=16", "training.epochs=2", "decompose.budget=none", "training.threads=1")
ENGINES = {
    "slurm": ("hydra/launcher=slurm", "hydra.launcher.engine=local", "hydra.launcher.slots=2"),
    "ray": ("hydra/launcher=ray", "hydra.launcher.slots=2"),
}
PACKAGES = {"slurm": "submitit", "ray": "ray"}


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow) for name in ENGINES])
def engine(request):
    package = pytest.importorskip(PACKAGES[request.param], reason=f"pip install 'dlcli-train[{request.param}]'")
    yield ENGINES[request.param]
    if request.param == "ray":
        package.shutdown()


@pytest.mark.filterwarnings("ignore")  # the engines' own
def test_a_sweep_with_a_bug_and_a_kill_has_the_results_of_the_serial_one(dlcli, engine, tmp_path):
    (tmp_path / "faulty.py").write_text(FAULTY)
    (tmp_path / "conf" / "initialization").mkdir(parents=True)
    (tmp_path / "conf" / "initialization" / "faulty.yaml").write_text("name: faulty\ndeed: none\n")
    words = ("--plugin", str(tmp_path / "faulty.py"), "initialization=faulty", "initialization.deed=none,raise,kill")
    swept = dlcli("train", "-m", *engine, *QUICK, *words, "run_dir=swept")
    assert swept.code == 11 and "2 of 3 jobs failed" in swept.err, swept.err + swept.out
    assert "FAILED: RuntimeError: a bug of the user" in swept.out
    (tmp_path / "cured").touch()
    assert dlcli("resume", "swept", "--plugin", str(tmp_path / "faulty.py")).code == 0
    assert dlcli("train", *QUICK, "run_dir=alone").code == 0
    alone = json.loads((tmp_path / "alone" / "summary.json").read_text())["risks"]
    for deed in ("none", "raise", "kill"):
        folder = tmp_path / "swept" / f"initialization.deed={deed}"
        assert json.loads((folder / "summary.json").read_text())["risks"] == alone


@pytest.mark.slow
def test_a_worker_on_another_machine_than_the_sweep_has_forks_of_its_own(dlcli, tmp_path):
    pytest.importorskip("ray", reason="pip install 'dlcli-train[ray]'")
    job = Job(1, str(tmp_path / "forked"), config.load_checked(QUICK), ("dlcli",), ())
    assert in_a_fork(str(tmp_path / "no socket here"), job)[:2] == ("forked", "done")
    assert dlcli("train", *QUICK, "run_dir=alone").code == 0
    forked, alone = (
        json.loads((tmp_path / name / "summary.json").read_text())["risks"] for name in ("forked", "alone")
    )
    assert forked == alone


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_each_job_of_slurm_can_start_ranks_of_its_own(dlcli, tmp_path):
    pytest.importorskip("submitit", reason="pip install 'dlcli-train[slurm]'")
    two = (*ENGINES["slurm"], "hydra.launcher.slots=1", "training.devices=2")
    assert dlcli("train", "-m", *two, *QUICK, "seed=0,1", "run_dir=swept").code == 0
    assert dlcli("train", *QUICK, "run_dir=alone").code == 0
    swept, alone = (
        json.loads((tmp_path / folder / "summary.json").read_text())["risks"]["train"]["loss"]["value"]
        for folder in ("swept/seed=0", "alone")
    )
    assert swept != alone and swept == pytest.approx(alone, abs=1e-5)  # the gradient is a sum of two


def test_a_parameter_that_submitit_lacks_is_refused(dlcli):
    pytest.importorskip("submitit", reason="pip install 'dlcli-train[slurm]'")
    answer = dlcli("train", "-m", *ENGINES["slurm"], "hydra.launcher.parameters.tiem=3", *QUICK, "seed=1,2")
    assert answer.code == 2 and "tiem" in answer.err
