"""Every command of the documentation runs, in the order of its page, beside the files that the page shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dlcli import __version__
from dlcli.verbs import VERBS

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"\n]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([\w.-]+\.md)\)")


def test_the_pages_are_those_of_the_site_and_their_links_lead_somewhere():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert sorted(site["nav"]) == [page.name for page in PAGES] and len(PAGES) > 6
    for page in PAGES:
        assert set(LINK.findall(page.read_text())) <= set(site["nav"]), page.name


def test_the_documentation_shows_every_verb():
    text = "".join(page.read_text() for page in [*PAGES, ROOT / "README.md"])
    assert not [verb for verb in VERBS if f"dlcli {verb}" not in text]


def test_the_version_is_one():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
    assert f"\n## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_page_of_experiments_says_what_each_of_them_says():
    page = (ROOT / "docs" / "experiments.md").read_text().split("\n**")[1:]
    found = {part.partition("**")[0]: " ".join(part.split()) for part in page}
    files = {path.stem: path.read_text() for path in (ROOT / "conf" / "experiment").glob("*.yaml")}
    assert found.keys() == files.keys()
    for name, text in files.items():
        told = dict(re.findall(r"^# (\w+): (.+)$", text, re.MULTILINE))
        command = told.pop("Run").partition(" (")[0]
        assert f"`{command}`" in found[name], name
        assert all(told[key] in found[name] for key in ("What", "Expect", "Cost")), name


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_run(page, tmp_path):
    script = []
    for language, title, content in FENCE.findall(page.read_text()):
        if title:
            (tmp_path / title).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / title).write_text(content)
        elif language == "console":
            script.append(content)
    if not script:
        pytest.skip("a page without commands")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    command = ["bash", "-exo", "pipefail", "-c", "".join(script)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stderr[-2000:]}"
