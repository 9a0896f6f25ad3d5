"""A turn as one program: loss, gradients, clipping and update compiled as a whole, or captured as a graph on CUDA.

An eager step is some hundred operations that Python starts one by one. A compiled one is a few loops, a captured one a
single launch. Both work on tensors that stay where they are: parameters, memory, a batch and a learning rate that are
filled anew for each step. So a program needs steps of one shape, and a rule that asks nothing of its numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

from dlcli.errors import Diverged, DlcliError, UsageError
from dlcli.protocols import Batch, Noise, Phase
from dlcli.training.randomness import FreshNoise, stream
from dlcli.training.run import Learner, Run
from dlcli.training.step import augmented, clip, gradients_of, take_turn

EAGER, CAPTURED, COMPILED, BOTH = "eager", "captured", "compiled", "compiled and captured"
WORTH = 10  # a compiler is asked where the eager steps would take so many times as long as it is expected to take
COMPILER_SECONDS = 10.0, 2.0  # what it takes: with a cold cache, and for each parameter tensor
GAIN = 0.95  # of the eager step's time; what saves less is not taken
ROUNDS, TIMED = 5, 4  # of timing, and the steps of each
WARM_UP = 3  # steps before a capture, in which libraries allocate what they keep

Work = Callable[[Batch, Tensor], tuple[Tensor, Tensor, Tensor]]  # batch, lr -> loss, gradient norm, sum of the weights
Record = Callable[[Callable[[], Any]], Callable[[], object]]  # runs a function once, recording it -> what replays it


class Choice(NamedTuple):
    """How the steps of a run are computed, and why; plain JSON as a dict."""

    kind: str
    why: str
    eager_ms: float | None = None  # per step, where it was measured
    chosen_ms: float | None = None
    compiler_s: float | None = None


class Unfit(Exception):
    """A turn is no single program, for the reason given."""


class Objective(nn.Module):
    """The loss of a phase as a module, whose parameters and buffers `functional_call` can put in place."""

    def __init__(self, model: nn.Module, phase: Phase):
        super().__init__()
        self.model, self.loss = model, phase.loss

    def forward(self, batch: Batch, noise: Noise) -> Tensor:
        return self.loss(self.model, batch, noise)


@dataclass
class Program:
    """What takes a turn in place of the eager step: `Run.learners` hold it, `step.take_turn` calls it."""

    work: Work
    lr: Tensor  # ()

    def __call__(self, batch: Batch, lr: float) -> tuple[Tensor, Tensor, Tensor]:
        """Move the parameters; loss and gradient norm before it, and the sum of the weights after it."""
        self.lr.fill_(lr)
        return self.work(batch, self.lr)


def eager_work(run: Run, learner: Learner) -> Work:
    """The operations of the eager step, none of which waits for a number."""

    def work(batch: Batch, lr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        loss, norm = gradients_of(run, learner, batch)
        learner.optimizer.update(learner.parameters, learner.memory, lr, refuse)
        return loss, norm, learner.parameters.weights.sum()

    return work


def compiled_work(run: Run, learner: Learner) -> Work:
    """The same as one function for the compiler: gradients by `torch.func`, since it does not trace `backward`."""
    parameters, objective = learner.parameters, Objective(run.model, learner.phase)
    place = ".".join(filter(None, ("model", learner.phase.module)))
    names = [f"{place}.{name}" for name in parameters.names]

    def whole(inputs: Tensor, targets: Tensor, lr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch = Batch(inputs, targets)

        def loss(leaves: dict[str, Tensor]) -> Tensor:
            with run.autocast():
                return functional_call(objective, leaves, (batch, FreshNoise(len(inputs), run.device)))

        leaves = {name: leaf.detach() for name, leaf in zip(names, parameters.leaves, strict=True)}
        found, value = grad_and_value(loss)(leaves)
        parameters.take([found[name] for name in names])
        norm = torch.dot(parameters.gradients, parameters.gradients).sqrt()
        clip(parameters.gradients, norm, run.training.clip_norm)
        learner.optimizer.update(parameters, learner.memory, lr, refuse)
        return value, norm, parameters.weights.sum()

    # Random numbers are the framework's own, so that the masks of dropout are those of the eager step.
    made = torch.compile(whole, fullgraph=True, dynamic=False, options={"fallback_random": True})
    return lambda batch, lr: made(*batch, lr)


def captured(work: Callable[..., Sequence[Tensor]], record: Record) -> Callable[..., tuple[Tensor, ...]]:
    """`work(*tensors)` recorded once and replayed from then on, with the tensors copied to where it was recorded.

    It runs before it is recorded and possibly in it, so whoever calls this puts back what it moves (`untouched`).
    """
    places: list[Tensor] = []
    results: list[Tensor] = []
    replay: Callable[[], object] = bool

    def once() -> None:
        results[:] = work(*places)

    def again(*tensors: Tensor) -> tuple[Tensor, ...]:
        nonlocal replay
        if not places:
            places[:] = [tensor.clone() for tensor in tensors]
            replay = record(once)
        for place, tensor in zip(places, tensors, strict=True):
            place.copy_(tensor)
        replay()
        return tuple(result.clone() for result in results)  # the next replay writes over them

    return again


def cuda_graph(work: Callable[[], Any]) -> Callable[[], object]:
    """A `Record`: the kernels that `work` starts, as one launch."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(WARM_UP):
            work()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def prepare(run: Run, kind: str | None = None, shared: bool = False, say: Callable[[str], object] = bool) -> None:
    """Give `run` the programs that its setting `compile` asks for, and note the choice. No number of it moves.

    kind: what a resumed run was computed with; none other gives the same bits. shared: its steps may be taken together
    with those of other runs, which is the better program. say: told of what takes long, before it does. Raises
    UsageError where a program is asked for that cannot be made.
    """
    asked = run.training.compile
    if kind is None and asked == "auto":
        run.program = Choice(EAGER, "it is trained among others") if shared else chosen(run, say)
    elif (kind or asked) in (EAGER, False):
        run.program = Choice(EAGER, "as it was begun" if kind else "training.compile=false")
    else:
        wanted = kind or (BOTH if run.device.type == "cuda" else COMPILED)
        started = time.perf_counter()
        try:
            equip(run, wanted, say)
        except Unfit as fault:
            begun = f"the run was begun with {wanted} steps, and here" if kind else "training.compile=true, but"
            hint = "resume it where it was begun" if kind else "use training.compile=auto or false"
            raise UsageError(f"{begun} {fault}", hint) from fault
        why = "as it was begun" if kind else "training.compile=true"
        run.program = Choice(wanted, why, compiler_s=round(time.perf_counter() - started, 2))


