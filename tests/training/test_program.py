"""Steps as one program: the numbers of the eager ones, the same bits after a resume, and a choice that is kept."""

import json
import math

import pytest
import torch

from dlcli.cli import main
from dlcli.errors import Diverged, UsageError
from dlcli.registry import catalogue
from dlcli.training import program
from dlcli.training.loop import gather
from dlcli.training.program import CAPTURED, COMPILED, EAGER
from dlcli.training.step import take_step

CNN = {"width": 4, "depth": 2, "first_kernel": 3, "kernel": 3, "stride": 1, "padding": 1, "dropout": 0.3}
LINE_SEARCH = {"lbfgs"}
RULES = sorted(set(catalogue("optimizer")) - LINE_SEARCH - {"sam"})
COMPILER = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # the compiler's own
# Weights after five steps, relative to their norm: the compiler sums in another order.
AGREES = 1e-5


def at_once(work):
    """Stands for a CUDA graph: what was recorded is done again, on the tensors that it was recorded with."""
    work()
    return work


def build(make_run, rule="adam", **changes):
    parts = {
        "model": ("cnn", CNN),  # with dropout
        "normalization": "batch",
        "optimizer": (rule, {} if rule in LINE_SEARCH else {"weight_decay": 0.01}),
        "augmentation": ("standard", {"flip": 0.5, "crop": 1, "cutout": 2}),
        "schedule": "cosine",
        "clip_norm": 1.0,
    }
    run = make_run(**{**parts, **changes})
    run.model.train()
    return run


def weights(run):
    return torch.cat([learner.parameters.weights for learner in run.learners])


def steps(run, number=5):
    for _ in range(number):
        gather(run, take_step(run))
    return run


def close(run, other):
    apart = torch.linalg.vector_norm(weights(run) - weights(other)) / torch.linalg.vector_norm(weights(other))
    buffers = zip(run.model.buffers(), other.model.buffers(), strict=True)
    windows = (run.state.window[name] == pytest.approx(sum_, rel=1e-4) for name, sum_ in other.state.window.items())
    return apart < AGREES and all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in buffers) and all(windows)


def captured(run):
    run.learners = tuple(
        learner._replace(program=program.program(run, program.work_of(run, learner, CAPTURED, at_once)))
        for learner in run.learners
    )
    with program.untouched(run):  # recording has moved it
        take_step(run)
    return run


@pytest.mark.parametrize("rule", RULES)
def test_a_captured_step_is_the_eager_one(make_run, rule):
    assert close(steps(captured(build(make_run, rule))), steps(build(make_run, rule)))


@pytest.mark.parametrize("what", ["batch", "rate"])
def test_a_program_that_kept_its_first_batch_or_rate_would_show(make_run, what):
    run, first = captured(build(make_run)), []
    inner = run.learners[0].program.work

    def stale(batch, lr):
        first[:] = first or [batch, lr.clone()]
        return inner(first[0] if what == "batch" else batch, first[1] if what == "rate" else lr)

    run.learners[0].program.work = stale
    assert not close(steps(run), steps(build(make_run)))


def resumed(prepared):
    """Two runs of ten steps, the second one built anew after five."""
    whole, cut = steps(prepared(), 10), steps(prepared())
    tensors = {stem: {name: part.clone() for name, part in named.items()} for stem, named in cut.tensors().items()}
    state, later = cut.plain_state(), prepared()
    later.restore(tensors, state)
    return whole, steps(later)


def same(run, other):
    pairs = [
        (part, other.tensors()[stem][name]) for stem, named in run.tensors().items() for name, part in named.items()
    ]
    return run.plain_state() == other.plain_state() and all(torch.equal(a, b) for a, b in pairs)


def test_a_captured_run_resumes_to_the_bit(make_run):
    assert same(*resumed(lambda: captured(build(make_run))))


@pytest.mark.slow  # it compiles
@COMPILER
@pytest.mark.parametrize("rule", RULES)
def test_a_compiled_step_is_the_eager_one(make_run, rule):
    run = build(make_run, rule, compile=True)
    before = weights(run).clone()
    program.prepare(run)
    assert run.program.kind == COMPILED and torch.equal(weights(run), before)
    assert close(steps(run), steps(build(make_run, rule)))


@pytest.mark.slow
@COMPILER
@pytest.mark.parametrize("rule", ["adam", "momentum"])
def test_a_compiled_step_in_bfloat16_is_no_further_from_float32_than_the_eager_one(make_run, rule):
    compiled = build(make_run, rule, compile=True, precision="bf16")
    program.prepare(compiled)
    assert compiled.program.kind == COMPILED
    single, half = steps(build(make_run, rule)), steps(build(make_run, rule, precision="bf16"))
    eager, other = (torch.linalg.vector_norm(weights(run) - weights(single)) for run in (half, steps(compiled)))
    assert 0 < other < 1.5 * eager


