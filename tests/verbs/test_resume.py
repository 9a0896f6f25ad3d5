"""`dlcli resume` of what was trained with a plugin: the command is told, and no code of a run directory runs."""

import shlex
import sys

import pytest

PLUGIN = """
import pathlib
pathlib.Path("ran").touch()
from dlcli.models.linear import linear
from dlcli.protocols import DataSpec
from dlcli.registry import register

@register("model", "own")
def own(spec: DataSpec):
    "Of this test."
    return linear(spec, width=1, depth=0)
"""


@pytest.mark.parametrize("sweep", [False, True], ids=["run", "sweep"])
def test_a_plugin_is_asked_for_by_the_command_that_works(dlcli, tmp_path, monkeypatch, sweep):
    (tmp_path / "own_model.py").write_text(PLUGIN)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "own.yaml").write_text("# Of this test.\nname: own\n")
    words = ["train", *(["-m", "seed=1,2"] if sweep else []), "--plugin", "own_model.py", "model=own", "dataset=iris"]
    words += ["training.epochs=1", "decompose.budget=none", "run_dir=run"]
    monkeypatch.setattr(sys, "argv", ["dlcli", *words])
    assert dlcli(*words).code == 0

    from dlcli import registry

    registry.PLUGINS.clear()  # another process, on another day
    (tmp_path / "ran").unlink()
    again = ["resume", "run", *([] if sweep else ["training.epochs=2"])]
    monkeypatch.setattr(sys, "argv", ["dlcli", *again])
    refused = dlcli(*again)
    assert refused.code == 2 and "unknown model 'own'" in refused.err and not (tmp_path / "ran").exists()
    hint = refused.err.splitlines()[-1]
    assert hint.startswith("hint: if you trust own_model.py: dlcli ")
    told = shlex.split(hint.partition(": dlcli ")[2])
    assert told == [*again, "--plugin", "own_model.py"]
    monkeypatch.setattr(sys, "argv", ["dlcli", *told])
    resumed = dlcli(*told)
    assert resumed.code == 0, resumed.err
