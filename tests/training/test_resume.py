"""Bitwise resume: a run cut anywhere and continued in a fresh process's place ends as the unbroken one, to the bit.

Each case goes through the disk (`checkpoint.save`, `load_newest`) and a newly built run, as `dlcli resume` does, with
everything at once that draws random numbers or remembers: dropout, batch normalization, augmentation, optimizer state,
a schedule that listens to the validation risk, sums since the last log point.
"""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlcli.errors import Interrupted
from dlcli.registry import catalogue
from dlcli.training import checkpoint
from dlcli.training.loop import fit
from dlcli.training.signals import Stop
from dlcli.training.tracker import Tracker, read_metrics

RULES = sorted(catalogue("optimizer"))
STEPS = 14
CNN = {"width": 4, "depth": 2, "first_kernel": 3, "kernel": 3, "stride": 1, "padding": 1, "dropout": 0.3}


def build(make_run, rule, **changes):
    parts = {
        "model": ("cnn", CNN),
        "normalization": "batch",
        "optimizer": (rule, {"iterations": 3} if rule == "lbfgs" else {"weight_decay": 0.01}),
        "schedule": ("plateau", {"patience": 0, "threshold": 0.05}),
        "augmentation": ("standard", {"flip": 0.5, "crop": 1, "cutout": 2}),
        "checkpoint": {"every": 3, "unit": "steps"},
        "evaluate_every": 2,
        "label_smoothing": 0.1,
        "accumulate": 2,
        "clip_norm": 1.0,
    }
    return make_run(steps=STEPS, **{**parts, **changes})


class Console:
    def advance(self, step, loss, samples_per_second):
        pass

    def evaluated(self, step, epoch, values):
        pass


class StopAfter(Stop):
    """As if a signal came within each of the steps with these numbers."""

    def __init__(self, run, step):
        super().__init__()
        self.run, self.step = run, step

    @property
    def requested(self):
        return 15 if self.run.state.step == self.step else None

    @requested.setter
    def requested(self, number):
        pass


def finish(build_run, run_dir, cuts=()):
    """Train with an interruption after each of the steps `cuts`; returns the final run."""
    folder = run_dir / "checkpoints"
    run_dir.mkdir(exist_ok=True)
    for cut in (*cuts, None):
        torch.manual_seed(1234)  # nothing may depend on what the process drew before
        torch.rand(len(cuts) + 3)
        run = build_run()
        loaded = checkpoint.load_newest(folder, checkpoint.expect(run.tensors()), pytest.fail)
        if loaded is not None:
            run.restore(loaded.tensors, loaded.state)
        with Tracker(run_dir, loaded.step if loaded else None) as tracker:
            if cut is None:
                fit(run, folder, {"run": "a"}, tracker, Console(), Stop())
            else:
                with pytest.raises(Interrupted):
                    fit(run, folder, {"run": "a"}, tracker, Console(), StopAfter(run, cut))
    return run


def everything(run, run_dir):
    """All that must agree: tensors by name, the state but for wall times, the rows of metrics."""
    tensors = {f"{stem}/{name}": tensor for stem, named in run.tensors().items() for name, tensor in named.items()}
    state = {name: value for name, value in run.plain_state().items() if name != "seconds"}
    return tensors, state, read_metrics(run_dir)


def assert_same(found, expected):
    assert found[0].keys() == expected[0].keys()
    differing = [name for name, tensor in expected[0].items() if not torch.equal(found[0][name], tensor)]
    assert not differing
    assert found[1] == expected[1]
    assert found[2] == expected[2]


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_resumes_to_the_bit(make_run, tmp_path, rule):
    def run():
        return build(make_run, rule)

    whole = everything(finish(run, tmp_path / "whole"), tmp_path / "whole")
    cut = everything(finish(run, tmp_path / "cut", cuts=(1, 5, 6, 13)), tmp_path / "cut")
    assert_same(cut, whole)
    assert len(whole[2]) == 11 and whole[1]["best"] is not None


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return {}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rule=st.sampled_from(["adam", "momentum", "muon", "sam"]),
    cuts=st.sets(st.integers(1, STEPS - 1), min_size=1, max_size=4),
    log_every=st.sampled_from([1, 3, 5]),
)
def test_a_run_may_be_cut_at_any_steps(make_run, tmp_path_factory, unbroken, rule, cuts, log_every):
    def run():
        return build(make_run, rule, log_every=log_every)

    if (rule, log_every) not in unbroken:
        run_dir = tmp_path_factory.mktemp("whole")
        unbroken[rule, log_every] = everything(finish(run, run_dir), run_dir)
    run_dir = tmp_path_factory.mktemp("cut")
    assert_same(everything(finish(run, run_dir, sorted(cuts)), run_dir), unbroken[rule, log_every])


def test_a_killed_run_goes_on_from_its_last_checkpoint(make_run, tmp_path):
    """No signal, no goodbye: steps 13 and 14 and their rows are lost, taken again, and equal."""

    def run():
        return build(make_run, "adam")

    whole = everything(finish(run, tmp_path / "whole"), tmp_path / "whole")
    for path in checkpoint.checkpoints(tmp_path / "whole" / "checkpoints"):
        if path.name > "step-000000012":
            path.rename(tmp_path / path.name)
    assert_same(everything(finish(run, tmp_path / "whole"), tmp_path / "whole"), whole)


def test_forgetting_the_optimizer_would_show(make_run, tmp_path):
    """The comparison above can fail."""
    whole = everything(finish(lambda: build(make_run, "adam"), tmp_path / "whole"), tmp_path / "whole")

    def amnesiac():
        run = build(make_run, "adam")
        restore = run.restore
        run.restore = lambda tensors, state: restore({**tensors, "optimizer": run.tensors()["optimizer"]}, state)
        return run

    cut = everything(finish(amnesiac, tmp_path / "cut", cuts=(6,)), tmp_path / "cut")
    with pytest.raises(AssertionError):
        assert_same(cut, whole)