@pytest.mark.slow
@COMPILER
def test_a_compiled_run_resumes_to_the_bit(make_run):
    def prepared():
        run = build(make_run, compile=True)
        program.prepare(run)
        return run

    assert same(*resumed(prepared))


def test_a_short_run_stays_eager(make_run):
    run = build(make_run, compile="auto")
    before = {name: tensor.clone() for name, tensor in run.tensors()["model"].items()}
    program.prepare(run)
    assert run.program.kind == EAGER and "too few for a compiler" in run.program.why
    assert run.program.eager_ms > 0 and run.learners[0].program is None
    assert all(torch.equal(before[name], tensor) for name, tensor in run.tensors()["model"].items())


@pytest.mark.parametrize(("milliseconds", "kind"), [(5.0, COMPILED), (9.8, EAGER), (20.0, EAGER)])
def test_a_long_run_takes_what_is_faster(make_run, monkeypatch, milliseconds, kind):
    """An eager step of 10 ms, against a program that takes so long."""
    run = build(make_run, compile="auto", steps=10_000_000)

    def seconds(run, steps):
        return 0.010 if run.learners[0].program is None else milliseconds / 1e3

    monkeypatch.setattr(program, "seconds_of_step", seconds)
    monkeypatch.setattr(program, "compiled_work", program.eager_work)
    program.prepare(run)
    assert run.program.kind == kind and (run.learners[0].program is None) == (kind == EAGER)
    assert run.program.eager_ms == 10.0 and run.program.chosen_ms == min(10.0, milliseconds if kind != EAGER else 10.0)
    assert run.program.compiler_s >= 0


def test_a_compiler_that_fails_is_told_or_passed_over(make_run, monkeypatch):
    def broken(run, learner):
        def work(batch, lr):
            raise RuntimeError("\n  no C++ compiler\nmore of it")

        return work

    monkeypatch.setattr(program, "compiled_work", broken)
    run = build(make_run, compile="auto", steps=10_000_000_000)
    program.prepare(run)
    assert run.program.kind == EAGER and "no C++ compiler" in run.program.why and run.learners[0].program is None
    with pytest.raises(UsageError, match="could not be compiled: no C\\+\\+ compiler") as fault:
        program.prepare(build(make_run, compile=True))
    assert fault.value.hint == "use training.compile=auto or false"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"accumulate": 2}, "accumulate"),
        ({"on_nonfinite": "skip"}, "skip"),
        ({"rule": "lbfgs", "schedule": "constant"}, "several times within a step"),
        ({"rule": "sam"}, "several times within a step"),
    ],
)
def test_what_is_no_single_program_is_said(make_run, changes, reason):
    run = build(make_run, compile="auto", **{"steps": 10_000_000_000, **changes})
    program.prepare(run)
    assert run.program.kind == EAGER and reason in run.program.why
    with pytest.raises(UsageError, match=reason):
        program.prepare(build(make_run, compile=True, **changes))


def test_a_resumed_run_keeps_its_kind(make_run, monkeypatch):
    monkeypatch.setattr(program, "compiled_work", program.eager_work)
    for asked in (True, "auto"):
        eager, compiled = build(make_run, compile=asked), build(make_run, compile=asked)
        program.prepare(eager, EAGER)
        program.prepare(compiled, COMPILED)
        assert eager.learners[0].program is None and compiled.learners[0].program is not None
        assert (eager.program.kind, compiled.program.kind) == (EAGER, COMPILED)


def test_what_is_not_finite_is_refused(make_run):
    run = captured(build(make_run))
    run.learners[0].parameters.weights[0] = math.nan
    with pytest.raises(Diverged, match="the loss of phase"):
        steps(run, 1)


def test_who_waits_for_a_compiler_is_told_so_before_and_after(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(program, "compiled_work", program.eager_work)
    parts = ("dataset=iris", "model=linear", "training.compile=true", "training.epochs=2", "decompose.budget=none")
    assert main(["train", *parts, f"run_dir={tmp_path / 'run'}", f"output_root={tmp_path}"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("step   is being compiled, which takes some 14 s\nrun ")
    told = json.loads((tmp_path / "run" / "environment.json").read_text())["step"]["compiler_s"]
    timing = json.loads((tmp_path / "run" / "summary.json").read_text())["timing"]
    assert timing["compilation"] == told and f"compilation {told:.1f}" in said
