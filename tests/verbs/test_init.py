"""`dlcli init`: the project that it makes trains by the printed command from any folder, and as an installed plugin."""

import shlex
import sys

SHORT = ("training.epochs=null", "training.steps=3", "decompose.budget=none", "dataset=digits", "model.width=8")


def test_the_printed_command_trains_from_another_folder(dlcli, tmp_path, summary_of, monkeypatch):
    made = dlcli("init", "deep/project")
    assert made.code == 0 and made.out.splitlines()[0].endswith(": README.md, conf, my_model.py, pyproject.toml")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    words = shlex.split(made.out.splitlines()[1].removeprefix("train  dlcli "))
    answer = dlcli(*words, *SHORT)
    assert answer.code == 0, answer.err
    summary = summary_of(answer.run_dir)
    assert summary["class"]["id"].startswith("mine-") and summary["class"]["parameters"] == parameters(64, 8, 3, 10)
    assert summary["decomposition"]["loss"]["approx_train"]["interval"][0] == 0
    again = dlcli("init", str(tmp_path / "deep/project"))
    assert again.code == 2 and "is not empty" in again.err


def parameters(features, width, depth, outputs):
    layers = features * width + (depth - 1) * (features + width) * width
    return layers + depth * 2 * width + (width + 1) * outputs  # layer normalization brings scale and shift


def test_an_installed_project_needs_no_flag(dlcli, tmp_path, monkeypatch):
    assert dlcli("init", "project").code == 0
    info = tmp_path / "site" / "my_model-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-model\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[dlcli.plugins]\nmine = my_model\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    broken = dlcli("list", "models")
    assert broken.code == 2 and "the installed plugin 'mine' names a module 'my_model' that is not there" in broken.err
    monkeypatch.syspath_prepend(tmp_path / "project")
    listed = dlcli("list", "models").out
    assert "mine " in listed and "[width=100, depth=3]" in listed and "my_model" not in sys.modules
    assert "first" in dlcli("list", "experiments").out
    answer = dlcli("train", "experiment=first", *SHORT)
    assert answer.code == 0, answer.err


def test_a_file_that_hides_behind_another_module_is_told(dlcli, tmp_path):
    (tmp_path / "json.py").write_text("")
    answer = dlcli("train", "--plugin", "./json.py")
    assert answer.code == 2 and answer.err.startswith("error: the plugin ./json.py is hidden by ")
    answer = dlcli("train", "--plugin", "nowhere/mine.py")
    assert answer.code == 2 and "cannot be imported: ModuleNotFoundError" in answer.err
