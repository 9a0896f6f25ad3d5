import os

import pytest

from dlcli.training import cores


@pytest.fixture
def quiet(monkeypatch):
    """Eight cores, nothing running."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(cores, "CGROUP_QUOTA", cores.Path("/nonexistent"))


@pytest.mark.parametrize(("load", "free"), [(0.0, 8), (0.4, 8), (3.2, 5), (7.0, 1), (50.0, 1)])
def test_cores_that_others_use_are_left_to_them(quiet, monkeypatch, load, free):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    assert cores.free_cores() == free


@pytest.mark.parametrize(("quota", "allowed"), [("max 100000", 8), ("200000 100000", 2), ("50000 100000", 1), ("", 8)])
def test_the_quota_of_a_container_counts(quiet, monkeypatch, tmp_path, quota, allowed):
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(cores, "CGROUP_QUOTA", tmp_path / "cpu.max")
    assert cores.allowed_cores() == allowed


@pytest.mark.parametrize(("wish", "free"), [("2", 2), ("64", 8), ("0", 1), ("4,2", 8), ("", 8)])
def test_the_wish_of_the_shell_is_a_limit(quiet, monkeypatch, wish, free):
    monkeypatch.setenv("OMP_NUM_THREADS", wish)
    assert cores.free_cores() == free
