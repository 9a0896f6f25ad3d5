import json
import os
import subprocess

import pytest

from dlcli.training.environment import differences, environment, git_state


def git(folder, *arguments):
    identity = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a"}
    subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, env=os.environ | identity)


@pytest.fixture
def repository(tmp_path):
    git(tmp_path, "init")
    (tmp_path / "model.py").write_text("")
    git(tmp_path, "add", "model.py")
    git(tmp_path, "commit", "-m", "first")
    return tmp_path


def test_the_commit_is_told(repository):
    state = git_state(repository)
    assert len(state["commit"]) == 40 and state["dirty"] is False


def test_a_change_makes_it_dirty_and_a_new_file_does_not(repository):
    (repository / "notes.txt").write_text("")
    assert git_state(repository)["dirty"] is False
    (repository / "model.py").write_text("changed")
    assert git_state(repository)["dirty"] is True


def test_no_repository_is_none(tmp_path):
    assert git_state(tmp_path) is None


def test_no_git_is_none(repository, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert git_state(repository) is None


def monitored(repository, program):
    git(repository, "config", "core.fsmonitor", str(program))


def filtered(repository, program):
    git(repository, "config", "filter.evil.clean", str(program))
    (repository / ".git" / "info" / "attributes").write_text("* filter=evil\n")


def filtered_under_an_odd_name(repository, program):
    git(repository, "config", "filter.a=b.process", str(program))
    (repository / ".git" / "info" / "attributes").write_text("* filter=a=b\n")


def lacking_objects(repository, program):
    """As a partial clone: git would start the `uploadpack` of its origin for the tree that is not there."""
    answer = subprocess.run(["git", "-C", repository, "rev-parse", "HEAD^{tree}"], capture_output=True, text=True)
    tree = answer.stdout.strip()
    (repository / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    for key, value in {"core.repositoryFormatVersion": "1", "extensions.partialClone": "origin",
                       "remote.origin.promisor": "true", "remote.origin.url": str(repository),
                       "remote.origin.uploadPack": str(program)}.items():  # fmt: skip
        git(repository, "config", key, value)


@pytest.mark.parametrize("harm", [monitored, filtered, filtered_under_an_odd_name, lacking_objects])
def test_a_program_named_by_the_repository_is_not_run(repository, tmp_path_factory, harm):
    room = tmp_path_factory.mktemp("evil")
    program, canary = room / "program", room / "canary"
    program.write_text(f"#!/bin/sh\ntouch {canary}\n")
    program.chmod(0o755)
    (repository / "model.py").write_text("changed")
    harm(repository, program)
    dirty = git_state(repository)["dirty"]
    assert dirty is (True if harm in (monitored, filtered) else None)
    assert not canary.exists()
    subprocess.run(["git", "-C", repository, "status"], capture_output=True, timeout=30)
    assert canary.exists(), "git itself does not run it"


def test_the_facts_are_plain_json():
    facts = environment("cpu", 2)
    assert json.loads(json.dumps(facts)) == facts
    assert facts["libraries"]["torch"] and facts["threads"] == 2


def test_nothing_of_the_process_environment_is_told(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-3141")
    assert "canary-3141" not in json.dumps(environment("cpu", 1))


def test_the_same_place_has_no_differences():
    assert differences(environment("cpu", 1), environment("cpu", 1)) == []


def test_what_changes_last_bits_is_told():
    before = environment("cpu", 2)
    now = environment("cuda", 1)
    now["libraries"] = {**now["libraries"], "torch": "9.9"}
    torch = before["libraries"]["torch"]
    assert differences(before, now) == ["device: cpu, now cuda", "threads: 2, now 1", f"torch: {torch}, now 9.9"]


@pytest.mark.parametrize("damaged", [{}, {"libraries": None}, {"libraries": []}])
def test_a_damaged_record_is_compared_all_the_same(damaged):
    assert "threads: None, now 1" in differences(damaged, environment("cpu", 1))
