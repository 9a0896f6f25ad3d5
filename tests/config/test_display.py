import pytest
import yaml

from dlcli import config
from dlcli.errors import UsageError


def test_the_composed_config_is_shown_as_hydra_shows_it(here):
    job = yaml.safe_load(config.composed_text(["seed=3"], None))
    assert job["seed"] == 3 and "hydra" not in job
    assert list(yaml.safe_load(config.composed_text([], None, "hydra"))) == ["hydra"]
    assert set(yaml.safe_load(config.composed_text([], None, "all"))) == {*job, "hydra"}


def test_references_are_shown_resolved_on_request(here):
    override = ["dataset.seed=${seed}", "seed=3"]
    assert "  seed: ${seed}\n" in config.composed_text(override, None)
    assert "  seed: 3\n" in config.composed_text(override, None, resolve=True)


def test_one_section_can_be_shown(here):
    assert (
        config.composed_text(["schedule=constant"], None, package="schedule") == "# @package schedule\nname: constant\n"
    )
    with pytest.raises(UsageError, match="no section 'scheduel' in the config") as caught:
        config.composed_text([], None, package="scheduel")
    assert caught.value.hint.startswith("did you mean 'schedule'?")


def test_search_path_and_plugins_are_shown(here, write):
    write("name: sgd\n", "optimizer/mine.yaml")
    lines = config.info("searchpath", None).splitlines()
    assert lines[1].split() == ["yours", f"guarded://{here / 'conf'}"] and lines[2].split()[0] == "dlcli"
    assert "hydra/launcher: basic, ensemble, process, ray, serial, slurm\n" in config.info("plugins", None)
