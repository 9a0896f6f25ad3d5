"""The command line: verbs, flags in any place, one error and one hint, and no torch where none is needed."""

import subprocess
import sys
from pathlib import Path

import pytest

from dlcli import __version__, cli

TINY = ("dataset=digits", "model.width=8", "training.steps=6", "decompose.budget=none", "checkpoint.every=1000")


def modules_after(tmp_path, *words):
    """Which heavy libraries a command line has imported in a process of its own."""
    code = f"import sys; from dlcli.cli import main; main({list(words)!r}); print(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["train", "optimizer.lrr=1"],
        ["train", "-m", "model=mlp,cnnn"],
        ["list"],
        ["config"],
        ["train", "--cfg", "job"],
        ["report", "nowhere"],
        ["resume", "nowhere"],
        ["runs", "nowhere"],
        ["predict", "nowhere", "new.csv"],
        ["init", "project"],
    ],
    ids=" ".join,
)
def test_torch_stays_out_where_nothing_is_computed(tmp_path, words):
    assert "'torch'" not in modules_after(tmp_path, *words)


def test_torch_stays_out_of_a_sweep_whose_jobs_are_processes(tmp_path):
    words = ["train", "-m", "hydra/launcher=process", "seed=0,1", f"run_dir={tmp_path / 'sweep'}", *TINY]
    seen = modules_after(tmp_path, *words)
    assert "'torch'" not in seen and "'matplotlib'" in seen and (tmp_path / "sweep" / "report.html").is_file()


def test_the_modules_of_a_process_are_really_seen(tmp_path):
    assert "'torch'" in modules_after(tmp_path, "doctor")


def test_version_and_help_answer(dlcli):
    assert dlcli("--version") == (0, f"dlcli {__version__}\n", "")
    helped = dlcli("--help")
    assert helped.code == 0 and all(verb in helped.out for verb in cli.VERBS)
    assert dlcli() == helped


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["trian"], "unknown verb 'trian'", "did you mean `dlcli train`?"),
        (["model=cnn"], "unknown verb 'model=cnn'", "did you mean `dlcli train`?"),
        (["train", "--mutlirun"], "unrecognized arguments: --mutlirun", "did you mean '--multirun'?"),
        (["list", "modles"], "unknown group 'modles'", "did you mean 'models'?"),
        (["resume"], "the following arguments are required: RUN_DIR", "`dlcli resume --help`"),
        (["report", "nowhere"], "there is no run directory nowhere", "the last line of `dlcli train`"),
        (["train", "optimizer.lrr=1"], "unknown setting 'optimizer.lrr' of adam", "did you mean 'optimizer.lr'?"),
        (
            ["train", "training.batch_size=5000"],
            "training.batch_size=5000 makes 0 batches",
            "use training.batch_size=full",
        ),
        (["train", "model=cnn", "dataset=iris"], "model 'cnn' needs signals or images", "models that fit"),
    ],
)
def test_a_mistake_is_one_error_and_one_hint(dlcli, words, error, hint):
    answer = dlcli(*words)
    lines = answer.err.splitlines()
    assert (answer.code, len(lines)) == (2, 2)
    assert lines[0].startswith(f"error: {error}") and lines[1].startswith(f"hint: {hint}")
    assert max(map(len, lines)) <= 200


def test_a_refused_run_leaves_nothing_behind(dlcli, tmp_path):
    dlcli("train", "model=cnn", "dataset=iris")
    dlcli("train", "optimizer.lrr=1")
    assert not list(tmp_path.iterdir())


def test_an_internal_error_is_told_as_one(dlcli, monkeypatch):
    monkeypatch.setattr(cli, "dispatch", lambda arguments: 1 / 0)
    answer = dlcli("train")
    assert answer.code == 1 and answer.err.startswith("error: internal error: ZeroDivisionError")


def test_escape_sequences_never_reach_the_terminal(dlcli):
    assert "\x1b" not in dlcli("train", "name=\x1b[31mred").err


def test_flags_stand_anywhere(dlcli):
    answer = dlcli("train", *TINY, "-m", "seed=1,2", "output_root=runs")
    assert answer.code == 0, answer.err
    assert sorted(path.name for path in answer.run_dir.iterdir() if path.is_dir()) == ["seed=1", "seed=2"]
    assert (
        "--format html draws its pictures" in answer.out and "<svg" not in (answer.run_dir / "report.html").read_text()
    )


def test_config_prints_what_a_run_would_be_given(dlcli):
    answer = dlcli("config", "model=cnn", "seed=7")
    assert answer.code == 0 and "name: cnn" in answer.out and "seed: 7" in answer.out


def test_config_check_takes_steps_and_writes_nothing(dlcli, tmp_path):
    answer = dlcli("config", "--check", "dataset=digits")
    assert answer.code == 0 and "ms a step" in answer.out and not list(tmp_path.iterdir())


def test_list_names_every_model_with_its_settings(dlcli):
    answer = dlcli("list", "models")
    assert answer.code == 0 and "depth=" in answer.out
    assert {"mlp", "cnn", "lenet", "resnet", "linear", "kernel"} <= {
        line.split()[0] for line in answer.out.splitlines()
    }


def test_a_plugin_adds_a_model_from_any_folder(dlcli, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from math import prod\n"
        "from torch import nn\n"
        "from dlcli.models.predictor import Predictor\n"
        "from dlcli.registry import register\n"
        "from dlcli.schema import Count\n\n\n"
        "@register('model', 'mine')\n"
        "def mine(spec, *, width: Count):\n"
        '    """Mine: a bottleneck of width units."""\n'
        "    return Predictor(nn.Sequential(nn.Flatten(), nn.Linear(prod(spec.shape), width)), width, spec.outputs)\n"
    )
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text("name: mine\nwidth: 4\n")
    assert dlcli("train", "model=mine", *TINY[2:]).code == 2
    answer = dlcli("train", "--plugin", "mine", "model=mine", "dataset=digits", *TINY[2:])
    assert answer.code == 0, answer.err


@pytest.mark.parametrize(("words", "code"), [(["list"], 0), (["list", "modles"], 2), (["--help"], 0)])
def test_a_process_ends_with_all_that_was_to_be_done_and_takes_nothing_apart(tmp_path, words, code):
    program = (
        "import atexit, os, sys\n"
        "class Kept:\n"
        "    def __del__(self, write=os.write): write(1, b'taken apart')\n"
        "kept = Kept()\n"
        "from dlcli import cli\n"
        "dispatch = cli.dispatch\n"
        "def registering(words):\n"
        "    atexit.register(print, 'put away')\n"
        "    return dispatch(words)\n"
        "cli.dispatch = registering\n"
        "cli.program()\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == code and done.stdout.endswith("put away\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("words", [["--version"], ["list"], ["config"]], ids=" ".join)
def test_output_that_has_no_room_is_an_error(tmp_path, words):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "dlcli", *words], stdout=full, stderr=-1, text=True, cwd=tmp_path)
    assert done.returncode == 6
    assert done.stderr == (
        "error: cannot write the output: No space left on device\nhint: free some space, or send it elsewhere\n"
    )
