"""Completion: what a word can become, at no cost, and the scripts that ask for it, driven in their shells."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dlcli.verbs import VERBS

PLUGIN = """
from dlcli.registry import register
raise SystemExit("completion runs no code of a plugin")


@register("model", "mine")
def mine(spec, *, breadth: int):
    ...
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dlcli ", set(VERBS)),
        ("dlcli tr", {"train"}),
        ("dlcli train optim", {"optimizer=", "optimizer.lr=", "optimizer.beta1=", "optimizer.beta2="}),
        ("dlcli train -m optimizer=adam,sg", {"optimizer=adam,sgd"}),
        ("dlcli train optimizer=sgd optimizer.", {"optimizer.lr=", "optimizer.weight_decay=", "optimizer.decay="}),
        ("dlcli train training.deterministic=", {"training.deterministic=true", "training.deterministic=false"}),
        ("dlcli train training.precision=b", {"training.precision=bf16"}),
        ("dlcli train --lo", {"--log"}),
        ("dlcli train --log j", {"json"}),
        ("dlcli train --plugin mine.py model=mine model.", {"model.breadth="}),
        ("dlcli train --config-dir ", set()),  # a folder, which the shell knows
        ("dlcli eval ", set()),
        ("dlcli resume ", set()),  # likewise, before any setting
        ("dlcli resume runs/seed", set()),
        ("dlcli doctor ", set()),  # takes none
        ("dlcli list mod", {"models"}),
        ("dlcli data in", {"info"}),
        ("dlcli data info ir", {"iris"}),
        ("dlcli data --format json info ir", {"iris"}),
        ("dlcli data info csv dataset.targ", {"dataset.target="}),
        ("dlcli resume run training.ep", {"training.epochs="}),
        ("dlcli train 'unfinished model=lene", {"model=lenet"}),
        ("dlcli export run --format ", {"torch", "onnx"}),
        ("dlcli completion z", {"zsh"}),
    ],
)
def test_a_word_is_completed_by_what_stands_before_it(dlcli, tmp_path, line, expected):
    (tmp_path / "mine.py").write_text(PLUGIN)
    answer = dlcli("completion", "bash", line)
    assert answer.code == 0 and answer.err == ""
    found = set(answer.out.splitlines())
    assert found >= expected if line.endswith("optim") else found == expected


def test_completing_imports_neither_torch_nor_hydra(tmp_path):
    code = (
        "import sys; from dlcli.cli import main; main(['completion', 'bash', 'dlcli train model=cnn model.']);"
        "print({'torch', 'hydra', 'numpy', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert "model.width=" in done.stdout and done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("line", "expected"),
    [("dlcli train model=le", ["lenet"]), ("dlcli tra", ["train"]), ("dlcli train seed", ["seed="])],
)
def test_bash_is_given_what_stands_behind_its_own_ends_of_words(tmp_path, line, expected):
    script = f"""
        eval "$(dlcli completion bash)"
        COMP_LINE={line!r}
        COMP_POINT=100
        _dlcli
        printf '%s\\n' "${{COMPREPLY[@]}}"
        complete -p dlcli
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path, env={"PATH": path})
    assert done.stderr == "" and done.stdout.splitlines() == [*expected, "complete -o default -F _dlcli dlcli"]


@pytest.mark.parametrize(("shell", "check"), [("zsh", ["-n"]), ("fish", ["--no-execute"])])
def test_the_other_scripts_are_read_by_their_shells(dlcli, tmp_path, shell, check):
    (tmp_path / "script").write_text(dlcli("completion", shell).out)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert subprocess.run([shell, *check, "script"], cwd=tmp_path).returncode == 0