def compiler_seconds(run: Run) -> float:
    return COMPILER_SECONDS[0] + COMPILER_SECONDS[1] * sum(len(each.parameters.leaves) for each in run.learners)


def chosen(run: Run, say: Callable[[str], object]) -> Choice:
    """The fastest kind, by measurement, of those that can pay in a run of this length. It is given to the run."""
    if reason := unfit(run):
        return Choice(EAGER, reason)
    eager, best, spent, why = seconds_of_step(run, TIMED), EAGER, None, "nothing else was faster"
    least = eager
    cost = compiler_seconds(run)
    kinds = [CAPTURED] if run.device.type == "cuda" else []
    if eager * run.steps >= WORTH * cost:
        kinds.append(BOTH if run.device.type == "cuda" else COMPILED)
    else:
        why = f"{eager * run.steps:.0f} s of steps are too few for a compiler, which takes some {cost:.0f} s"
    plain = run.learners
    programs = {EAGER: plain}
    for each in kinds:
        started = time.perf_counter()
        try:
            equip(run, each, say)
        except Unfit as fault:
            why = str(fault)
            run.learners = plain
            continue
        spent = (spent or 0.0) + time.perf_counter() - started
        programs[each], taken = run.learners, []
        for _ in range(ROUNDS):  # in turn, because a machine is not equally fast at all times
            run.learners = programs[each]
            taken.append(seconds_of_step(run, TIMED))
            run.learners = plain
            eager = min(eager, seconds_of_step(run, TIMED))
        if min(taken) < GAIN * min(eager, least):
            best, least, why = each, min(taken), "it was the fastest"
    run.learners = programs[best]
    milliseconds = [round(1e3 * seconds, 4) for seconds in (eager, least)]
    return Choice(best, why, *milliseconds, None if spent is None else round(spent, 2))


def equip(run: Run, kind: str, say: Callable[[str], object]) -> None:
    """Give each learner its program, tried out on the next batch. Raises Unfit, with the run as it was."""
    if reason := unfit(run):
        raise Unfit(reason)
    plain = run.learners
    try:
        if kind in (COMPILED, BOTH):
            say(f"step   is being compiled, which takes some {compiler_seconds(run):.0f} s")
            torch.compiler.reset()  # it keeps what it made for earlier runs of this process, and refuses a ninth
        for form in (eager_work, partial(work_of, kind=kind)):  # the first tells a rule that does not fit
            run.learners = tuple(each._replace(program=program(run, form(run, each))) for each in plain)
            seconds_of_step(run, 1)
    except DlcliError:
        raise
    except Unfit:
        run.learners = plain
        raise
    except Exception as fault:  # a compiler fails in its own ways, and none of them is worth a traceback
        run.learners = plain
        lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
        raise Unfit(f"its steps could not be {kind}: {(lines or [type(fault).__name__])[0][:200]}") from fault


def work_of(run: Run, learner: Learner, kind: str, record: Record = cuda_graph) -> Work:
    work = compiled_work(run, learner) if kind in (COMPILED, BOTH) else eager_work(run, learner)
    if kind not in (CAPTURED, BOTH):
        return work
    replayed = captured(lambda *parts: work(Batch(*parts[:-1]), parts[-1]), record)
    return lambda batch, lr: replayed(*batch, lr)


def program(run: Run, work: Work) -> Program:
    return Program(work, torch.zeros((), device=run.device))


def unfit(run: Run) -> str:
    """Why the turns of a run are no single program; empty where they may be one."""
    if run.ranks.size > 1:
        return "its ranks add up their gradients within each step"
    if run.training.accumulate > 1:
        return "training.accumulate cuts its steps into parts"
    if run.training.on_nonfinite == "skip":
        return "training.on_nonfinite=skip asks for the numbers of a step before its update"
    return ""


def refuse() -> Tensor:
    """A rule that looks at the loss again would want the noise of before, and decides by it how far to go."""
    raise Unfit("its optimizer evaluates the loss several times within a step")


def seconds_of_step(run: Run, steps: int) -> float:
    """Wall time of one of so many turns of all phases on the next batch."""
    with untouched(run):
        batch = augmented(run, run.batch())
        wait(run.device)
        started = time.perf_counter()
        with suppress(Diverged):  # the run will say so
            for _ in range(steps):
                for turn, learner in enumerate(run.learners):
                    take_turn(run, learner, batch, stream(run.seed, "noise", run.state.step, turn))
        wait(run.device)
        return (time.perf_counter() - started) / steps


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def untouched(run: Run) -> Iterator[None]:
    """Put weights, buffers and memories back, whatever moves them."""
    tensors = [tensor for named in run.tensors().values() for tensor in named.values()] + list(run.model.buffers())
    before = [tensor.detach().clone() for tensor in tensors]
    training = run.model.training
    run.model.train()
    try:
        yield
    finally:
        run.model.train(training)
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)
