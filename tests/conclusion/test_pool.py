"""Warm starts: a later search begins with what earlier runs have left, as long as its weights are what they were."""

import pytest
import safetensors.torch

from dlcli.conclusion import effort

pytestmark = pytest.mark.slow
MOONS = (
    "dataset=two_moons",
    "dataset.examples=60",
    "dataset.test_examples=50",
    "dataset.noise=0.4",
    "model=mlp",
    "model.depth=1",
    "optimizer.lr=0.03",
)


@pytest.fixture
def rungs_of(dlcli, summary_of, monkeypatch):
    """rungs_of(word, ...) -> answer, and method and value of each upper bound, of a new run."""
    monkeypatch.setattr(effort, "LEAST", 6e8)  # a short search

    def run(*words):
        answer = dlcli("train", *MOONS, *words)
        assert answer.code == 0, answer.err
        tried = summary_of(answer.run_dir)["decomposition"]["loss"]["approx_train"]["bounds_tried"]
        return answer, {bound["method"]: bound["value"] for bound in tried if bound["side"] == "upper"}

    return run


def starting(rungs, words):
    return {method: value for method, value in rungs.items() if method.startswith(words)}


def test_the_best_narrower_member_of_earlier_runs_is_embedded_and_polished_on(rungs_of, summary_of):
    first, _ = rungs_of("model.width=3", "training.epochs=20")
    summary = summary_of(first.run_dir)
    reached = summary["decomposition"]["loss"]["approx_train"]["upper"]["value"]
    _, found = rungs_of("model.width=5", "training.epochs=1", "decompose.budget=standard")
    embedded, polished = list(starting(found, "narrower member embedded: ").items())[:2]
    assert first.run_dir.name in embedded[0] and embedded[1] == pytest.approx(reached, abs=1e-6)
    assert "L-BFGS" in polished[0] and polished[1] <= embedded[1]


def test_the_search_goes_on_where_an_earlier_run_of_the_class_has_ended(rungs_of):
    first, _ = rungs_of("model.width=3", "training.epochs=40", "decompose.budget=none")  # in its checkpoint only
    _, found = rungs_of("model.width=3", "training.epochs=1", "decompose.budget=standard")
    ((known, value), (polished, after)) = starting(found, "earlier runs: ").items()
    assert first.run_dir.name in known and "L-BFGS" in polished and after <= value


def test_weights_that_are_lost_or_changed_are_no_start(rungs_of):
    first, _ = rungs_of("model.width=3", "training.epochs=40", "decompose.budget=none")
    (newest, *_) = sorted((first.run_dir / "checkpoints").iterdir(), reverse=True)
    weights = safetensors.torch.load_file(newest / "model.safetensors")
    safetensors.torch.save_file({n: 2 * w for n, w in weights.items()}, newest / "model.safetensors")
    _, found = rungs_of("model.width=3", "training.epochs=1", "decompose.budget=standard")
    assert not starting(found, "earlier runs: ") and starting(found, "restart 20")
